"""A comparison as figures, table and sentences."""

from dataclasses import asdict, dataclass
from typing import Any

from medsimclr.evaluation.seed_interval import SeedInterval, seed_interval
from medsimclr.report.comparison_runs import COLOUR, RANDOM, SeedFigures

__all__ = ["Comparison", "comparison_notes", "table_cells"]


@dataclass(frozen=True)
class Comparison:
    """What every row came to with every seed."""

    seeds: tuple[dict[str, SeedFigures], ...]
    """Of each seed, the figures by row; baselines last."""
    read_from_features: str
    """What `readable` names: "centre" or "patient"."""
    unseen: str | None
    """The centre or store of `unseen`."""
    budget: str
    """What every pretraining got, in words."""
    n_folds: int
    """Parts that the patients are dealt into."""
    tested: tuple[tuple[int, int], ...]
    """Test patients and labelled test tiles of each seed."""

    @property
    def rows(self) -> list[str]:
        """Names of the rows."""
        return list(self.seeds[0])

    def interval(self, row: str, figure: str) -> SeedInterval | None:
        """Return a figure of a row over the seeds; None where a seed could not tell it."""
        values = [getattr(found[row], figure) for found in self.seeds]
        return None if None in values else seed_interval(values)

    def difference(self, row: str, other: str, figure: str, *, level: float) -> SeedInterval:
        """Return how much higher a figure of a row is than another's, seed by seed."""
        pairs = [(getattr(s[row], figure), getattr(s[other], figure)) for s in self.seeds]
        return seed_interval([value - reference for value, reference in pairs], level=level)

    def figures(self) -> dict[str, str]:
        """Return the figures that there are, with what to call them."""
        unseen = f"unseen {self.unseen}"
        named = {
            "knn": "kNN",
            "linear": "linear",
            "auroc": "linear AUROC",
            "unseen": unseen,
            "unseen_auroc": f"{unseen} AUROC",
            "readable": f"{self.read_from_features} readable",
        }
        return {k: v for k, v in named.items() if self.interval(self.rows[0], k) is not None}

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "budget": self.budget,
            "read_from_features": self.read_from_features,
            "unseen": self.unseen,
            "rows": {
                row: {
                    "seeds": [asdict(found[row]) for found in self.seeds],
                    "intervals": {
                        name: interval._asdict() if (interval := self.interval(row, name)) else None
                        for name in self.figures()
                    },
                }
                for row in self.rows
            },
            "notes": comparison_notes(self),
        }


def table_cells(comparison: Comparison) -> list[list[str]]:
    """Lay the comparison out as cells, the header first: mean and interval over the seeds."""
    figures = comparison.figures()
    rows = [
        [row, *(_cell(comparison.interval(row, name)) for name in figures)]
        for row in comparison.rows
    ]
    return [["policy", *figures.values()], *rows]


def comparison_notes(comparison: Comparison) -> list[str]:
    """Return what a reader of the table has to know, and what it settles."""
    n_seeds, group = len(comparison.seeds), comparison.read_from_features
    chance = comparison.interval(comparison.rows[0], "readable_chance")
    notes = [
        f"{comparison.budget}; {n_seeds} seed(s), each tested on the next of {comparison.n_folds} "
        f"parts of the patients ({_tested(comparison)}). Accuracies are balanced; intervals "
        "(95 %) are over the seeds, whose training patients overlap.",
    ]
    if chance is not None:
        notes.append(
            f"{group} readable: how well a linear probe names the {group} from the features; lower "
            f"is better, guessing gives {chance.mean:.3f}."
        )
    if "auroc" not in comparison.figures():
        notes.append("AUROC is left out: with some seed the test patients lack a class.")
    notes += _not_above(comparison)
    if n_seeds < 2:
        return [*notes, "One seed settles nothing: give --seeds 3 or more."]
    return [*notes, *_verdicts(comparison)]


def _tested(comparison: Comparison) -> str:
    patients, tiles = (sorted(counts) for counts in zip(*comparison.tested, strict=True))
    n_patients = (
        f"{patients[0]}" if patients[0] == patients[-1] else f"{patients[0]} to {patients[-1]}"
    )
    n_tiles = f"{tiles[0]:,}" if tiles[0] == tiles[-1] else f"{tiles[0]:,} to {tiles[-1]:,}"
    return f"{n_patients} test patients with {n_tiles} tiles"


def _not_above(comparison: Comparison) -> list[str]:
    """Say where no row has a higher mean than a baseline."""
    notes = []
    for name, title in comparison.figures().items():
        if name == "readable":
            continue
        means = {row: comparison.interval(row, name) for row in comparison.rows}
        known = {row: interval.mean for row, interval in means.items() if interval is not None}
        best = max(mean for row, mean in known.items() if row not in (RANDOM, COLOUR))
        above = [row for row in (RANDOM, COLOUR) if known[row] >= best]
        if above:
            notes.append(f"{title}: no policy is above {' or '.join(above)}.")
    return notes


def _verdicts(comparison: Comparison) -> list[str]:
    """Compare the best row with every other, at a level for as many comparisons."""
    deciding = "auroc" if "auroc" in comparison.figures() else "linear"
    trained = [row for row in comparison.rows if row not in (RANDOM, COLOUR)]

    def mean(row: str) -> float:
        interval = comparison.interval(row, deciding)
        assert interval is not None, (row, deciding)
        return interval.mean

    best, *others = sorted(trained, key=lambda row: -mean(row))
    rivals = [*others, RANDOM, COLOUR]
    verdicts = []
    for rival in rivals:
        found = comparison.difference(best, rival, deciding, level=1 - 0.05 / len(rivals))
        assert found.low is not None
        is_shown = "ahead of" if found.low > 0 else "not shown to be ahead of"
        verdicts.append(
            f"{best} is {is_shown} {rival}: {found.mean:+.3f} ({found.low:+.3f} to "
            f"{found.high:+.3f})"
        )
    return [
        f"{best} is the best of {len(trained)} row(s) by {comparison.figures()[deciding]}, chosen "
        "by these very figures. Its lead, seed by seed, with intervals for "
        f"{len(rivals)} comparisons at once:",
        *verdicts,
    ]


def _cell(interval: SeedInterval | None) -> str:
    if interval is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3f}"
    # Student's interval of a few seeds does not know that a share ends at 0 and 1.
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return f"{interval.mean:.3f} ({low:.3f}–{high:.3f})"
