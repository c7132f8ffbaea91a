"""A function over many items, on all cores, with its results in order."""

import collections
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor

CHUNK_ITEMS = 256
CHUNK_BYTES = 1 << 20
# What a terminal sends to all its processes: the parent alone decides what becomes of the workers.
TERMINAL_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]


def available_cores():
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_parallel(work, items, num_workers, size_of):
    """Yields work(item) for each item, in order; only some hundred items are in memory.

    work: a function at the top level of a module. size_of(item): about its bytes.
    num_workers: processes that share the work; few items are done without any.
    Raises BrokenProcessPool if a worker process is killed.
    """
    jobs = chunks(items, size_of)
    first = next(jobs)
    second = next(jobs, None)
    if second is None:  # not worth starting processes
        yield from map(work, first)
        return
    with shielded_from_terminal():
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(num_workers, context, end_with_parent)
    with pool:
        ahead = collections.deque()
        for job in itertools.chain((first, second), jobs):
            with shielded_from_terminal():  # this may start a worker
                ahead.append(pool.submit(work_on_all, work, job))
            if len(ahead) > 3 * num_workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()


def work_on_all(work, items):
    return [work(item) for item in items]


def chunks(items, size_of):
    """Yields lists of CHUNK_ITEMS items, or of about CHUNK_BYTES; the last may be empty."""
    chunk = []
    size = 0
    for item in items:
        chunk.append(item)
        size += size_of(item)
        if len(chunk) == CHUNK_ITEMS or size > CHUNK_BYTES:
            yield chunk
            chunk = []
            size = 0
    yield chunk


@contextlib.contextmanager
def shielded_from_terminal():
    """Processes that are started within inherit that TERMINAL_SIGNALS are blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent():
    """A worker's own guard: it would outlive a parent that was killed."""
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
