"""What several test files need: a prepared folder made up, a tiny run's flags, a quick train.py."""

import json
import os
import subprocess
import sys

import numpy as np
import torch

import tct_github_workflow as tct

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
    (folder / "meta.json").write_text(json.dumps({**meta, **changes}))
    return folder


ZYGOTE = """
import atexit, json, os, resource, runpy, sys
import matplotlib.backends.backend_agg, matplotlib.figure, numpy
import torch.distributed, torch.distributed.nn, torch.nn.parallel, torch.optim, torch._dynamo
import torch.nn.attention.flex_attention, tct_github_workflow

def show_threads():
    names = [open(f'/proc/self/task/{task}/comm').read() for task in os.listdir('/proc/self/task')]
    print('threads of gloo at the end:', sum('gloo' in name for name in names))

for line in sys.stdin:
    argv, env, output, limit = json.loads(line)
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
    if line.endswith(' \\n'):
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Trainer:
    """Runs train.py in forks of a process that has already imported torch, which takes seconds."""

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

    def start(self, *args, env=None, limit=0, output=None, wait=False):
        """The process id of train.py. output: a file for what it says, other than self.output;
        limit: the largest file that it may write; wait: whether end() will be called."""
        self.output.write_text("")
        argv = [TRAIN, *TINY, *map(str, args)]
        line = json.dumps([argv, env or {}, str(output or self.output), limit])
        self.process.stdin.write(line + (" " if wait else "") + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        """(exit code, output) of train.py, when it is done."""
        return int(self.process.stdout.readline()), self.output.read_text()

    def run(self, *args, **options):
        """(exit code, output) of train.py with these arguments."""
        self.start(*args, wait=True, **options)
        return self.end()

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
