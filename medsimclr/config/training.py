"""What the configurations of pretrain, finetune and distill share."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from medsimclr.config.base import CommandConfig, Flag

__all__ = ["TrainingConfig"]

# Places and machine, which may differ between a run and its continuation. What a place holds counts
# by its content: the run records digests of store, checkpoint and tables beside this.
_PLACES = {"store", "out", "run", "start_from", "split", "label_table"}
_MACHINE = {
    "workers",
    "threads",
    "device",
    "precision",
    "recompute",
    "checkpoint_minutes",
    "log_seconds",
    "lost_process_seconds",
}


class TrainingConfig(CommandConfig):
    """One training run; batch sizes are global."""

    store: Annotated[Path, Flag()]
    """The tile store to train on."""
    out: Annotated[Path, Flag()]
    """The run directory; running the same command again resumes it."""
    epochs: Annotated[int, Flag()] = Field(default=100, ge=1)
    """Passes over the training tiles."""
    batch_size: Annotated[int, Flag()] = Field(default=256, ge=2)
    """Tiles in a step, over all processes."""
    optimizer: Literal["lars", "sgd"] = "lars"
    """LARS as in SimCLRv2, or SGD with Nesterov momentum 0.9."""
    base_lr: float = Field(default=0.1, gt=0)
    """Learning rate before scaling with the batch."""
    lr_scaling: Literal["linear", "sqrt"] = "sqrt"
    """base_lr * batch / 256, or base_lr * sqrt(batch)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay; batch norm, biases and the supervised layer are left out of it."""
    warmup_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the epochs with a rising learning rate."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 where the processor computes with it, else fp32."""
    policy_options: dict[str, Any] = Field(default_factory=dict)
    """Fields of the policy to change, as in --set policy_options.strength=0.5."""
    policy_fitted_on: list[str] = Field(default_factory=list)
    """Patients whose tiles these fields were fitted to, as `policies fit` writes them: they count
    as seen without labels."""
    seed: Annotated[int, Flag()] = Field(default=0, ge=0, lt=2**32)
    """Decides the split, the weights, the order and the views."""
    device: Annotated[str, Flag()] = "auto"
    """auto, cpu, cuda or cuda:N."""
    workers: Annotated[int, Flag()] = Field(default=1, ge=0, le=256)
    """Processes that read and augment tiles; 0 does it between the steps."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads that compute; default: PyTorch's, all cores. Their number decides how sums round."""
    recompute: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory for big
    encoders, a third more time, the same numbers."""
    compile: bool = False
    """Compile the network with torch.compile, which rounds otherwise: a run keeps to it."""
    lost_process_seconds: float = Field(default=600, gt=0)
    """How long processes started by torchrun wait for one that is silent, seconds."""
    checkpoint_minutes: float = Field(default=10, gt=0)
    """Time between checkpoints, minutes."""
    log_seconds: float = Field(default=5, gt=0)
    """Time between two lines of progress, seconds."""

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers of the run: its configuration without paths and machine.

        The run adds the precision that was chosen, digests of what the paths held, and the patients
        that were seen, those fitted to among them.
        """
        left_out = {*_PLACES, *_MACHINE, "policy_fitted_on"}
        # Named only where it is, so that runs of earlier versions, which never named it, go on.
        if not self.compile:
            left_out.add("compile")
        return {key: value for key, value in self.record().items() if key not in left_out}

    def saves_memory(self) -> bool:
        """Tell whether memory was asked to be saved at the cost of time."""
        return self.recompute
