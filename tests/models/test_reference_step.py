"""One training step equals what the reference itself computed.

It ran twice: in float32 (golden/simclr_step.npz of the real data) and in float64
(tests/references/reference_steps.npz, more networks and sizes). Ours runs in float64. With the
latter it agrees to ten digits and more, so what is left against the former is the rounding of the
reference's own float32, which is large in training mode: images of noise differ little from each
other after the spatial mean, so batch norm divides by small deviations, and the reference takes the
variance as E[x²] - E[x]². _ROUNDING is that error, the reference's float32 against its float64.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.reference_weights import load_reference, reference_names, to_reference_layout
from medsimclr.models.simclr import SimCLR
from medsimclr.optim.lars import LARS, lars_groups
from tests.references.meta_network import meta_network
from tests.references.reference_step import (
    FLOAT64_STEPS,
    STEP_CASES,
    StepCase,
    draw_images,
    draw_variable,
)


class _Rounding(NamedTuple):
    """Measured error in training mode of the reference's float32, norm of the error over norm."""

    features: float
    projection: float
    gradient: float
    """Of the vector of all gradient norms."""
    one_gradient: float
    """Largest of a single gradient norm."""
    step: float
    """Of the first four entries of all steps, relative to each step's root mean square."""


_ROUNDING = {
    "r18_1x_sk0_32px": _Rounding(2.4e-6, 1.9e-5, 3.1e-5, 5.2e-4, 9.8e-4),
    "r50_1x_sk0_64px": _Rounding(1.4e-4, 5.9e-4, 7.3e-4, 7.9e-3, 3.2e-2),
    "r50_1x_sk1_64px": _Rounding(1.1e-3, 4.7e-3, 2.4e-3, 4.4e-2, 1.1e-1),
}
_TRAINING_TOLERANCE = 1e-3


class _Step(NamedTuple):
    """Our figures under the keys of golden/README.md; per variable in the order of its names."""

    variables: list[str]
    figures: dict[str, np.ndarray]
    trainable_names: list[str]
    delta_root_mean_square: np.ndarray


@cache
def _our_step(name: str) -> _Step:
    case = STEP_CASES[name]
    network = _network(case)
    names = reference_names(network)
    with np.load(FLOAT64_STEPS) as archive:
        variables = [str(line) for line in archive[f"{name}/variables"]]
        trainable_names = [str(line) for line in archive[f"{name}/trainable_names"]]
    drawn = {}
    for i, line in enumerate(variables):
        variable, shape, _ = line.split("|")
        drawn[variable] = draw_variable(variable, tuple(map(int, shape.split("x"))), seed=1000 + i)
    load_reference(network, drawn)
    network.double()
    image_BCHW = torch.from_numpy(draw_images(case)).permute(0, 3, 1, 2).double()

    figures = _forward(network.eval(), image_BCHW, mode="eval")
    figures |= _forward(network.train(), image_BCHW, mode="train")
    views = figures["projection_train"].chunk(2)
    figures["nt_xent"] = nt_xent(*views, temperature=0.1).loss
    figures["nt_xent"].backward()
    before = {
        names[key]: value.clone() for key, value in network.state_dict().items() if key in names
    }
    moving = [line.split("|")[0] for line in variables if line.endswith("|0")]
    figures["moving_after"] = torch.stack([before[variable].norm() for variable in moving])
    weights = {names[key]: weight for key, weight in network.named_parameters()}
    assert set(weights) == set(trainable_names)
    gradients = [weights[variable].grad for variable in trainable_names]
    figures["grad_norm"] = torch.stack([gradient.norm() for gradient in gradients])
    LARS(lars_groups(network, weight_decay=1e-4), lr=0.3).step()
    deltas = [
        to_reference_layout(weights[variable].detach() - before[variable])
        for variable in trainable_names
    ]
    figures["lars_delta_norm"] = torch.stack([delta.norm() for delta in deltas])
    figures["lars_delta_first4"] = torch.stack([delta.flatten()[:4] for delta in deltas])
    root_mean_square = torch.stack([delta.pow(2).mean().sqrt() for delta in deltas])
    arrays = {key: value.detach().numpy() for key, value in figures.items()}
    return _Step(variables, arrays, trainable_names, root_mean_square.numpy())


def _network(case: StepCase) -> SimCLR:
    return meta_network(case).to_empty(device="cpu")


def _forward(network: SimCLR, image_BCHW: torch.Tensor, *, mode: str) -> dict[str, torch.Tensor]:
    features_BD = network.encoder(image_BCHW)
    return {f"features_{mode}": features_BD, f"projection_{mode}": network.head(features_BD)}


def _error(value: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(value - expected) / np.linalg.norm(expected))


