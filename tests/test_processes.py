"""Tests of the signals that a process listens to."""

import os
import signal

import pytest

from run.processes import listen_for_signals

NAMES = ("SIGTERM", "SIGINT", "SIGHUP")


@pytest.fixture
def handlers():
    before = {name: signal.getsignal(getattr(signal, name)) for name in NAMES}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


def test_signals_are_noted_in_order(handlers):
    received = listen_for_signals()
    for name in NAMES:
        os.kill(os.getpid(), getattr(signal, name))
    assert received == list(NAMES)


def test_what_nohup_ignores_stays_ignored(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    received = listen_for_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    assert received == ["SIGTERM"]
