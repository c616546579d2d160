"""Every way to break the contract is found and told; the policies here are all wrong but one."""

import random
from dataclasses import dataclass, field

import albumentations as A
import numpy as np
import pytest
import torch

from medsimclr.augment.contract import check_policy
from medsimclr.augment.discovery import load_policy
from medsimclr.errors import PolicyError


class _Change(A.ImageOnlyTransform):
    """Apply any function (image, transform) -> image."""

    def __init__(self, function, p=1.0):
        super().__init__(p=p)
        self.function = function

    def apply(self, img, **_params):
        return self.function(img, self)


@dataclass(frozen=True, kw_only=True)
class _Good:
    function: object = field(default=None, metadata={"why": "what the contrastive views do"})
    is_sized: bool = True

    def contrastive(self, view_px):
        change = [_Change(self.function)] if self.function else []
        return A.Compose([*self.supervised(view_px), *change])

    def supervised(self, view_px):
        return A.Compose([A.RandomResizedCrop((view_px, view_px)) if self.is_sized else A.NoOp()])


def _problems(policy, **settings):
    # The field with a function is a convenience of these tests: a checkpoint could not record it.
    return [text for text in check_policy(policy, **settings) if "its field function" not in text]


def _shift(image_HW3, amount):
    return ((image_HW3.astype(int) + amount) % 256).astype(np.uint8)


_MEMORY = []


def _remember(image_HW3, _transform):
    _MEMORY.append(1)
    return _shift(image_HW3, len(_MEMORY))


def _fail_on_blank(image_HW3, _transform):
    if np.ptp(image_HW3) == 0:
        raise ZeroDivisionError("division by zero")
    return image_HW3


@pytest.mark.parametrize("is_thorough", [False, True])
def test_a_policy_that_keeps_to_the_contract_has_no_problems(is_thorough):
    assert check_policy(_GoodRecorded(), is_thorough=is_thorough) == []


@dataclass(frozen=True, kw_only=True)
class _GoodRecorded:
    def contrastive(self, view_px):
        return A.Compose([A.RandomResizedCrop((view_px, view_px)), A.ColorJitter()])

    def supervised(self, view_px):
        return A.Compose([A.RandomResizedCrop((view_px, view_px))])


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda image, _: image / np.float32(255), "uint8 RGB image (H, W, 3), got ndarray float3"),
        (lambda image, _: image[:-1], "must have the shape (40, 40, 3), got (39, 40, 3) of a noi"),
        (lambda image, _: image[..., 0], "must return a uint8 RGB image"),
        (lambda image, _: image // 255, "views of noise have no value above 1; return levels from"),
        (_fail_on_blank, "a view of a white tile (48x48x3) fails: ZeroDivisionError: division by"),
        (_remember, "equal seeds give different views, so a generator or a memory of its own has"),
        (
            lambda image, _: _shift(image, np.random.default_rng().integers(256)),
            "equal seeds give different views",
        ),
        (
            lambda image, _: _shift(image, np.random.randint(256)),
            "it uses the global generator of numpy.random; draw from self.py_random",
        ),
        (
            lambda image, _: _shift(image, random.randrange(256)),
            "it uses the global generator of random; draw from self.py_random",
        ),
        (
            lambda image, _: _shift(image, int(torch.randint(256, ()))),
            "it uses the global generator of torch; draw from self.py_random",
        ),
    ],
)
@pytest.mark.parametrize("is_thorough", [False, True])
def test_a_wrong_view_is_told_with_what_to_mend(function, told, is_thorough):
    problems = _problems(_Good(function=function), is_thorough=is_thorough)

    assert len(problems) == 1
    assert told in problems[0]


@dataclass(frozen=True, kw_only=True)
class _WritesFirst(_Good):
    def contrastive(self, view_px):
        def blacken(image_HW3, _transform):
            image_HW3[0] = 7
            return image_HW3

        return A.Compose([_Change(blacken), *self.supervised(view_px)])


@pytest.mark.parametrize("is_thorough", [False, True])
def test_a_generator_that_every_transform_begins_anew_is_told(is_thorough):
    @dataclass(frozen=True, kw_only=True)
    class Private(_GoodRecorded):
        def contrastive(self, view_px):
            rng = np.random.default_rng(0)
            shift = _Change(lambda image_HW3, _: _shift(image_HW3, rng.integers(256)))
            return A.Compose([*self.supervised(view_px), shift])

    (problem,) = check_policy(Private(), is_thorough=is_thorough)

    assert problem.startswith("contrastive(40): equal seeds give different views")


def test_writing_to_the_tile_is_told():
    assert _problems(_WritesFirst()) == ["contrastive(40): the tile is written to; work on a copy."]


