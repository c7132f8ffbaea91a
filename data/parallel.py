"""A function over many items, on all cores, with its results in order."""

import collections
import contextlib
import functools
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
END_SIGNALS = [*TERMINAL_SIGNALS, signal.SIGTERM]


def available_cores():
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_parallel(work, items, num_workers, size_of):
    """Yields work(item) for each item, in order; only some hundred items are in memory.

    The rest is as chunks() and chunks_in_parallel() say.
    """
    work_on_chunk = functools.partial(work_on_all, work)
    for results in chunks_in_parallel(work_on_chunk, chunks(items, size_of), num_workers):
        yield from results


def work_on_all(work, items):
    return [work(item) for item in items]


def chunks_in_parallel(work, some_chunks, num_workers):
    """Yields work(chunk) for each chunk, in order.

    work: a function at the top level of a module. num_workers: processes that share the work; a
    single chunk is done without any. Raises BrokenProcessPool if a worker process is killed.
    """
    some_chunks = iter(some_chunks)
    first = list(itertools.islice(some_chunks, 2))
    if len(first) < 2:  # not worth starting processes
        yield from map(work, first)
        return
    pool = worker_pool(num_workers)
    ahead = collections.deque()
    for chunk in itertools.chain(first, some_chunks):
        with starting_processes():  # this may start one
            ahead.append(pool.submit(work, chunk))
        if len(ahead) > 3 * num_workers:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


@functools.cache
def worker_pool(num_workers):
    """Processes that stay until end_workers(), as each takes a third of a second to start."""
    with starting_processes():
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(num_workers, context, end_with_parent)


def end_workers(num_workers):
    """Ends the processes, if there are any: os.times() counts what they took only after that."""
    if multiprocessing.active_children():
        worker_pool(num_workers).shutdown()
        worker_pool.cache_clear()


def kill_workers(num_workers):
    """Ends the processes at once, if there are any, before this process ends."""
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    if workers:
        # A thread may be writing to them, for ever now; the end of Python would wait for it.
        worker_pool(num_workers)._call_queue.cancel_join_thread()


def chunks(items, size_of):
    """Yields lists of CHUNK_ITEMS items, or of about CHUNK_BYTES; the last may be empty.

    size_of(item): about its bytes.
    """
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
def starting_processes():
    """Processes that are started within inherit that TERMINAL_SIGNALS are blocked.

    END_SIGNALS that come meanwhile wait: their handlers could not end a process half started.
    """
    came = []
    handlers = {}
    for number in END_SIGNALS:
        # blocking them is not enough: another thread may receive them, and wake the handler here
        handlers[number] = signal.signal(number, lambda number, _: came.append(number))
    try:
        with terminal_blocked():
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


@contextlib.contextmanager
def terminal_blocked():
    """TERMINAL_SIGNALS do not reach this thread."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
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
