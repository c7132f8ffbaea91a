"""Facts about data/parallel.py: how workers are started."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from data.parallel import end_workers, in_parallel, starting_processes


def test_workers_stay_until_they_are_ended_and_others_may_follow():
    """What they take is counted when they have ended: prepare.py says it."""
    items = [bytes(i % 7) for i in range(600)]
    for _ in range(2):
        assert list(in_parallel(len, items, 2, len)) == [i % 7 for i in range(600)]
        assert multiprocessing.active_children()
        end_workers(2)
        assert not multiprocessing.active_children()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_waits_while_a_worker_is_started(name):
    """A handler that ran then, because another thread was sent the signal, waited for ever for a
    worker that it did not know of."""
    number = getattr(signal, name)
    came = []
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    before = signal.signal(number, lambda number, _: came.append(number))
    try:
        with starting_processes():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            assert not came
        assert came == [number]
    finally:
        signal.signal(number, before)
        end.set()
        other.join()
