import pytest

from medsimclr.training import crowding
from medsimclr.training.crowding import Crowding, waiting_seconds


@pytest.fixture
def waiting(monkeypatch, tmp_path):
    """Let a second pass, of which the main thread waited for a core as long as is asked."""

    def after_a_second(waited_s, *, n_threads):
        schedstat, clock = tmp_path / "schedstat", [100.0]
        schedstat.write_text("5 7000000000 3\n")
        monkeypatch.setattr(crowding, "_SCHEDSTAT", schedstat)
        monkeypatch.setattr(crowding.time, "monotonic", lambda: clock[0])
        measured = Crowding(n_threads=n_threads)
        assert [measured.after_step() for _ in range(19)] == [None] * 19
        clock[0] = 101.0
        schedstat.write_text(f"5 {7_000_000_000 + int(waited_s * 1e9)} 9\n")
        sentence = measured.after_step()
        assert measured.after_step() is None
        return sentence

    return after_a_second


def test_two_threads_that_wait_are_told_of(waiting):
    sentence = waiting(0.4, n_threads=2)
    assert "waiting for a core 40% of the time, which slows 2 threads" in sentence
    assert "--set threads=1 and another --out" in sentence


def test_nothing_is_said_of_short_waits_or_of_one_thread(waiting):
    assert waiting(0.2, n_threads=2) is None
    assert waiting(0.9, n_threads=1) is None


@pytest.mark.parametrize("text", [None, ""])
def test_a_system_that_does_not_count_says_nothing(monkeypatch, tmp_path, text):
    if text is not None:
        (tmp_path / "schedstat").write_text(text)
    monkeypatch.setattr(crowding, "_SCHEDSTAT", tmp_path / "schedstat")
    assert waiting_seconds() is None
    measured = Crowding(n_threads=2)
    assert [measured.after_step() for _ in range(20)] == [None] * 20
