import re
from pathlib import Path

import numpy as np

import augment_policies
from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import apply_seeded


def test_the_policy_in_the_readme_loads_from_a_file_and_draws_views(tmp_path):
    readme = Path(augment_policies.__file__).parent / "README.md"
    (source,) = re.findall(r"```python\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    path = tmp_path / "immunostain.py"
    path.write_text(source)
    tile_HW3 = np.full((64, 64, 3), (170, 60, 140), dtype=np.uint8)

    policy = load_policy(f"{path}:Immunostain", options={"gain_sigma": 0.2})

    for compose in (policy.contrastive(32), policy.supervised(32)):
        assert apply_seeded(compose, tile_HW3, seed=(0, 0, 0, 0)).shape == (32, 32, 3)
