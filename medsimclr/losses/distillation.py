"""The distillation loss: a student learns the teacher's softened probabilities.

Source: arXiv 2006.10029; `google-research/simclr` colabs/distillation_self_training.ipynb,
add_kd_loss. The factor T² keeps the size of the gradient when T changes (arXiv 1503.02531).

B batch, K classes.
"""

import torch
from torch.nn import functional as F

__all__ = ["distillation_loss"]


def distillation_loss(
    student_BK: torch.Tensor, teacher_BK: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """Return mean over B of T² · CE(softmax(teacher / T), student / T), in float32 or better.

    Cross-entropy, not the divergence: with student = teacher it is T² times the entropy of the
    teacher, not 0. No gradient reaches the teacher.

    Args:
        student_BK: (B, K) logits of the student.
        teacher_BK: (B, K) logits of the teacher, in inference mode.
        temperature: T, the same for both.
    """
    assert student_BK.shape == teacher_BK.shape, (student_BK.shape, teacher_BK.shape)
    dtype = torch.promote_types(student_BK.dtype, torch.float32)
    target_BK = (teacher_BK.detach().to(dtype) / temperature).softmax(dim=1)
    return temperature**2 * F.cross_entropy(student_BK.to(dtype) / temperature, target_BK)
