"""What the figures of a pretraining mean in plain words, where they mean trouble.

Thresholds were chosen here on short runs with ResNet-18 on 1,600 tiles of LC25000 and on the demo's
tiles, healthy ones and ones that were broken on purpose; DECISIONS.md has the figures.

Shapes: B pairs in a batch, D features.
"""

import math
from collections.abc import Mapping
from typing import Literal

__all__ = ["Symptom", "feature_symptoms", "task_symptoms", "temperature_symptoms"]

Symptom = Literal[
    "overflow",
    "collapse",
    "few_directions",
    "chance",
    "hard",
    "soft",
    "trivial",
    "temperature",
]

# Fewer tiles or pairs say nothing: 4 tiles have a rank of at most 4, and chance is 1 / B.
_MIN_TILES = 32
_MIN_PAIRS = 8
# Rank of equal features: 1.0008. Healthy features had 5.2 or more (LARS 10 or more), 4.4 untrained
# on tiles almost without contrast. SGD or LARS at far too high a rate: 1.0 to 2.9.
_COLLAPSED_RANK = 2.0
_FEW_DIRECTIONS = 4.0
# Features of a batch-normalised network are near 1.
_HUGE_FEATURE = 1e6
# CLIP (arXiv 2103.00020, section 2.4) keeps its temperature from going below 0.01.
_LOWEST_TEMPERATURE = 0.01
# There the best of all answers gives the partner exp(2 / 10) = 1.2 times the weight of the worst.
_HIGHEST_TEMPERATURE = 10.0


def feature_symptoms(
    *, effective_rank: float, largest: float, n_tiles: int, n_features: int, is_warm: bool
) -> Mapping[Symptom, str]:
    """Judge the features of a sample of tiles; nothing is said of fewer than 32.

    Args:
        effective_rank: RankMe of the features.
        largest: the largest absolute feature; NaN or infinite where one is.
        n_tiles: tiles in the sample.
        n_features: D.
        is_warm: whether the warm-up is long over: before, few directions are no surprise, since the
            moving statistics of batch norm do not fit the weights yet.
    """
    if n_tiles < _MIN_TILES:
        return {}
    if not largest < _HUGE_FEATURE:
        return {
            "overflow": f"the features grow without bound (the largest is {largest:.2g}): the "
            "learning rate or weight decay is far too high; stop, and lower base_lr."
        }
    rank = f"effective rank {effective_rank:.1f} of {min(n_tiles, n_features)}"
    if effective_rank < _COLLAPSED_RANK:
        return {
            "collapse": f"collapse: all tiles get nearly the same features ({rank}); stop, look "
            "whether the tiles are blank, and lower base_lr or raise the temperature."
        }
    if effective_rank < _FEW_DIRECTIONS and is_warm:
        return {
            "few_directions": f"dimensional collapse: the features use few directions ({rank}), so "
            "tiles hardly differ; lower base_lr, or raise the batch size or the temperature."
        }
    return {}


def temperature_symptoms(temperature: float) -> Mapping[Symptom, str]:
    """Judge the temperature of NT-Xent by itself, before anything was trained."""
    if _LOWEST_TEMPERATURE <= temperature <= _HIGHEST_TEMPERATURE:
        return {}
    # exp, which overflows below 0.003, is of use on the other side alone.
    is_low = temperature < _LOWEST_TEMPERATURE
    reason = (
        "the loss looks at a single other tile for each, be it that of a rounding"
        if is_low
        else f"a partner weighs at most {math.exp(2 / temperature):.4g} times the tile most unlike "
        "it, so that the loss can hardly fall"
    )
    return {
        "temperature": f"the temperature {temperature:g} is far {'below' if is_low else 'above'} "
        f"the 0.05 to 1 of SimCLR's own trials: {reason}; {'raise' if is_low else 'lower'} it, or "
        "see --find-temperature."
    }


def task_symptoms(
    *, accuracy: float, entropy: float, batch_size: int, is_first: bool, is_warm: bool
) -> Mapping[Symptom, str]:
    """Judge the contrastive task over some steps; nothing is said of batches of fewer than 8.

    Args:
        accuracy: mean contrastive accuracy.
        entropy: mean contrastive entropy, nats.
        batch_size: pairs B that compete.
        is_first: whether these are the first steps of the run.
        is_warm: whether the warm-up is long over, so that something should be learned.
    """
    if batch_size < _MIN_PAIRS:
        return {}
    chance, most_entropy = 1 / batch_size, math.log(batch_size)
    seen = (
        f"accuracy {accuracy:.3f}, chance is {chance:.3f}; "
        f"entropy {entropy:.2f} of at most {most_entropy:.2f}"
    )
    # Of untrained networks 6 % are right among 128; of identical views, all.
    if is_first and accuracy > 0.95:
        return {
            "trivial": f"the task is solved before anything is learned ({seen}): the views of a "
            "tile are too much alike; choose a stronger policy, or a larger batch."
        }
    # Networks had 3.5 to 11 times chance over their first 20 steps.
    if accuracy < 2 * chance and is_warm:
        return {
            "chance": f"nothing is learned: the contrastive task is still at chance ({seen}); "
            "lower base_lr, choose a weaker policy, and look whether the tiles are blank."
        }
    # Healthy at the same accuracy: 0.4 to 0.997 of the most for temperatures of 0.05 to 1. At
    # 0.001, 0.04 of it; at 100, all of it in five digits.
    if entropy < 0.1 * most_entropy and accuracy < 0.5:
        return {
            "hard": f"the loss looks at a single other tile for each and is mostly wrong ({seen}): "
            "the temperature is too low; raise it, or see --find-temperature."
        }
    if entropy > 0.9995 * most_entropy and accuracy >= 2 * chance:
        return {
            "soft": f"the loss hardly tells similar tiles from others ({seen}): the temperature is "
            "too high; lower it, or see --find-temperature."
        }
    return {}
