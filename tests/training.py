"""What several test files need: a prepared folder made up, a tiny run's flags, a quick train.py."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import torch

import tct_github_workflow as tct
from data.masks import MASKS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TRAIN = os.path.join(ROOT, "train.py")
TINY = [
    "--n_layer=2",
    "--n_head=2",
    "--n_embd=16",
    "--block_size=32",
    "--batch_size=4",
    "--gradient_accumulation_steps=4",
    "--max_iters=20",
    "--eval_interval=10",
    "--log_interval=1",
    "--warmup_iters=2",
    "--dropout=0.0",
    "--device=cpu",
    "--compile=False",
]
# the model of all tests that compile: they share what the compiler made, which takes minutes
COMPILED = [
    "--compile=True",
    "--n_layer=1",
    "--n_head=2",
    "--n_embd=64",
    "--block_size=64",
    "--batch_size=16",
    "--gradient_accumulation_steps=1",
    "--dropout=0.1",
]


def write_data(folder, seed=0, documents=120, **changes):
    """A dataset as prepare.py writes it, of random documents with lengths like real ones.

    changes: what its meta.json says otherwise.
    """
    rng = np.random.default_rng(seed)
    meta = {
        "format": 1,
        "vocab_size": tct.vocab_size(),
        "tokenizer_hash": tct.tokenizer_hash(),
        "schema_hash": tct.schema_hash(),
    }
    folder.mkdir()
    for split, n in ("train", documents), ("val", 12):
        lengths = np.clip(rng.lognormal(3.5, 1.2, n), 5, 3000).astype(np.int64)
        ids = (rng.zipf(1.3, lengths.sum()) % 8191).astype(np.uint16)
        ids.tofile(folder / f"{split}.bin")
        np.concatenate([[0], np.cumsum(lengths)]).tofile(folder / f"{split}.idx")
        meta[split] = {"documents": n, "tokens": len(ids), "bytes": 9 * len(ids)}
        if split == "train":
            write_masks(folder, ids)
    (folder / "meta.json").write_text(json.dumps({**meta, **changes}))
    return folder


def write_masks(folder, ids):
    """Masks as prepare.py writes them: everything might have come, or all even ids, or all odd."""
    is_even = np.arange(tct.vocab_size()) % 2 == 0
    masks = np.stack([np.ones_like(is_even), is_even, ~is_even])
    np.packbits(masks, axis=1).tofile(folder / MASKS)
    (1 + ids % 2).astype(np.uint16).tofile(folder / "train.masks")


ZYGOTE = """
import atexit, json, os, resource, runpy, sys
import matplotlib.backends.backend_agg, matplotlib.figure, numpy
import torch.distributed, torch.distributed.nn, torch.nn.parallel, torch.optim, torch._dynamo
import torch.nn.attention.flex_attention, tct_github_workflow

def show_threads():
    names = [open(f'/proc/self/task/{task}/comm').read() for task in os.listdir('/proc/self/task')]
    print('threads of gloo at the end:', sum('gloo' in name for name in names))

for line in sys.stdin:
    request = json.loads(line)
    if isinstance(request, int):
        print(os.waitstatus_to_exitcode(os.waitpid(request, 0)[1]), flush=True)
        continue
    argv, env, output, limit = request
    pid = os.fork()
    if pid == 0:
        for stream in 1, 2:
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
        os.environ.update(env)
        sys.argv = argv
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if 'MASTER_PORT' in env:  # it joins others
            atexit.register(show_threads)
        runpy.run_path(argv[0], run_name='__main__')
        sys.exit()
    print(pid, flush=True)
"""


class Trainer:
    """Runs train.py, or rl.py, in forks of a process that has already imported torch, which takes
    seconds."""

    def __init__(self, folder, threads=1):
        env = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": str(threads)}
        self.output = folder / "output.txt"
        self.process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def ask(self, request):
        """The number that the process answers to one line of JSON."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, *args, command=(TRAIN, *TINY), env=None, limit=0, output=None):
        """The process id of train.py. command: what the arguments are added to; output: a file for
        what it says, other than self.output; limit: the largest file that it may write."""
        if output is None:
            output = self.output
            output.write_text("")
        return self.ask([[*command, *map(str, args)], env or {}, str(output), limit])

    def end(self, pid):
        """(exit code, output) of train.py, when it is done."""
        return self.ask(pid), self.output.read_text()

    def run(self, *args, **options):
        """(exit code, output) of train.py with these arguments."""
        return self.end(self.start(*args, **options))

    def start_together(self, world_size, *args):
        """The process ids of so many train.py that train together, as torchrun starts them. What
        all of them say is in self.output."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1"}
        self.output.write_text("")
        pids = []
        for rank in range(world_size):
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
            pids.append(self.start(*args, env={**common, **ranks}, output=self.output))
        return pids

    def run_together(self, world_size, *args):
        """What so many train.py say that train together and all end well."""
        for pid in self.start_together(world_size, *args):
            code, text = self.end(pid)
            assert code == 0, text
        return text

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def checkpoint(folder, name="ckpt.pt"):
    return torch.load(folder / name, map_location="cpu", weights_only=True)


def numbers(folder):
    """What log.jsonl says, without what depends on the clock."""
    records = []
    with open(folder / "log.jsonl") as f:
        for line in f:
            record = json.loads(line)
            for key in ("ms", "tokens_per_s", "mfu", "seconds"):
                record.pop(key, None)
            records.append(record)
    return records
