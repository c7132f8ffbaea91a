"""Facts about data/parallel.py: how workers are started."""

import os
import signal
import threading
import time

import pytest

from data.parallel import starting_processes


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
