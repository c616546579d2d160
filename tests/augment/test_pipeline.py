import json

import albumentations as A
import cv2
import numpy as np
import pytest
import yaml

from medsimclr.augment.common_slides import COMMON_SLIDES, COMMON_TEMPLATES
from medsimclr.augment.crop import Crop
from medsimclr.augment.discovery import load_policy
from medsimclr.augment.intensity import IntensityJitter, SensorNoise
from medsimclr.augment.pipeline import read_pipeline
from medsimclr.augment.policy import apply_seeded, policy_record
from medsimclr.augment.recorded import load_recorded_policy
from medsimclr.augment.stain import HED_TO_OD
from medsimclr.augment.stain_transforms import Focus, StainExchange, StainSetJitter, StainTemplate
from medsimclr.augment.transforms import Blur, ColorJitterV2, SquareSymmetries, StainJitter
from medsimclr.errors import PolicyError

_MIXED = A.Compose(
    [
        A.RandomResizedCrop((48, 48), interpolation=cv2.INTER_AREA),
        A.OneOf([A.HorizontalFlip(p=1), A.RandomBrightnessContrast(p=1)], p=0.5),
        A.SomeOf([A.Rotate(p=1), A.GaussNoise(p=1), A.ToGray(p=1)], n=2),
        A.Morphological(p=0.1),
        A.CoarseDropout(p=0.5),
        SquareSymmetries(),
        StainJitter(gain_sigma=0.2, offset_sigma=0.1, p=0.8),
        A.Sequential([A.ColorJitter()]),
    ]
)


def _tile(side=64):
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def _save(compose, path):
    A.save(compose, path, data_format="json" if path.suffix == ".json" else "yaml")
    return path


def _names(compose):
    names = []
    for transform in compose:
        is_leaf = not isinstance(transform, A.BaseCompose)
        names += [type(transform).__name__] if is_leaf else _names(transform)
    return names


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_a_saved_pipeline_draws_the_views_of_the_compose_that_was_saved(tmp_path, suffix):
    policy = load_policy(str(_save(_MIXED, tmp_path / f"mixed{suffix}")))

    for view in range(8):
        expected_HW3 = apply_seeded(A.Compose([_MIXED]), _tile(), seed=(0, view))
        view_HW3 = apply_seeded(policy.contrastive(48), _tile(), seed=(0, view))
        np.testing.assert_array_equal(view_HW3, expected_HW3)


def test_all_our_transforms_survive_saving(tmp_path):
    compose = A.Compose(
        [
            Crop(view_px=48, area_min=0.3),
            SquareSymmetries(p=0.5),
            StainJitter(gain_sigma=0.2, offset_sigma=0.1),
            ColorJitterV2(brightness=0.1, contrast=0.2, saturation=0.3, hue=0.1),
            Blur(sigma_px=(0.1, 1.0), radius_px=3, is_zero_padded=True),
            IntensityJitter(gain=0.2, gamma=0.1, offset=0.1, is_shared=True, p=0.3),
            SensorNoise(shot=0.1, read=0.2),
            StainSetJitter(stains_to_od=HED_TO_OD, gain_sigma=(0.1,) * 3, offset_sigma=(0.2,) * 3),
            StainExchange(slides=COMMON_SLIDES, share_max=0.7),
            StainTemplate(statistics=COMMON_TEMPLATES, spaces=("lab", "hsv"), strength=0.5),
            Focus(blur_sigma_px=1.0, sharpen=0.5),
        ]
    )
    path = _save(compose, tmp_path / "ours.yaml")

    loaded = load_policy(str(path)).contrastive(48).transforms[0]
    assert json.dumps(A.to_dict(loaded)) == json.dumps(A.to_dict(compose))
    for view in range(8):
        expected_HW3, view_HW3 = (
            apply_seeded(A.Compose([pipeline]), _tile(), seed=(0, view))
            for pipeline in (compose, loaded)
        )
        np.testing.assert_array_equal(view_HW3, expected_HW3)


def test_stains_that_are_none_are_told(tmp_path):
    path = _save(A.Compose([StainExchange(slides=COMMON_SLIDES, share_max=1)]), tmp_path / "a.json")
    content = json.loads(path.read_text())
    content["transform"]["transforms"][0]["slides"][3]["maxima"] = [0.0, 1.0]
    path.write_text(json.dumps(content))

    with pytest.raises(
        PolicyError, match=r"cannot build it: ValueError: 3: .*maxima must be above 0"
    ):
        load_policy(str(path))


def test_supervised_views_are_the_geometric_part(tmp_path):
    policy = read_pipeline(_save(_MIXED, tmp_path / "mixed.yaml"))

    names = _names(policy.supervised(48))

    assert names == ["RandomResizedCrop", "HorizontalFlip", "Rotate", "SquareSymmetries", "Resize"]


def test_a_pipeline_of_colour_alone_has_supervised_views_that_are_the_tile(tmp_path):
    path = _save(A.Compose([A.ColorJitter()]), tmp_path / "colour.json")

    view_HW3 = apply_seeded(load_policy(str(path)).supervised(64), _tile(), seed=(0,))

    np.testing.assert_array_equal(view_HW3, _tile())


def test_two_pipelines_in_one_file_are_used_each_for_its_own(tmp_path):
    path = tmp_path / "both.yaml"
    both = {
        "contrastive": A.to_dict(A.Compose([A.Resize(32, 32), A.ColorJitter()])),
        "supervised": A.to_dict(A.Compose([A.Resize(32, 32), A.VerticalFlip()])),
    }
    path.write_text(yaml.safe_dump(json.loads(json.dumps(both))))

    policy = load_policy(str(path))

    assert _names(policy.contrastive(32)) == ["Resize", "ColorJitter", "Resize"]
    assert _names(policy.supervised(32)) == ["Resize", "VerticalFlip", "Resize"]