def _steps_error(step: _Step, first4: np.ndarray) -> float:
    entry = (step.figures["lars_delta_first4"] - first4) / step.delta_root_mean_square[:, None]
    return float(np.sqrt(np.square(entry).mean()))


# Ours against the reference in float64.


@pytest.fixture(params=list(STEP_CASES))
def exact(request: pytest.FixtureRequest) -> tuple[_Step, dict[str, np.ndarray]]:
    with np.load(FLOAT64_STEPS) as archive:
        return _our_step(request.param), _under(archive, request.param)


def _under(archive: np.lib.npyio.NpzFile, name: str) -> dict[str, np.ndarray]:
    return {key.split("/")[1]: archive[key] for key in archive if key.startswith(f"{name}/")}


@pytest.mark.parametrize(
    ("figure", "tolerance"),
    [
        ("projection_eval", 1e-10),
        ("projection_train", 1e-9),
        ("nt_xent", 1e-9),
        ("moving_after", 1e-7),
        ("grad_norm", 1e-8),
        ("lars_delta_norm", 1e-6),
        ("lars_delta_first4", 1e-6),
    ],
)
def test_step_equals_the_reference_in_float64(exact, figure, tolerance):
    step, expected = exact
    assert _error(step.figures[figure], expected[figure]) < tolerance


def test_every_variable_equals_the_reference_in_float64(exact):
    step, expected = exact
    for figure in ("moving_after", "grad_norm", "lars_delta_norm"):
        np.testing.assert_allclose(step.figures[figure], expected[figure], rtol=1e-6)
    assert _steps_error(step, expected["lars_delta_first4"]) < 1e-6


# Ours against the reference in float32.


@pytest.fixture(params=list(_ROUNDING))
def golden(
    request: pytest.FixtureRequest, shared_data: Path
) -> tuple[_Step, dict[str, np.ndarray], _Rounding]:
    with np.load(shared_data.parent / "golden" / "simclr_step.npz") as archive:
        return _our_step(request.param), _under(archive, request.param), _ROUNDING[request.param]


def test_variables_are_those_of_the_reference(golden):
    step, expected, _ = golden
    assert step.variables == list(expected["variables"])
    assert step.trainable_names == list(expected["trainable_names"])


@pytest.mark.parametrize("figure", ["features_eval", "projection_eval"])
def test_inference_equals_the_reference(golden, figure):
    step, expected, _ = golden
    assert _error(step.figures[figure], expected[figure]) < 1e-5


@pytest.mark.parametrize("figure", ["features", "projection", "gradient", "one_gradient", "step"])
def test_training_step_equals_the_reference_but_for_its_own_rounding(golden, figure):
    step, expected, rounding = golden
    ratios = step.figures["grad_norm"] / expected["grad_norm"]
    error = {
        "features": _error(step.figures["features_train"], expected["features_train"]),
        "projection": _error(step.figures["projection_train"], expected["projection_train"]),
        "gradient": _error(step.figures["grad_norm"], expected["grad_norm"]),
        "one_gradient": float(np.abs(ratios - 1).max()),
        "step": _steps_error(step, expected["lars_delta_first4"]),
    }[figure]
    assert error < max(_TRAINING_TOLERANCE, 1.1 * getattr(rounding, figure))


def test_nt_xent_equals_the_reference(golden):
    step, expected, _ = golden
    assert step.figures["nt_xent"] == pytest.approx(expected["nt_xent"], rel=_TRAINING_TOLERANCE)


def test_moving_statistics_equal_the_reference(golden):
    step, expected, _ = golden
    np.testing.assert_allclose(step.figures["moving_after"], expected["moving_after"], rtol=1e-4)


def test_norm_of_every_lars_step_equals_the_reference_but_for_its_own_rounding(golden):
    step, expected, rounding = golden
    np.testing.assert_allclose(
        step.figures["lars_delta_norm"],
        expected["lars_delta_norm"],
        rtol=max(_TRAINING_TOLERANCE, 1.1 * rounding.one_gradient),
    )


@pytest.mark.parametrize("name", list(_ROUNDING))
def test_rounding_allowed_is_what_the_reference_differs_from_itself(name, shared_data):
    with (
        np.load(shared_data.parent / "golden" / "simclr_step.npz") as in_float32,
        np.load(FLOAT64_STEPS) as in_float64,
    ):
        rounded, exact = _under(in_float32, name), _under(in_float64, name)
    ratios = rounded["grad_norm"] / exact["grad_norm"]
    measured = {
        "projection": _error(rounded["projection_train"], exact["projection_train"]),
        "gradient": _error(rounded["grad_norm"], exact["grad_norm"]),
        "one_gradient": float(np.abs(ratios - 1).max()),
    }
    for figure, error in measured.items():
        assert getattr(_ROUNDING[name], figure) == pytest.approx(error, rel=0.05), figure
