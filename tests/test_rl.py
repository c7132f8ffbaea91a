"""Facts about rl.py: python -m pytest tests/test_rl.py"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import tct_github_workflow as tct
from metrics.likelihood import Window, fill_batch
from tests.sampling import TRAIN, encode, make_model, write_run
from tests.training import ROOT

SETTINGS = {  # of train.py, that rl.py goes on with
    "learning_rate": 0.02,
    "embedding_lr": 0.2,
    "unembedding_lr": 0.01,
    "weight_decay": 0.1,
    "beta1": 0.8,
    "beta2": 0.95,
    "grad_clip": 1.0,
}
SHORT = ["--num_samples=32", "--max_new_tokens=40", "--batch_size=2", "--lr_scale=0.3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run whose model knows a little, and its data."""
    folder = write_run(tmp_path_factory.mktemp("trained"))
    path = folder / "ckpt.pt"
    checkpoint = torch.load(path, weights_only=True)
    model = make_model()
    model.load_state_dict(checkpoint["model"])
    idx, targets = fill_documents([encode(workflow) for workflow in TRAIN])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(25):
        model(idx, targets)[1].backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.save({**checkpoint, "model": model.state_dict(), "config": SETTINGS}, path)
    return folder


def fill_documents(documents):
    """idx, targets (B, T) of documents that fit a window."""
    windows = [Window(len(ids), number, 0, 0) for number, ids in enumerate(documents)]
    return fill_batch(windows, documents, tct.vocab_size())


def start(trained, out, *arguments):
    command = [sys.executable, "rl.py", f"--trained={trained}", f"--out_dir={out}", "--device=cpu"]
    return subprocess.Popen(
        [*command, *SHORT, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(trained, out, *arguments):
    """(exit code, stdout, stderr)"""
    process = start(trained, out, *arguments)
    said, complaint = process.communicate()
    return process.returncode, said, complaint


def read_log(folder):
    with open(folder / "log.jsonl") as f:
        return [json.loads(line) for line in f]


def test_what_the_matcher_refuses_becomes_rarer(trained, tmp_path):
    code, said, complaint = run(trained, tmp_path / "out", "--max_iters=60", "--lr_scale=0.5")
    assert code == 0, complaint
    refused = [record["refused_per_token"] for record in read_log(tmp_path / "out")]
    assert sum(refused[-10:]) < 0.7 * sum(refused[:10])
    assert "--constrained=False" in said  # what to do next


def test_a_killed_run_resumes_to_the_same_weights(trained, tmp_path):
    flags = ["--max_iters=30", "--eval_interval=5"]
    code, _, complaint = run(trained, tmp_path / "straight", *flags)
    assert code == 0, complaint
    out = tmp_path / "broken"
    process = start(trained, out, *flags)
    while not (out / "ckpt.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, said, complaint = run(trained, out, *flags, "--init_from=resume")
    assert code == 0 and "iter 30/30" in said, complaint
    ends = [
        torch.load(folder / "ckpt.pt", weights_only=True) for folder in (tmp_path / "straight", out)
    ]
    assert ends[0]["iter_num"] == ends[1]["iter_num"] == 30
    for name, weight in ends[0]["model"].items():
        assert torch.equal(weight, ends[1]["model"][name]), name
    code, said, _ = run(trained, out, *flags, "--init_from=resume")
    assert code == 0 and "nothing to do" in said


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--trained=nowhere"], "there is no nowhere/ckpt.pt"),
        (["--init_from=resume"], "ckpt.pt to resume"),
        (["--temperature=0.0"], "temperature must be above 0"),
        (["--rules=none"], "one of schema, github, references, clean"),
        (["--data_dir=nowhere"], "cannot use the data in nowhere"),
    ],
)
def test_bad_settings_are_one_line(trained, tmp_path, arguments, words):
    code, _, complaint = run(trained, tmp_path / "out", *arguments)
    assert code == 1 and words in complaint and len(complaint.splitlines()) == 1, complaint


def test_the_trained_run_is_never_written_over(trained):
    before = (trained / "ckpt.pt").read_bytes()
    code, _, complaint = run(trained, trained)
    assert code == 1 and "name another folder" in complaint
    assert (trained / "ckpt.pt").read_bytes() == before