def test_a_single_transform_is_a_pipeline_too(tmp_path):
    path = tmp_path / "flip.json"
    A.save(A.HorizontalFlip(p=1.0), path)

    view_HW3 = apply_seeded(load_policy(str(path)).contrastive(64), _tile(), seed=(0,))

    np.testing.assert_array_equal(view_HW3, _tile()[:, ::-1])


@pytest.mark.parametrize("view_px", [24, 48, 96])
def test_views_of_another_size_are_resized_at_the_end(tmp_path, view_px):
    policy = load_policy(str(_save(_MIXED, tmp_path / "mixed.yaml")))

    assert apply_seeded(policy.contrastive(view_px), _tile(), seed=(0,)).shape[:2] == (view_px,) * 2


def test_a_checkpoint_holds_the_whole_pipeline(tmp_path):
    path = _save(_MIXED, tmp_path / "mixed.yaml")
    policy = load_policy(str(path))
    record = json.loads(json.dumps(policy_record(policy)))
    path.unlink()

    assert load_recorded_policy(str(path), record, options={}) == policy


def test_options_of_a_pipeline_are_refused(tmp_path):
    path = _save(_MIXED, tmp_path / "mixed.yaml")

    with pytest.raises(PolicyError, match=r"pipeline '.*mixed.yaml' has no options, got p; change"):
        load_policy(str(path), options={"p": 1})


def _pipeline(*transforms):
    return {"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": transforms}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{\n1", r"bad.json' is not JSON: JSONDecodeError: Expecting property name .* line 2 col"),
        ("[1]", r"must hold what albumentations.save\(compose, path, data_format\) writes"),
        ('{"transform": 3}', "must hold what albumentations.save"),
        ('{"contrastive": 1, "supervised": 2}', "must hold what albumentations.save"),
        (_pipeline({"__class_fullname__": "os.system", "p": 1}), "it names 'os.system', but may"),
        (
            _pipeline({"__class_fullname__": "Lambda", "name": "x", "p": 1}),
            "it names 'Lambda', but",
        ),
        (_pipeline({"__class_fullname__": 3, "p": 1}), "it names 3, but may name transforms of"),
        (_pipeline({"__class_fullname__": "NoSuch", "p": 1}), "it names 'NoSuch', but may name"),
        (
            _pipeline({"__class_fullname__": "tests.augment.test_pipeline._Mine", "p": 1}),
            "it names 'tests.augment.test_pipeline._Mine', but may",
        ),
        (_pipeline({"transforms": []}), "it names None, but may name transforms"),
        (
            _pipeline({"__class_fullname__": "HorizontalFlip", "often": 1, "p": 1}),
            r"albumentations 2.0.8 cannot build it: UserWarning: Argument\(s\) 'often' are not",
        ),
        (_pipeline({"__class_fullname__": "HorizontalFlip", "p": 7}), "cannot build it: "),
        (_pipeline("a"), "cannot build it: "),
        (
            _pipeline({"__class_fullname__": "Normalize", "p": 1}),
            r"contrastive\(40\): an augmentation policy must return a uint8 RGB image",
        ),
        (
            _pipeline({"__class_fullname__": "RandomCrop", "height": 400, "width": 400, "p": 1}),
            r"contrastive\(40\): a view of a noise tile \(48x48x3\) fails: ",
        ),
        ("[" * 2000 + "]" * 2000, "(must hold|is not JSON)"),
        ("0" * 1_000_001, "must have at most 1000000 bytes, got more"),
        (_pipeline({"fill": [0] * 10_001}), "must have at most 10000 values, got more"),
        (
            _pipeline({"__class_fullname__": "Resize", "height": 90_000, "width": 9, "p": 1}),
            "its numbers must be at most 10000, got height=90000",
        ),
        (
            _pipeline({"__class_fullname__": "TextImage", "font_path": "/etc/a", "p": 1}),
            "it must name no file, got font_path='/etc/a'",
        ),
    ],
)
def test_what_is_no_pipeline_is_told(tmp_path, content, told):
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))

    with pytest.raises(PolicyError, match=told):
        load_policy(str(path))


class _Mine(A.ImageOnlyTransform):
    """A stranger's transform, which albumentations then knows by name."""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a: 1\nb: [1, 2\nc: 3\n",
            r"is not YAML: ParserError: expected ',' or '\]', but got ':', line 3\. Write it with",
        ),
        ("a: \x00", "is not YAML: ReaderError: unacceptable character #x0000"),
        ("!!python/object/apply:os.system ['true']", "is not YAML: ConstructorError: could not"),
        ("transform: &a {__class_fullname__: Compose, transforms: [*a]}", "nested at most 32 deep"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
            "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
            "transform: {__class_fullname__: Compose, transforms: [*d,*d,*d,*d,*d,*d,*d,*d,*d]}",
            "at most 10000 values",
        ),
        (
            "transform: {__class_fullname__: Compose, transforms: [], additional_targets: "
            "{a: 2020-01-01}}",
            "must hold text, numbers, lists and names alone: TypeError: Object of type date",
        ),
    ],
)
def test_yaml_that_would_run_code_or_grow_is_refused(tmp_path, text, told):
    path = tmp_path / "bad.yml"
    path.write_text(text)

    with pytest.raises(PolicyError, match=told):
        load_policy(str(path))


def test_a_missing_file_is_told():
    with pytest.raises(
        PolicyError, match=r"pipeline 'missing.yaml' cannot be read: No .* check its path"
    ):
        load_policy("missing.yaml")
