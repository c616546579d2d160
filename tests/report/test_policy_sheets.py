import pytest

from medsimclr.config.policies import PolicyShowConfig
from medsimclr.errors import PolicyError
from medsimclr.report.policy_sheets import draw_policy_sheets
from tests.tiny_store import write_tiny_store
from tests.tissue_images import shifted_images

_HALVING = '''
from dataclasses import dataclass

import albumentations as A


class Halve(A.ImageOnlyTransform):
    def apply(self, img, **params):
        if len(img) != 64:
            raise ValueError("64 rows are wanted")
        return img[::2, ::2].copy()


@dataclass(frozen=True, kw_only=True)
class Mine:
    """Views that need the resize before them."""

    def contrastive(self, view_px):
        return A.Compose([A.Resize(64, 64), Halve(p=1.0), A.Resize(view_px, view_px)])

    def supervised(self, view_px):
        return A.Compose([A.Resize(view_px, view_px)])
'''


def test_a_policy_that_needs_its_geometry_gets_a_sentence(tmp_path):
    (tmp_path / "mine.py").write_text(_HALVING)
    spec = f"{tmp_path / 'mine.py'}:Mine"
    store = write_tiny_store(tmp_path / "tiny.zarr", n_patients=2, images_of=shifted_images)
    config = PolicyShowConfig(policy=spec, store=store, out=tmp_path / "out", view_px=32)
    with pytest.raises(PolicyError, match="cannot be drawn without its geometry: ValueError: 64 r"):
        draw_policy_sheets(config, note=print)
