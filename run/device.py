"""The device that train.py, sample.py and eval.py run on, and the precision that it is good at."""

import platform
import re
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Device:
    name: str  # as torch takes it, a GPU with its number: "cpu", "cuda:0", "mps"
    description: str  # what it is, for people: "NVIDIA A100-SXM4-80GB", "x86_64 cpu, 2 threads"
    has_fast_bf16: bool  # whether matrix products are quicker in bfloat16 than in float32
    why: str  # what has_fast_bf16 follows from

    @property
    def type(self):
        """What autocast takes: "cpu", "cuda", "mps"."""
        return self.name.partition(":")[0]

    @property
    def backend(self):
        """The torch.distributed backend of processes on such devices."""
        return "nccl" if self.type == "cuda" else "gloo"

    @property
    def device_ids(self):
        """DistributedDataParallel's argument: a process's one GPU by its number, None on a CPU."""
        return [torch.device(self.name).index] if self.type == "cuda" else None

    def choose_dtype(self, dtype="auto"):
        """(dtype, why) of the matrix products: "float32" or "bfloat16"; "auto" leaves it to us."""
        if dtype != "auto":
            return dtype, "as set"
        return ("bfloat16" if self.has_fast_bf16 else "float32"), self.why


def choose_device(name="auto", local_rank=0, world_size=1):
    """The Device that a setting means to one process, made the current one where it is a GPU.

    name: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda", "cuda:1" or "mps".
    local_rank, world_size: which of this machine's processes asks, and how many train together
    (torchrun's LOCAL_RANK and WORLD_SIZE); each has a GPU of its own. Raises ValueError, in one
    line, for a device that is not there.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError(f"no device is called '{name}'. Give auto, cpu, cuda, cuda:1 or mps.")
    if name == "auto":
        name = best_device(world_size)
    if name == "cpu":
        return Device("cpu", describe_cpu(), *cpu_bf16())
    if name == "mps":
        return choose_apple_gpu(world_size)
    return choose_gpu(name, local_rank, world_size)


def best_device(world_size):
    """What "auto" means here: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available() and world_size == 1:
        return "mps"
    return "cpu"


def choose_gpu(name, local_rank, world_size):
    """choose_device() for "cuda", which means the GPU number local_rank, and for "cuda:1"."""
    if not torch.cuda.is_available():
        raise ValueError("torch finds no GPU here. Give cpu, or install torch with CUDA.")
    if name != "cuda" and world_size > 1:
        raise ValueError("processes cannot share a GPU. Give cuda, and each takes its own.")
    if name == "cuda":
        name = f"cuda:{local_rank}"
    try:
        torch.cuda.set_device(name)
    except RuntimeError as e:
        reason = str(e).partition("\n")[0]
        raise ValueError(
            f"cannot use {name} ({reason}); this machine has {torch.cuda.device_count()} GPUs. "
            "Give one of them, counted from 0, or start fewer processes (--nproc_per_node)."
        ) from e
    major, minor = torch.cuda.get_device_capability()
    return Device(
        name,
        torch.cuda.get_device_name(),
        has_fast_bf16=major >= 8,  # since Ampere
        why=f"compute capability {major}.{minor}",
    )


def choose_apple_gpu(world_size):
    if not torch.backends.mps.is_available():
        raise ValueError("torch finds no Apple GPU here. Give auto or cpu.")
    if world_size > 1:
        raise ValueError("an Apple GPU serves one process. Start it with python, not torchrun.")
    # it has bfloat16, but gains nothing by it
    return Device("mps", f"{platform.machine()} mps", has_fast_bf16=False, why="an Apple GPU")


def describe_cpu():
    return f"{platform.machine()} cpu, {torch.get_num_threads()} threads"


def cpu_bf16():
    """(fast, why): a CPU without these instructions emulates bfloat16, fifty times slower."""
    instructions = []
    for name in ("avx512_bf16", "amx_tile"):
        is_supported = getattr(torch.cpu, f"_is_{name}_supported", None)
        if is_supported and is_supported():
            instructions.append(name)
    if instructions:
        return True, f"the CPU has {' and '.join(instructions)}"
    return False, "the CPU has no avx512_bf16 or AMX"
