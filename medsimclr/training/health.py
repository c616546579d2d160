"""How a pretraining fares, measured while it runs and without a label: figures and warnings.

Every step: alignment and uniformity of the batch's projections, and of the loop's own figures what
they mean. Now and then: the effective rank of the features of a fixed sample of training tiles,
and, where they have labels, how well their neighbours of other patients name them. Nothing that is
measured here changes a bit of the training.

n rows of this process, D dimensions, S tiles of the sample.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from medsimclr.data.labels import choose_labelled
from medsimclr.data.tile_index import TileIndex
from medsimclr.data.views import TileViews
from medsimclr.distributed.group import SINGLE, Group
from medsimclr.evaluation.collapse import (
    Symptom,
    feature_symptoms,
    task_symptoms,
    temperature_symptoms,
)
from medsimclr.evaluation.knn import knn_across_units
from medsimclr.evaluation.representation import alignment, rank_me, uniformity
from medsimclr.models.resnet import ResNet
from medsimclr.training.compute import to_images
from medsimclr.training.plan import Plan
from medsimclr.training.run_log import Progress, read_metrics

__all__ = ["Health", "batch_figures", "chance_levels", "health_sample", "report_interval"]

_MAX_ROWS = 512
# Steps that are judged together: 20 batches of 128 average accuracy to a fifth of chance.
_WINDOW = 20
_ENCODED_AT_ONCE = 32
# Share of a run's passes through the network that reports may take (twice that in time where
# training computes in bf16: reports are in fp32).
_REPORT_SHARE = 0.03


def batch_figures(
    z_a_nD: torch.Tensor, z_b_nD: torch.Tensor, *, group: Group = SINGLE
) -> dict[str, torch.Tensor]:
    """Return alignment and uniformity of at most 512 projections, as this process's share.

    Each process looks at its own rows and divides by the number of processes, so that the sum over
    them is a mean of alike estimates; no rows travel for a figure.

    Args:
        z_a_nD: projections of view a, not normalised.
        z_b_nD: projections of view b; uniformity is the mean of both views.
        group: the processes that train together.
    """
    z_a_nD, z_b_nD = z_a_nD[:_MAX_ROWS], z_b_nD[:_MAX_ROWS]
    both_views = (uniformity(z_a_nD) + uniformity(z_b_nD)) / 2
    return {
        "alignment": alignment(z_a_nD, z_b_nD) / group.size,
        "uniformity": both_views / group.size,
    }


def chance_levels(batch_size: int) -> str:
    """Say what loss, accuracy and entropy are where all tiles look alike to the network.

    The loss is 2 log(2B - 1) nats, of both directions, whatever the temperature: a view's partner
    is one of the 2B - 1 other views of the batch.

    Args:
        batch_size: B pairs of all processes.
    """
    return (
        f"at chance: loss {2 * math.log(2 * batch_size - 1):.4g}, accuracy "
        f"{1 / batch_size:.2g}, entropy {math.log(batch_size):.3g}"
    )


def health_sample(tiles: TileIndex, *, n_tiles: int, seed: int) -> TileIndex:
    """Choose tiles evenly over classes, and within a class over patients; no label is a class."""
    as_classes = replace(tiles, label_N=tiles.label_N + 1)
    return tiles.select(choose_labelled(as_classes, n_labels=n_tiles, seed=seed))


def report_interval(plan: Plan, *, n_reports: int, n_tiles: int) -> int:
    """Return the steps between two reports: `n_reports` a run, fewer where they cost too much.

    A report is `n_tiles` forward passes; a step counts as three passes of each of its images, since
    backward takes about twice the time of forward.
    """
    affordable = n_tiles / (_REPORT_SHARE * 3 * plan.images_per_step)
    return max(1, math.ceil(plan.total_steps / n_reports), math.ceil(affordable))


class Health:
    """Watches one pretraining in the main process; an `Observe` of the loop.

    Args:
        encoder: the network that is trained, not its compiled form; measured in evaluation mode.
        store: the tile store.
        sample: training tiles to measure on, as of `health_sample`; empty for none. Never tiles of
            test patients: pretraining must not look at them.
        view_px: side of a view.
        device: where the encoder is.
        batch_size: pairs that compete in a step, over all processes.
        temperature: of NT-Xent.
        plan: steps of the run and of its warm-up.
        report_steps: steps between two reports, as of `report_interval`.
        run: the run directory; what it has logged is judged again where a run goes on.
        progress: shows what the figures of a new run have to be compared with, and what troubles
            one that goes on.
    """

    def __init__(
        self,
        encoder: ResNet,
        *,
        store: Path,
        sample: TileIndex,
        view_px: int,
        device: torch.device,
        batch_size: int,
        temperature: float,
        plan: Plan,
        report_steps: int,
        run: Path,
        progress: Progress,
    ) -> None:
        self._encoder = encoder
        self._sample = sample
        self._views = TileViews(store, sample, kind="evaluation", view_px=view_px)
        self._device = device
        self._batch_size = batch_size
        self._plan = plan
        self._report_steps = report_steps
        self._run = run
        self._progress = progress
        self._window: deque[tuple[float, float]] = deque(maxlen=_WINDOW)
        self._in_force = dict(temperature_symptoms(temperature))

    def observe(
        self, step: int, figures: Mapping[str, float]
    ) -> tuple[dict[str, float], list[str]]:
        """Judge the step that makes `step` steps done, and measure the sample where it is due.

        Before the first step nothing is judged but the temperature: the figures are there to be
        compared with.

        Args:
            step: steps done.
            figures: of the last one, with contrastive `accuracy` and `entropy`; none at step 0.

        Returns:
            Further figures, and a sentence for each trouble that has newly begun; after the last
            step for each that has not ended.
        """
        if step == 0:
            self._progress(0, 0, chance_levels(self._batch_size))
            return self._measure(), list(self._in_force.values())
        if not self._window and step > 1:
            self._recall(step)
        is_last = step == self._plan.total_steps
        is_due = is_last or step % self._report_steps == 0
        measured = self._measure() if is_due else {}
        sentences = self._judge(step, {**figures, **measured}, is_last=is_last)
        return measured, list(self._in_force.values()) if is_last else sentences

    def _recall(self, step: int) -> None:
        """Judge again what was logged before `step`: a resumed run knows what troubles it."""
        for row in read_metrics(self._run):
            if 0 < row["step"] < step:
                figures = {name: math.nan if row[name] is None else row[name] for name in row}
                self._judge(row["step"], figures, is_last=False)
        for sentence in self._in_force.values():
            self._progress(0, 0, sentence)

    def _measure(self) -> dict[str, float]:
        """Return effective rank, the largest feature and, where there are labels, kNN."""
        if len(self._sample) == 0:
            return {}
        features_SD = self._features()
        figures = {
            "effective_rank": rank_me(features_SD),
            "largest_feature": float(features_SD.abs().max()),
        }
        # float64: squares of features that grow without bound must not overflow.
        neighbours = knn_across_units(
            features_SD.nan_to_num().double().numpy(), self._sample.label_N, self._sample.unit_N
        )
        if neighbours is not None:
            figures["knn_balanced_accuracy"] = neighbours
        return figures

    def _judge(self, step: int, figures: Mapping[str, float], *, is_last: bool) -> list[str]:
        """Return what newly troubles the run, by what was observed at a step and before it."""
        sentences = self._judge_task(step, figures, is_last=is_last)
        # Earlier versions logged no largest feature.
        if "largest_feature" not in figures:
            return sentences
        largest = figures["largest_feature"]
        symptoms = feature_symptoms(
            effective_rank=figures["effective_rank"],
            # The log tells not infinite from NaN, and a resumed run says what another does.
            largest=largest if math.isfinite(largest) else math.nan,
            n_tiles=len(self._sample),
            n_features=self._encoder.feature_dim,
            is_warm=self._is_warm(step),
        )
        return sentences + self._new(symptoms, {"overflow", "collapse", "few_directions"})

    def _judge_task(self, step: int, figures: Mapping[str, float], *, is_last: bool) -> list[str]:
        """Judge the last steps once a window, and at the end whatever there is of one."""
        self._window.append((figures["accuracy"], figures["entropy"]))
        is_whole = step % _WINDOW == 0 and len(self._window) == _WINDOW
        if not (is_whole or is_last):
            return []
        accuracies, entropies = zip(*self._window, strict=True)
        symptoms = task_symptoms(
            accuracy=fmean(accuracies),
            entropy=fmean(entropies),
            batch_size=self._batch_size,
            is_first=step <= _WINDOW,
            is_warm=self._is_warm(step),
        )
        # A task that was trivial at first stays one.
        return self._new(symptoms, {"chance", "hard", "soft"})

    def _is_warm(self, step: int) -> bool:
        """Tell whether the warm-up is over by a tenth of the run, and by two windows."""
        return step >= self._plan.warmup_steps + max(2 * _WINDOW, self._plan.total_steps // 10)

    def _new(self, found: Mapping[Symptom, str], judged: set[Symptom]) -> list[str]:
        """Return what was not said before; what has ended may be said again."""
        new = [sentence for kind, sentence in found.items() if kind not in self._in_force]
        lasting = {kind: said for kind, said in self._in_force.items() if kind not in judged}
        self._in_force = {**lasting, **found}
        return new

    def _features(self) -> torch.Tensor:
        """Encode the sample, (S, D) float32 on the CPU, leaving no trace in the encoder."""
        parts = []
        with _evaluating(self._encoder), torch.inference_mode():
            for start in range(0, len(self._sample), _ENCODED_AT_ONCE):
                places = range(start, min(start + _ENCODED_AT_ONCE, len(self._sample)))
                # Without a DataLoader, which would draw from torch's generator and open the store
                # anew for every report.
                view_BHWC = torch.cat([self._views[place][0][0] for place in places])
                parts.append(self._encoder(to_images(view_BHWC, self._device)).float().cpu())
        return torch.cat(parts)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode for a while; parts that were in it before stay there."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, was_training in before.items():
            part.training = was_training
