"""LARS on lists of numbers (google-research/simclr, tf2/lars_optimizer.py, classic momentum)."""

import math

__all__ = ["LarsLoops"]


class LarsLoops:
    """One parameter and its momentum."""

    def __init__(self, weight: list[float], *, lr: float, weight_decay: float, adapt: bool) -> None:
        self.weight = list(weight)
        self.velocity = [0.0] * len(weight)
        self.trust = math.nan
        self.lr = lr
        self.weight_decay = weight_decay
        self.adapt = adapt

    def step(self, gradient: list[float]) -> None:
        decayed = [g + self.weight_decay * w for g, w in zip(gradient, self.weight, strict=True)]
        weight_norm = math.sqrt(sum(w * w for w in self.weight))
        gradient_norm = math.sqrt(sum(g * g for g in decayed))
        self.trust = 1.0
        if self.adapt and weight_norm > 0 and gradient_norm > 0:
            self.trust = 0.001 * weight_norm / gradient_norm
        for i, g in enumerate(decayed):
            self.velocity[i] = 0.9 * self.velocity[i] + self.lr * self.trust * g
            self.weight[i] -= self.velocity[i]
