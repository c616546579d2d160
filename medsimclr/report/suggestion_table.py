"""A suggestion in words: tables of the groups and of what is covered, notes, commands to run."""

import json
import shlex
from pathlib import Path

import numpy as np

from medsimclr.augment.stain_distance import n_spanned
from medsimclr.report.policy_suggestion import PolicySuggestion
from medsimclr.report.reach_figure import percent

__all__ = ["group_cells", "reach_cells", "suggested_commands", "suggestion_notes"]

_FEW_TILES = 30
# A command that names more patients is none to copy.
_NAMED_PATIENTS_MAX = 12


def group_cells(suggestion: PolicySuggestion) -> list[list[str]]:
    """Return a row per group: what turns typical staining into its own; the first row names it."""
    measured = ["H gain", "H offset", "E gain", "E offset", "cast", "H vector", "E vector"]
    cells = [[suggestion.groups.kind, "slides", "tiles", *measured]]
    for stain in suggestion.stains:
        gain, offset = stain.gap.gain, stain.gap.offset
        angles = stain.angles_degrees
        cells.append(
            [
                stain.name,
                f"{stain.n_slides}",
                f"{stain.n_tiles}",
                f"x{gain[0]:.2f}",
                f"{offset[0]:+.2f}",
                f"x{gain[1]:.2f}",
                f"{offset[1]:+.2f}",
                f"{offset[2]:+.2f}",
                *([f"{angle:.0f} deg" for angle in angles] if angles else ["-", "-"]),
            ]
        )
    return cells


def reach_cells(suggestion: PolicySuggestion) -> list[list[str]]:
    """Return a row per policy: what it covers, and what it makes that no group has."""
    kind = suggestion.groups.kind
    return [
        ["views", f"cover of other {kind}s' tiles", f"stain that no {kind} has"],
        *[
            [reach.what, percent(reach.covered), percent(reach.outside)]
            for reach in suggestion.reaches
        ],
    ]


def suggestion_notes(suggestion: PolicySuggestion, *, split: Path | None) -> list[str]:
    """Say what was measured, and what to beware of."""
    kind, groups = suggestion.groups.kind, suggestion.groups.groups
    gain, offset = suggestion.needed
    n_within = n_spanned(len(groups))
    which = f"All {n_within}" if n_within == len(groups) else f"{n_within} of {len(groups)}"
    notes = [
        "From typical staining, the mean of all, to each one's: gain and offset of haematoxylin "
        "(H) and eosin (E) and shift of the residual colour (cast), in optical density; angle "
        "between its stain vectors and the mean ones (Macenko).",
        f"{which} {kind}s lie within both a gain of 1 +- {gain:.2f} and an offset of "
        f"+- {offset:.2f} optical density of typical staining.",
    ]
    is_short = [
        needed > suggested + 1e-6
        for needed, suggested in zip(suggestion.needed, suggestion.suggested, strict=True)
    ]
    if any(is_short):
        notes.append(
            "note: jitter that strong would bleach the tissue, so less is suggested; stain_mix "
            "changes one slide's stain into another's instead."
        )
    if suggestion.suggested == suggestion.default:
        notes.append("The default strengths of stain_jitter span that: nothing to change.")
    if kind != "centre":
        notes.append(
            f"note: no two centres are known, so {kind}s are compared, whose tissue differs too; "
            "give a centre column in slides.csv if there are any."
        )
    if np.median([len(group.tiles_NVV3) for group in groups]) < _FEW_TILES:
        notes.append(
            f"note: half of the {kind}s have fewer than {_FEW_TILES} tiles: what differs in tissue "
            "counts as stain, and the strengths come out too large."
        )
    notes += [f"note: {line}" for line in suggestion.groups.left_out_notes()]
    if split is None:
        known = ""
        if suggestion.suggested != suggestion.default:
            known = (
                "; the commands name them, so that evaluate will say so"
                if len(suggestion.patients) <= _NAMED_PATIENTS_MAX
                else "; evaluate will not know that: give --split, or set policy_fitted_on"
            )
        notes.append(
            f"note: no --split was given, so the stains of test patients were looked at{known}."
        )
    return notes


def suggested_commands(
    suggestion: PolicySuggestion, *, store: Path, split: Path | None
) -> list[str]:
    """Return commands that pretrain as suggested, the better covering policy first."""
    gain, offset = suggestion.suggested
    part = ["--split", str(split)] if split else []
    strengths = [f"policy_options.gain_sigma={gain:g}", f"policy_options.offset_sigma={offset:g}"]
    options = [] if suggestion.suggested == suggestion.default else strengths
    if options and split is None and len(suggestion.patients) <= _NAMED_PATIENTS_MAX:
        # As `policies fit` writes it: an evaluation is to know whose stains the training has seen.
        options.append(f"policy_fitted_on={json.dumps(suggestion.patients, ensure_ascii=False)}")
    jitter = [
        ["medsimclr", "pretrain", str(store), "--policy", policy]
        + [word for option in options for word in ("--set", option)]
        + [*part, "--out", "RUN"]
        for policy in ("stain_jitter", "histology")
    ]
    fit = ["medsimclr", "policies", "fit", "stain_mix", "--store", str(store), *part]
    exchange = [*fit, "--out", "stain_mix.toml"]
    *_, best_jitter, fitted = suggestion.reaches
    is_exchange_better = fitted.covered > best_jitter.covered
    commands = [exchange, *jitter] if is_exchange_better else [*jitter, exchange]
    return [shlex.join(words) for words in commands]
