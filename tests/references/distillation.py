"""The distillation loss one row and one class at a time (arXiv 2006.10029)."""

import math

__all__ = ["distillation_loops"]


def distillation_loops(
    student: list[list[float]], teacher: list[list[float]], temperature: float
) -> float:
    """Return the mean over rows of T² times the cross-entropy of the softened rows."""
    total = 0.0
    for student_row, teacher_row in zip(student, teacher, strict=True):
        p_student = _softmax(student_row, temperature)
        p_teacher = _softmax(teacher_row, temperature)
        for p, q in zip(p_teacher, p_student, strict=True):
            total += -(temperature**2) * p * math.log(q)
    return total / len(student)


def _softmax(logits: list[float], temperature: float) -> list[float]:
    weights = [math.exp(logit / temperature) for logit in logits]
    return [weight / sum(weights) for weight in weights]
