"""Fields of the stain policies: what is refused, and in which words."""

import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.errors import PolicyError


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rand_stain_na", {"strength": 3}, "strength must be between 0 and 2, got 3"),
        ("rand_stain_na", {"spaces": ()}, "spaces must name at least one of lab, hed and hsv"),
        ("rand_stain_na", {"spaces": ["rgb"]}, "spaces"),
        ("stain_mix", {"share_max": -1}, "share_max must be between 0 and 2, got -1"),
        ("stain_mix", {"statistics": ()}, "the stains of at least one slide"),
        (
            "histology",
            {"jpeg_quality_min": 96},
            "must be between 1 and 95, got 96",
        ),
        ("histology", {"focus_p": 1.5}, "focus_p must be between 0 and 1, got 1.5"),
        ("ihc", {"dab_gain_sigma": 2}, "dab_gain_sigma must be between 0 and 1, got 2"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(name, options, message):
    with pytest.raises(PolicyError, match=message):
        load_policy(name, options=options)
