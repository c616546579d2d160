import json
import re

import albumentations as A
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import policy_record
from medsimclr.augment.recorded import load_recorded_policy
from medsimclr.errors import PolicyError

_POLICY = """
from dataclasses import dataclass
import albumentations as A

@dataclass(frozen=True, kw_only=True)
class Mine:
    p: float = 0.5

    def contrastive(self, view_px):
        return A.Compose([A.Resize(view_px, view_px), A.HorizontalFlip(p=self.p)])

    supervised = contrastive
"""


@pytest.fixture
def policy_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(_POLICY)
    return path


def _recorded(spec):
    return json.loads(json.dumps(policy_record(load_policy(spec, options={"p": 0.25}))))


def test_a_policy_comes_back_with_its_fields_and_takes_new_ones(policy_file):
    spec = f"{policy_file}:Mine"
    record = _recorded(spec)

    assert load_recorded_policy(spec, record, options={}).p == 0.25
    assert load_recorded_policy(spec, record, options={"p": 0.75}).p == 0.75


def test_a_policy_whose_file_is_gone_is_told_with_what_to_do(policy_file):
    spec = f"{policy_file}:Mine"
    record = _recorded(spec)
    policy_file.unlink()

    with pytest.raises(
        PolicyError,
        match=re.escape(f"augmentation policy {spec!r} of the run before cannot be loaded: ")
        + r".* cannot be read: No such file or directory; check its path\. Put its file back, "
        r"or give --policy \(evaluate and heatmap do without\).",
    ):
        load_recorded_policy(spec, record, options={})


def test_a_policy_file_of_another_text_is_told_and_not_run(policy_file, tmp_path):
    spec = f"{policy_file}:Mine"
    record = _recorded(spec)
    policy_file.write_text(f"open({str(tmp_path / 'was run')!r}, 'w')\n" + _POLICY)

    with pytest.raises(
        PolicyError,
        match=r"must have the text of 'policy_file_mine_\w+', got 'policy_file_mine_\w+', of other "
        r"code; it was not run. Put its file back, or give --policy",
    ):
        load_recorded_policy(spec, record, options={})
    assert not (tmp_path / "was run").exists()


def test_another_class_of_the_same_text_is_told(policy_file):
    policy_file.write_text(_POLICY + "class Other(Mine): pass\n")
    record = _recorded(f"{policy_file}:Mine")

    with pytest.raises(PolicyError, match=r"it must be 'policy_file_mine_\w+:Mine', got .*:Other'"):
        load_recorded_policy(f"{policy_file}:Other", record, options={})


def test_a_policy_of_a_package_that_is_missing_is_told_with_the_package():
    record = {
        "class": "far_lab.policies:Stain",
        "fields": {},
        "distribution": "far-lab",
        "version": "1.2",
    }

    with pytest.raises(PolicyError, match=r"unknown .*'far_stain'.* Install far-lab 1.2, or give"):
        load_recorded_policy("far_stain", record, options={})


def _of_a_pipeline(path, **changes):
    """Return the record of a flip, some of its fields replaced."""
    A.save(A.Compose([A.HorizontalFlip()]), path)
    record = json.loads(json.dumps(policy_record(load_policy(str(path)))))
    return {**record, "fields": {**record["fields"], **changes}}


def test_options_of_a_recorded_pipeline_are_refused_as_such(tmp_path):
    path = tmp_path / "flip.json"

    with pytest.raises(
        PolicyError,
        match=re.escape(f"augmentation policy {str(path)!r} of the run before is a saved pipeline ")
        + r"and has no options, got p; leave policy_options out, or give --policy",
    ):
        load_recorded_policy(str(path), _of_a_pipeline(path), options={"p": 1.0})


def _pipeline_json(**transform):
    compose = {"__class_fullname__": "Compose", "p": 1.0, "transforms": [{"p": 1.0, **transform}]}
    return json.dumps(compose)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"contrastive_json": _pipeline_json(__class_fullname__="os.system")}, "names 'os.system'"),
        ({"supervised_json": _pipeline_json(__class_fullname__="Lambda")}, "names 'Lambda', but"),
        (
            {
                "contrastive_json": _pipeline_json(
                    __class_fullname__="TextImage", font_path="/etc/a"
                )
            },
            "must name no file, got font_path='/etc/a'",
        ),
        (
            {
                "contrastive_json": _pipeline_json(
                    __class_fullname__="Resize", height=90000, width=9
                )
            },
            "numbers must be at most 10000, got height=90000",
        ),
        (
            {"supervised_json": _pipeline_json(__class_fullname__="Normalize")},
            "must return a uint8 RGB image",
        ),
        ({"contrastive_json": "[" * 100_000}, "two pipelines as JSON, .* got RecursionError"),
        ({"contrastive_json": "{"}, "two pipelines as JSON, .* got JSONDecodeError"),
        ({"supervised_json": None}, "two pipelines as JSON, .* got TypeError"),
        ({"supervised_json": json.dumps({"fill": [0] * 10_001})}, "must hold what albumentations"),
    ],
)
def test_a_recorded_pipeline_is_held_to_what_a_file_is(tmp_path, changes, told):
    path = tmp_path / "flip.json"
    record = _of_a_pipeline(path, **changes)

    with pytest.raises(PolicyError, match=rf"of the run before.*{told}"):
        load_recorded_policy(str(path), record, options={})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"class": 3}, "got class: Input should be a valid string"),
        ({"fields": ["p"]}, "got fields: Input should be a valid dictionary"),
        ({"fields": {"p": "often"}}, "option 'p' of augmentation policy .*mine.py:Mine"),
        ({"fields": {"q": 1}}, "unknown option 'q'"),
        ({"class": "os:system"}, "must have the text of 'os', got 'policy_file_mine_"),
    ],
)
def test_a_record_that_is_none_is_refused_in_a_sentence(policy_file, changes, told):
    spec = f"{policy_file}:Mine"
    record = _recorded(spec)

    with pytest.raises(PolicyError, match=told):
        load_recorded_policy(spec, {**record, **changes}, options={})
    with pytest.raises(PolicyError, match="got class: Field required; restore that file, or give"):
        load_recorded_policy(spec, {}, options={})