def test_the_check_leaves_the_global_generators_where_they_were():
    def draw_all(image_HW3, _transform):
        np.random.random(), random.random(), torch.rand(())
        return image_HW3

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.random(), float(torch.rand(()))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)

    (problem,) = _problems(_Good(function=draw_all))

    assert problem.startswith("it uses the global generator of random and numpy.random and torch;")
    assert (random.random(), np.random.random(), float(torch.rand(()))) == expected


def test_methods_that_fail_or_return_nothing_are_told():
    @dataclass(frozen=True, kw_only=True)
    class Broken:
        def contrastive(self, view_px):
            raise KeyError("a")

        def supervised(self, view_px):
            return None

    assert check_policy(Broken()) == [
        "contrastive(40): it fails: KeyError: 'a'.",
        "supervised(40): it must return an albumentations.Compose, got None.",
    ]


def test_a_field_that_no_checkpoint_can_record_is_told():
    @dataclass(frozen=True, kw_only=True)
    class Heavy(_GoodRecorded):
        matrix: np.ndarray = field(default_factory=lambda: np.eye(3))

    (problem,) = check_policy(Heavy())

    assert problem.startswith("its field matrix holds a ndarray, which a checkpoint cannot record")


@dataclass(frozen=True, kw_only=True)
class _Scaled(_GoodRecorded):
    p: float = 0.5
    kind: str = "good"

    def contrastive(self, view_px):
        return A.Compose([A.Resize(view_px, view_px), A.InvertImg(p=self.p)])

    def supervised(self, view_px):
        return A.Compose([A.Resize(view_px, view_px)])

    def scaled(self, strength):
        if self.kind == "fails" and strength > 1:
            raise ValueError("p must be at most 1")
        p = {
            "good": min(1.0, self.p * strength),
            "never zero": self.p,
            "not itself": min(1.0, strength),
            "reverse": 0.0 if strength in (0, 2) else 0.5,
        }
        if self.kind == "another":
            return _GoodRecorded()
        return type(self)(p=p.get(self.kind, self.p), kind=self.kind)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("never zero", "scaled(0).contrastive(40) must return a tile of 40 px bit for bit, and"),
        ("not itself", "scaled(1) must equal the policy itself"),
        ("fails", "scaled(2) fails: ValueError: p must be at most 1. Keep fields in their ranges."),
        ("another", "scaled(0) must return a _Scaled, got _GoodRecorded()"),
        ("reverse", "scaled(2) changes tiles less than scaled(0.5)"),
    ],
)
def test_a_strength_that_does_not_scale_is_told(kind, told):
    assert check_policy(_Scaled()) == []

    (problem,) = check_policy(_Scaled(kind=kind))

    assert told in problem


def test_supervised_views_with_more_colour_than_contrastive_ones_are_told():
    @dataclass(frozen=True, kw_only=True)
    class Swapped(_GoodRecorded):
        def contrastive(self, view_px):
            return super().supervised(view_px)

        def supervised(self, view_px):
            return super().contrastive(view_px)

    (problem,) = check_policy(Swapped())

    assert problem.startswith("supervised views change a colour by")


def test_views_that_vary_with_the_seed_but_not_with_the_tile_are_told(monkeypatch):
    import medsimclr.augment.contract as contract

    original = contract.apply_seeded
    monkeypatch.setattr(
        contract,
        "apply_seeded",
        lambda compose, tile_HW3, *, seed: original(
            compose, tile_HW3, seed=(*seed[:2], 0, *seed[3:])
        ),
    )

    problems = check_policy(_GoodRecorded())

    assert "contrastive(40): views do not vary with tile" in problems[0]


def test_loading_refuses_a_policy_that_breaks_the_contract(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "import albumentations as A\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine:\n"
        "    def contrastive(self, view_px):\n"
        "        return A.Compose([A.RandomCrop(64, 64)])\n"
        "    def supervised(self, view_px):\n"
        "        return A.Compose([A.Normalize()])\n"
    )

    with pytest.raises(
        PolicyError,
        match=r"mine.py:Mine': contrastive\(40\): .* \(1 more: medsimclr policies check "
        r".*mine.py:Mine\)",
    ):
        load_policy(f"{path}:Mine")


@dataclass(frozen=True, kw_only=True)
class _FailsAtZero(_GoodRecorded):
    sigma: float = 1.0

    def contrastive(self, view_px):
        def blurred(image_HW3, _transform):
            assert self.sigma > 0.0, self.sigma
            return _shift(image_HW3, 1)

        return A.Compose([A.Resize(view_px, view_px), _Change(blurred)])

    def scaled(self, strength):
        return _FailsAtZero(sigma=strength)


def test_a_view_that_fails_at_another_strength_is_told_and_leaves_the_generators():
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    assert check_policy(_FailsAtZero()) == [
        "at another strength a view fails: AssertionError: 0.0. Any tile, and strengths 0 to 2, "
        "must do."
    ]
    assert np.random.random() == expected
