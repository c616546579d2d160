"""Names and layouts of the reference's variables, and how they get into our networks.

Source: facts of `google-research/simclr` (commit 383d414), tf2/resnet.py and tf2/model.py.

Names. TensorFlow numbers the layers of a kind (convolution, batch norm, dense) as they are built,
and ours are built in its order: a block's shortcut before its branch; in a selective kernel 3x3,
batch norm, 1x1, batch norm, 1x1; encoder before head. So `reference_names` can say every name that
one model in a fresh process has, such as

    resnet/block_group1/bottleneck_block/sk__conv2d/conv2d_6/kernel:0

and `load_reference` needs of it the last two parts alone, `conv2d_6/kernel`, and in the head the
layer and the kind, `nl_1`, `dense` and `kernel`. Every other prefix (`resnet/`, `base_model/`,
`model/`, ...), `:0` and the `sync_` of global batch norm are not looked at. What is no weight of
encoder or projection head (`head_supervised`, optimiser slots, a second copy such as `ema_model/`)
must be left out by the caller: none of it is guessed, and none silently dropped.

Layouts. Convolution kernels are (height, width, in, out) there and (out, in, height, width) here,
dense kernels (in, out) there and (out, in) here; vectors are the same.

Padding is not in the weights, but decides what they compute: see `conv` (initial_weights),
`SameMaxPool` (stem) and `ShortcutPool` (blocks).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medsimclr.errors import IntegrityError
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.blocks import Block
from medsimclr.models.selective_kernel import SelectiveKernel
from medsimclr.models.simclr import SimCLR

__all__ = ["load_reference", "reference_names", "to_reference_layout", "to_torch_layout"]

_ADVICE = "depth, width, selective kernels, stem and head layers must be those of the checkpoint."
_TO_TORCH = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
_TO_REFERENCE = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
_OF_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def to_torch_layout(values: NDArray[np.generic]) -> torch.Tensor:
    """Turn the reference's (kh, kw, in, out) or (in, out) into ours; a vector stays.

    Raises:
        IntegrityError: The array has another number of axes.
    """
    _check_axes(values.ndim, values.shape)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(_TO_TORCH[values.ndim])))


def to_reference_layout(weight: torch.Tensor) -> torch.Tensor:
    """Undo `to_torch_layout`; the memory is shared.

    Raises:
        IntegrityError: The tensor has another number of axes.
    """
    _check_axes(weight.dim(), tuple(weight.shape))
    return weight.permute(_TO_REFERENCE[weight.dim()])


def reference_names(network: SimCLR) -> dict[str, str]:
    """Return the reference's name of every weight and running statistic, by our state-dict key."""
    numbers = _Numbers()
    stages: list[tuple[str, str, nn.Module]] = [("encoder.stem", "resnet", network.encoder.stem)]
    for i_group, group in network.encoder.groups.named_children():
        scope = f"resnet/block_group{int(i_group) + 1}"
        stages.append((f"encoder.groups.{i_group}", scope, group))
    for i_layer, layer in network.head.layers.named_children():
        stages.append((f"head.layers.{i_layer}", f"projection_head/nl_{i_layer}", layer))
    names = {}
    for key, scope, stage in stages:
        names.update(_names(stage, key=key, scope=scope, numbers=numbers))
    return names


def load_reference(network: SimCLR, variables: Mapping[str, NDArray[np.generic]]) -> None:
    """Copy the reference's variables, by name and in its layout, into a network.

    Nothing is copied unless everything fits. The network keeps its precision and device.

    Raises:
        IntegrityError: A variable is missing, given twice, not of this network or misshaped.
    """
    given = _by_identity(variables)
    state = network.state_dict()
    loaded = {}
    for key, name in reference_names(network).items():
        given_name = given.pop(_identity(name), None)
        if given_name is None:
            raise IntegrityError(
                f"reference variable {name!r} is missing among the {len(variables)} given; "
                f"{_ADVICE}"
            )
        expected = tuple(to_reference_layout(state[key]).shape)
        shape = variables[given_name].shape
        if shape != expected:
            raise IntegrityError(
                f"reference variable {given_name!r} must have shape {expected}, got {shape}; "
                f"{_ADVICE}"
            )
        loaded[key] = to_torch_layout(variables[given_name])
    if given:
        raise IntegrityError(
            f"reference variable {next(iter(given.values()))!r} has no place in this network "
            f"({len(given)} such); leave out what is no weight of encoder or projection head."
        )
    with torch.no_grad():
        for key, values in loaded.items():
            state[key].copy_(values)


class _Numbers:
    """Counts layers by kind, as Keras names them: conv2d, conv2d_1, conv2d_2."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def next(self, kind: str) -> str:
        number = self._counts[kind]
        self._counts[kind] += 1
        return f"{kind}_{number}" if number else kind


def _names(module: nn.Module, *, key: str, scope: str, numbers: _Numbers) -> dict[str, str]:
    """Name the variables of a module in order of construction."""
    if isinstance(module, Block):
        kind = "bottleneck_block" if module.is_bottleneck else "residual_block"
        scope = f"{scope}/{numbers.next(kind)}"
    if isinstance(module, SelectiveKernel):
        scope = f"{scope}/{numbers.next('sk__conv2d')}"
    if isinstance(module, nn.Linear):
        return {f"{key}.weight": f"{scope}/{numbers.next('dense')}/kernel:0"}
    if isinstance(module, nn.Conv2d):
        # The 1x1 of a selective kernel are bare; every other convolution has a padding layer.
        is_bare = ".mixing." in key
        padding = "" if is_bare else f"/{numbers.next('conv2d_fixed_padding')}"
        return {f"{key}.weight": f"{scope}{padding}/{numbers.next('conv2d')}/kernel:0"}
    if isinstance(module, BatchNorm):
        layer = f"{numbers.next('batch_norm_relu')}/{numbers.next('sync_batch_normalization')}"
        kept = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        return {
            f"{key}.{ours}": f"{scope}/{layer}/{theirs}:0"
            for ours, theirs in _OF_BATCH_NORM.items()
            if ours in kept
        }
    names = {}
    for child_name, child in module.named_children():
        names.update(_names(child, key=f"{key}.{child_name}", scope=scope, numbers=numbers))
    return names


def _by_identity(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(_identity(name), name)
        if other != name:
            raise IntegrityError(
                f"reference variables {other!r} and {name!r} are the same weight; give one of them."
            )
    return found


def _identity(name: str) -> str:
    """Return what is left of a name without prefixes: conv2d_6/kernel or nl_1/dense/kernel."""
    parts = name.removesuffix(":0").split("/")
    layer = "/".join(parts[-2:]).removeprefix("sync_")
    head_layers = [part for part in parts if re.fullmatch(r"nl_\d+", part)]
    if head_layers:
        return f"{head_layers[0]}/{re.sub(r'_[0-9]+/', '/', layer)}"
    return layer


def _check_axes(n_axes: int, shape: tuple[int, ...]) -> None:
    if n_axes not in _TO_TORCH:
        raise IntegrityError(f"a variable of the network must have 1, 2 or 4 axes, got {shape}.")
