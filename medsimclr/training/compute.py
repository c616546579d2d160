"""Where, in which precision and how fast the networks compute."""

import ctypes
import os
import shutil
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from medsimclr.config.training import TrainingConfig
from medsimclr.errors import ConfigError

__all__ = [
    "Compute",
    "Precision",
    "choose_compute",
    "choose_device",
    "choose_precision",
    "compiled",
    "keep_freed_memory",
    "on_device",
    "return_freed_memory",
    "to_images",
    "use_ieee_float32",
]

Precision = Literal["fp32", "bf16"]
Module = TypeVar("Module", bound=nn.Module)

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_TOP_PAD_BYTES = 64 * 2**20
_MAPPED_FROM_BYTES = _TRIMMED_FROM_BYTES = 256 * 2**10
_MOST_MAPPED = 65536  # glibc's own


def choose_device(name: str) -> torch.device:
    """Return the device; auto is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: the device is unknown or not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N, got {name!r}.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name!r} needs a CUDA GPU, got none; give --device cpu.")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N, got {name!r}.")
    return device


def choose_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """Return the precision; auto is bf16 where the processor has instructions for it.

    Elsewhere bf16 is emulated and slower than fp32. See DECISIONS.md for what it saves.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_bf16 else "fp32"


class Compute(NamedTuple):
    """Device and precision of a run."""

    device: torch.device
    precision: Precision

    def autocast(self) -> torch.autocast:
        """Return the context in which forward passes run; weights stay float32."""
        is_bf16 = self.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=is_bf16)


def choose_compute(config: TrainingConfig) -> Compute:
    """Return device and precision that a training configuration asks for."""
    device = choose_device(config.device)
    return Compute(device, choose_precision(config.precision, device))


def to_images(view_BHWC: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Turn uint8 views (B, H, W, 3) into float images (B, 3, H, W) in [0, 1], channels last.

    The reference normalises nothing beyond [0, 1] (tf2/data_util.py), and nor do we. Bytes travel,
    floats are made on the device.
    """
    image_BCHW = view_BHWC.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return image_BCHW.float().div_(255)


def on_device(module: Module, device: torch.device) -> Module:
    """Move a network, its convolutions channels last: the layout that CPUs and GPUs compute in."""
    module = module.to(device)
    convert_conv2d_weight_memory_format(module, torch.channels_last)
    return module


def compiled(module: Module, *, enabled: bool) -> Module:
    """Let torch.compile compile the forward pass at its first call, where that is enabled.

    In place: the names of parameters and buffers stay, so a checkpoint fits either way.

    Raises:
        ConfigError: there is no compiler.
    """
    if enabled:
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise ConfigError(
                f"--set compile=true needs a C++ compiler, got none called {compiler!r}; install "
                "g++, name yours in CXX, or leave compile out."
            )
        module.compile()
    return module


def use_ieee_float32() -> None:
    """Let GPUs compute float32 as IEEE 754 says, for the rest of the process.

    PyTorch lets convolutions round to TensorFloat-32, with 10 bits of mantissa. GPUs that have it
    have bfloat16 too, which is faster still: who asks them for fp32 asks for its bits.
    """
    torch.backends.cudnn.fp32_precision = "ieee"
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free for the next step, for the rest of the process.

    glibc hands large tensors back to the system when they are freed, which clears the pages of the
    next step's anew: a sixth of a step's CPU time (DECISIONS.md). Kept, peak memory is up to a
    tenth higher, and memory freed after training is not seen by other processes. Other C libraries
    are left as they are.
    """
    _set_malloc((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD_BYTES))


def return_freed_memory() -> None:
    """Let the C library hand every large tensor back to the system, for the rest of the process.

    Left alone, glibc keeps what was freed below something that is still in use: the step of a
    ResNet-152 that recomputes its activations took 945 MB instead of 523 (DECISIONS.md).
    """
    _set_malloc(
        (_M_MMAP_MAX, _MOST_MAPPED),
        (_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES),
        (_M_TRIM_THRESHOLD, _TRIMMED_FROM_BYTES),
        (_M_TOP_PAD, 0),
    )


def _set_malloc(*options: tuple[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in options:
            mallopt(option, value)
