"""The processes that train together, as torchrun starts them: one, where python does."""

import os
import signal
from datetime import timedelta

import torch.distributed as dist
import torch.distributed.nn  # noqa: F401  imported after join(), its functions would keep the group

LONG = timedelta(days=30)


class Processes:
    def __init__(self):
        self.rank = int(os.environ.get("RANK", 0))  # torchrun sets these
        self.local_rank = int(os.environ.get("LOCAL_RANK", 0))  # on this machine
        self.world_size = int(os.environ.get("WORLD_SIZE", 1))
        self.local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))
        self.is_first = self.rank == 0  # the one that writes: logs, pictures, checkpoints
        self._patient_group = None

    def join(self, backend, seconds):
        """Connect; a process that then waits longer than this for the others gives up."""
        if self.world_size > 1:
            dist.init_process_group(backend, timeout=timedelta(seconds=seconds))

    def wait_for_all(self):
        """Return when all are here, however long one of them takes, as for a slow disk."""
        if self.world_size == 1:
            return
        if self._patient_group is None:
            self._patient_group = dist.new_group(backend="gloo", timeout=LONG)
        dist.barrier(group=self._patient_group)

    def add_up(self, tensor, device):
        """The sum of all processes' tensors. device: the one that they share."""
        if self.world_size > 1:
            tensor = tensor.to(device)
            dist.all_reduce(tensor)
        return tensor

    def leave(self):
        """End the group, and its threads, while Python still works: a thread of gloo that holds a
        tensor when the interpreter ends aborts the process, with SIGABRT
        (https://github.com/pytorch/pytorch/pull/179291). They live as long as anything holds the
        group, as DistributedDataParallel does: drop it first."""
        if self.world_size > 1:
            self.wait_for_all()
            self._patient_group = None
            dist.destroy_process_group()


def is_loss_of_others(error):
    """Whether an error means that another process is gone, or too late."""
    return any(words in str(error) for words in ("by peer", "Timed out waiting"))


def listen_for_signals():
    """A list that grows by the name of each signal that asks this process to end, as it comes."""
    received = []

    def receive(number, frame):
        received.append(signal.Signals(number).name)

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # what is ignored from the start stays so: nohup python train.py
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, receive)
    return received
