"""Write a policy file, as a stranger would."""

from pathlib import Path

_POLICY = '''
import random
from dataclasses import dataclass

import albumentations as A


@dataclass(frozen=True, kw_only=True)
class Mine:
    """Views of anything."""

    names: tuple[str, ...] = ()
    shapes: tuple[tuple[int, int, int, int], ...] = ()

    def contrastive(self, view_px):
        return A.Compose([A.Resize(view_px{wrong}, view_px, interpolation=2)])

    def supervised(self, view_px):
        return A.Compose([A.Resize(view_px, view_px, interpolation=2)])

    @classmethod
    def fit(cls, slides):
        {fit}
'''


def write_policy(folder: Path, *, fit: str, wrong: str = "") -> str:
    """Write a policy whose fit does this, and return how to name it.

    `wrong` is added to the height of its contrastive views.
    """
    path = folder / "mine.py"
    path.write_text(_POLICY.format(fit=fit, wrong=wrong))
    return f"{path}:Mine"
