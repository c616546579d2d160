import pytest

from medsimclr.errors import ConfigError
from medsimclr.optim.schedule import scaled_lr, total_steps, warmup_cosine, warmup_steps

_N_IMAGENET = 1_281_167


def test_pretraining_of_the_paper_has_golden_numbers_of_steps():
    assert warmup_steps(_N_IMAGENET, 4096, 40) == 12_511
    assert total_steps(_N_IMAGENET, 4096, 800) == 250_228


@pytest.mark.parametrize(
    ("step", "golden"), [(0, 0.0), (6255, 3.199744), (12511, 6.4), (125114, 3.464245), (250228, 0)]
)
def test_rate_of_pretraining_equals_golden_values(step, golden):
    peak_lr = scaled_lr(0.1, 4096, scaling="sqrt")
    rate = warmup_cosine(step, peak_lr=peak_lr, warmup_steps=12_511, total_steps=250_228)
    assert rate == pytest.approx(golden, abs=5e-7)


def test_linear_scaling_counts_in_units_of_256():
    assert scaled_lr(0.3, 512, scaling="linear") == pytest.approx(0.6)


def test_unknown_scaling_is_refused_with_the_known_names():
    with pytest.raises(ConfigError, match="must be linear or sqrt, got 'cubic'"):
        scaled_lr(0.3, 512, scaling="cubic")


def test_fractional_warmup_epochs_round_down_to_whole_steps():
    assert warmup_steps(108, 8, 0.5) == 6


def test_rate_without_warmup_starts_at_the_peak():
    assert warmup_cosine(0, peak_lr=0.4, warmup_steps=0, total_steps=10) == pytest.approx(0.4)


def test_rate_rises_to_the_peak_and_falls_to_zero():
    rates = [warmup_cosine(s, peak_lr=1.0, warmup_steps=5, total_steps=20) for s in range(25)]
    assert rates[:6] == sorted(rates[:6])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert max(rates) == rates[5] == pytest.approx(1.0)
    assert rates[20:] == [0.0] * 5


def test_run_shorter_than_its_warmup_never_divides_by_zero():
    rates = [warmup_cosine(s, peak_lr=1.0, warmup_steps=4, total_steps=4) for s in range(5)]
    assert rates == [0.0, 0.25, 0.5, 0.75, 0.0]
