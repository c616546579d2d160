import multiprocessing
import time

from process_tree import PeakMemory, tree_cpu_seconds

BURNT_SECONDS = 0.2


def _burn() -> None:
    start = time.process_time()
    while time.process_time() - start < BURNT_SECONDS:
        pass


def _hold(n_bytes: int) -> None:
    held = bytearray(b"x") * n_bytes
    time.sleep(0.2)
    del held


def _run(target, *arguments):
    child = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
    child.start()
    child.join()


def test_a_reaped_child_of_a_fork_server_is_counted():
    _run(time.sleep, 0)  # the server's own start is not counted
    start = tree_cpu_seconds()
    _run(_burn)
    assert tree_cpu_seconds() - start > BURNT_SECONDS - 0.05


def test_the_peak_of_a_child_of_a_fork_server_is_seen():
    with PeakMemory() as memory:
        _run(_hold, 200_000_000)
    assert 200 < memory.peak_mb < 1000
