"""torch's batch norm in place of ours: what lightly's users have."""

from torch import nn

from medsimclr.models.batch_norm import BatchNorm

__all__ = ["use_torch_batch_norm"]


def use_torch_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm of ours below a module by torch's of the same state."""
    for name, child in module.named_children():
        if isinstance(child, BatchNorm):
            torch_norm = nn.BatchNorm2d(child.num_features)
            torch_norm.load_state_dict(child.state_dict())
            setattr(module, name, torch_norm)
        else:
            use_torch_batch_norm(child)
