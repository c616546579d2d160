import json
import re

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
        + r".* cannot be read: No such file or directory. Put its file back, or give --policy "
        r"\(evaluate and heatmap do without\).",
    ):
        load_recorded_policy(spec, record, options={})


def test_a_policy_whose_file_has_changed_is_told(policy_file):
    spec = f"{policy_file}:Mine"
    record = _recorded(spec)
    policy_file.write_text(_POLICY + "# changed\n")

    with pytest.raises(
        PolicyError, match=r"must be 'policy_file_mine_\w+:Mine', got .* other code"
    ):
        load_recorded_policy(spec, record, options={})


def test_a_policy_of_a_package_that_is_missing_is_told_with_the_package():
    record = {
        "class": "far_lab.policies:Stain",
        "fields": {},
        "distribution": "far-lab",
        "version": "1.2",
    }

    with pytest.raises(PolicyError, match=r"unknown .*'far_stain'.* Install far-lab 1.2, or give"):
        load_recorded_policy("far_stain", record, options={})
