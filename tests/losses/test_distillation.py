import pytest
import torch

from medsimclr.losses.distillation import distillation_loss
from tests.references.distillation import distillation_loops
from tests.references.numeric_gradient import numeric_gradient


def _logits(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(4, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("temperature", "golden"),
    [(1.0, 0.9193186283987064), (2.0, 4.21346970209576), (0.1, 5.054972752265813e-06)],
)
def test_distillation_equals_golden_values(temperature, golden):
    student = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    teacher = torch.tensor([[2.0, 1.0, 0.5]], dtype=torch.float64)
    loss = distillation_loss(student, teacher, temperature=temperature)
    assert loss.item() == pytest.approx(golden, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_equals_loop_reference_in_value_and_gradient(temperature):
    student, teacher = _logits(0).requires_grad_(), _logits(1)
    rows, target = student.tolist(), teacher.tolist()

    loss = distillation_loss(student, teacher, temperature=temperature)
    loss.backward()

    assert loss.item() == pytest.approx(distillation_loops(rows, target, temperature), rel=1e-12)
    gradient = numeric_gradient(lambda r: distillation_loops(r, target, temperature), rows)
    expected = torch.tensor(gradient, dtype=torch.float64)
    torch.testing.assert_close(student.grad, expected, rtol=1e-6, atol=1e-7)


def test_distillation_is_invariant_to_batch_order():
    student, teacher = _logits(0), _logits(1)
    order = torch.tensor([2, 0, 3, 1])
    loss = distillation_loss(student, teacher, temperature=2.0)
    torch.testing.assert_close(
        distillation_loss(student[order], teacher[order], temperature=2.0), loss
    )


def test_distillation_is_least_for_the_teacher_itself():
    student, teacher = _logits(0), _logits(1)
    least = distillation_loss(teacher, teacher, temperature=2.0)
    assert distillation_loss(student, teacher, temperature=2.0) > least
    assert distillation_loss(teacher + 1, teacher, temperature=2.0).item() == pytest.approx(
        least.item()
    )


def test_no_gradient_reaches_the_teacher():
    student, teacher = _logits(0).requires_grad_(), _logits(1).requires_grad_()
    distillation_loss(student, teacher, temperature=1.0).backward()
    assert teacher.grad is None


def test_distillation_is_float32_under_bfloat16_autocast():
    student, teacher = _logits(0).bfloat16(), _logits(1).bfloat16()
    outside = distillation_loss(student.double(), teacher.double(), temperature=2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = distillation_loss(student, teacher, temperature=2.0)
    assert inside.dtype == torch.float32
    assert inside.item() == pytest.approx(outside.item(), rel=1e-5)
