"""Names and layouts of the reference's variables, and those of our networks.

TensorFlow numbers layers in the order of their construction, which is also ours: the shortcut of a
block before its branch. The last two parts of a variable's name say which it is, for instance
`conv2d_3/kernel:0`, the fourth convolution; batch norms are counted through encoder and head.
"""

import re

import numpy as np
import torch
from torch import nn

__all__ = ["key_of", "reference_keys", "to_tf_layout", "to_torch_layout"]

_KINDS = {"conv2d": nn.Conv2d, "sync_batch_normalization": nn.BatchNorm2d, "dense": nn.Linear}
_ATTRIBUTES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def reference_keys(network: nn.Module) -> dict[str, list[str]]:
    """Return for each kind of layer our module names in order of construction."""
    return {
        kind: [name for name, module in network.named_modules() if isinstance(module, layer)]
        for kind, layer in _KINDS.items()
    }


def key_of(tf_name: str, modules: dict[str, list[str]]) -> str:
    """Return our state-dict key of a variable such as `.../conv2d_3/kernel:0`."""
    layer, attribute = tf_name.removesuffix(":0").split("/")[-2:]
    match = re.fullmatch(r"(conv2d|sync_batch_normalization|dense)(?:_(\d+))?", layer)
    assert match is not None, tf_name
    kind, number = match.groups()
    return f"{modules[kind][int(number or 0)]}.{_ATTRIBUTES[attribute]}"


def to_torch_layout(values: np.ndarray) -> torch.Tensor:
    """Turn (kh, kw, in, out) into (out, in, kh, kw) and (in, out) into (out, in)."""
    axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[values.ndim]
    return torch.from_numpy(np.ascontiguousarray(values.transpose(axes)))


def to_tf_layout(tensor: torch.Tensor) -> torch.Tensor:
    """Undo `to_torch_layout`."""
    axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[tensor.dim()]
    return tensor.permute(axes)
