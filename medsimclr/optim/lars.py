"""LARS: momentum whose step is scaled, parameter by parameter, to the parameter's norm.

Source: arXiv 1708.03888; `google-research/simclr` tf2/lars_optimizer.py with its defaults (classic
momentum: the learning rate enters the momentum, so a schedule acts on new gradients alone).

Where we differ: fine-tuning in the reference adds the weight decay of the supervised head's kernel
to the loss. Here that head has none, which is the same for its published recipes (decay 0).
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import nn
from torch.optim import Optimizer

from medsimclr.errors import ConfigError

__all__ = ["LARS", "lars_groups"]

_SUPERVISED_HEAD = "supervised_head"


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling.

    For every parameter w with gradient g:
        g ← g + weight_decay · w
        trust = trust_coefficient · ‖w‖ / ‖g‖, or 1 where either norm is 0 or `adapt` is False
        v ← momentum · v + lr · trust · g
        w ← w - v

    Args:
        params: Parameters or groups, such as those of `lars_groups`. A group may set `lr`,
            `momentum`, `trust_coefficient`, `weight_decay` and `adapt`.
        lr: Learning rate; a schedule writes it into each group before a step.
        momentum: SimCLRv2 takes 0.9.
        trust_coefficient: SimCLRv2 takes 0.001.
        weight_decay: Of groups that set none; SimCLRv2 pretrains with 1e-4.
        adapt: Whether groups that say nothing use the trust ratio.

    Raises:
        ConfigError: A rate is negative or not a number.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
        weight_decay: float = 0.0,
        adapt: bool = True,
    ) -> None:
        rates = {
            "lr": lr,
            "momentum": momentum,
            "trust_coefficient": trust_coefficient,
            "weight_decay": weight_decay,
        }
        for name, rate in rates.items():
            if not rate >= 0:
                raise ConfigError(f"{name} of LARS must be 0 or more, got {rate!r}.")
        super().__init__(params, {**rates, "adapt": adapt})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; return what `closure` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._update(weights, [weight.grad for weight in weights], group=group)
        return loss

    def _update(
        self, weights: list[torch.Tensor], gradients: list[torch.Tensor], *, group: dict[str, Any]
    ) -> None:
        # Lists rather than one parameter at a time: a GPU runs a few kernels instead of hundreds,
        # and a CPU takes half the time, since rate and trust are one factor of one pass.
        momenta = [self._momentum(weight) for weight in weights]
        if group["weight_decay"] != 0:
            decay = group["weight_decay"]
            gradients = list(torch._foreach_add(gradients, weights, alpha=decay))
        torch._foreach_mul_(momenta, group["momentum"])
        if group["adapt"]:
            trust_T = _trust(weights, gradients, coefficient=group["trust_coefficient"])
            factors = (trust_T * group["lr"]).unbind()
            torch._foreach_addcmul_(momenta, gradients, factors)
        else:
            torch._foreach_add_(momenta, gradients, alpha=group["lr"])
        torch._foreach_sub_(weights, momenta)

    def _momentum(self, weight: torch.Tensor) -> torch.Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        momentum: torch.Tensor = state["momentum_buffer"]
        return momentum


def lars_groups(module: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters of a network into two groups for LARS.

    The first is decayed and adapted. The second is neither: batch norm's parameters, biases, and
    all of a submodule that is named `supervised_head`. Wrappers such as DistributedDataParallel may
    stand around the network. Within a group the order is that of `module.parameters()`.
    """
    excluded: set[nn.Parameter] = set()
    for module_name, submodule in module.named_modules():
        is_head = module_name.rpartition(".")[2] == _SUPERVISED_HEAD
        if is_head or isinstance(submodule, nn.modules.batchnorm._BatchNorm):
            excluded.update(submodule.parameters())
        excluded.update(
            parameter
            for name, parameter in submodule.named_parameters(recurse=False)
            if name == "bias"
        )
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    adapted = [parameter for parameter in trainable if parameter not in excluded]
    plain = [parameter for parameter in trainable if parameter in excluded]
    return [
        {"params": adapted, "weight_decay": weight_decay, "adapt": True},
        {"params": plain, "weight_decay": 0.0, "adapt": False},
    ]


def _trust(
    weights: list[torch.Tensor], gradients: list[torch.Tensor], *, coefficient: float
) -> torch.Tensor:
    """Return the trust ratio of each of T parameters, (T,).

    Without .item(): on a GPU one wait per parameter would cost more than the update itself.
    """
    weight_norm_T = torch.stack(torch._foreach_norm(weights))
    gradient_norm_T = torch.stack(torch._foreach_norm(gradients))
    is_defined_T = (weight_norm_T > 0) & (gradient_norm_T > 0)
    return torch.where(is_defined_T, coefficient * weight_norm_T / gradient_norm_T, 1.0)
