"""The learning rate: scaled with the batch, warmed up linearly, then a cosine to 0.

Source: `google-research/simclr` tf2/model.py, WarmUpAndCosineDecay and get_train_steps. Batch sizes
are global, over all processes and accumulated micro-batches. Steps count from 0.
"""

import math
from typing import Literal

from medsimclr.errors import ConfigError

__all__ = ["Scaling", "scaled_lr", "total_steps", "warmup_cosine", "warmup_steps"]

Scaling = Literal["linear", "sqrt"]


def scaled_lr(base_lr: float, batch_size: int, *, scaling: Scaling) -> float:
    """Return the peak rate: base · B / 256 ("linear") or base · √B ("sqrt").

    Raises:
        ConfigError: The scaling is neither.
    """
    if scaling == "linear":
        return base_lr * batch_size / 256
    if scaling == "sqrt":
        return base_lr * math.sqrt(batch_size)
    raise ConfigError(f"scaling of the learning rate must be linear or sqrt, got {scaling!r}.")


def total_steps(n_examples: int, batch_size: int, epochs: int) -> int:
    """Return the number of steps of a run, N · epochs // B + 1."""
    return n_examples * epochs // batch_size + 1


def warmup_steps(n_examples: int, batch_size: int, warmup_epochs: float) -> int:
    """Return the number of warm-up steps, warmup_epochs · N // B; epochs may be fractional."""
    return round(warmup_epochs * n_examples // batch_size)


def warmup_cosine(step: int, *, peak_lr: float, warmup_steps: int, total_steps: int) -> float:
    """Return the rate of step `step`: 0 at step 0 of a warm-up, 0 again from `total_steps` on.

    Without a warm-up step 0 has the peak rate.
    """
    if step < warmup_steps:
        return peak_lr * step / warmup_steps
    if step >= total_steps:
        return 0.0
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak_lr * 0.5 * (1 + math.cos(math.pi * progress))
