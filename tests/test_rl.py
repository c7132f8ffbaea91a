"""Facts about rl.py: python -m pytest tests/test_rl.py"""

import json
import os
import signal
import time

import pytest
import torch

import tct_github_workflow as tct
from metrics.likelihood import fill_batch, make_batches
from tests.sampling import TRAIN, encode, make_model, write_run
from tests.training import ROOT, checkpoint

SETTINGS = {  # of train.py, that rl.py goes on with
    "unembedding_lr": 0.01,
    "beta1": 0.8,
    "beta2": 0.95,
    "grad_clip": 1.0,
}
SHORT = ["--num_samples=32", "--max_new_tokens=40", "--batch_size=2", "--lr_scale=1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run whose model knows a little, and its data."""
    folder = write_run(tmp_path_factory.mktemp("trained"))
    path = folder / "ckpt.pt"
    checkpoint = torch.load(path, weights_only=True)
    model = make_model()
    model.load_state_dict(checkpoint["model"])
    documents = [encode(workflow) for workflow in TRAIN]
    lengths = [len(ids) for ids in documents]
    (windows,) = make_batches(lengths, model.config.block_size, batch_tokens=4096)
    idx, targets = fill_batch(windows, documents, tct.vocab_size())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(25):
        model(idx, targets)[1].backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.save({**checkpoint, "model": model.state_dict(), "config": SETTINGS}, path)
    return folder


@pytest.fixture
def start(trainer, trained):
    """Starts rl.py, which writes to a folder: its process id."""
    command = [os.path.join(ROOT, "rl.py"), f"--trained={trained}", "--device=cpu", *SHORT]

    def call(out, *arguments):
        return trainer.start(f"--out_dir={out}", *arguments, command=command)

    return call


@pytest.fixture
def run(trainer, start):
    """Runs it: (exit code, what it said)."""
    return lambda out, *arguments: trainer.end(start(out, *arguments))


def read_log(folder):
    with open(folder / "log.jsonl") as f:
        return [json.loads(line) for line in f]


def test_what_the_matcher_refuses_becomes_rarer(run, tmp_path):
    code, said = run(tmp_path, "--max_iters=120")
    assert code == 0, said
    assert "--constrained=False" in said  # what to do next
    steps = [record for record in read_log(tmp_path) if "change" in record]
    refused = [step["refused_per_token"] for step in steps]
    assert sum(refused[-10:]) < 0.7 * sum(refused[:10])


def test_a_killed_run_resumes_to_the_same_weights(start, run, trainer, tmp_path):
    flags = ["--max_iters=20", "--eval_interval=5"]
    code, said = run(tmp_path / "straight", *flags)
    assert code == 0, said
    out = tmp_path / "broken"
    pid = start(out, *flags)
    while not (out / "ckpt.pt").exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    trainer.end(pid)
    code, said = run(out, *flags, "--init_from=resume")
    assert code == 0 and "iter 20/20" in said, said
    straight = checkpoint(tmp_path / "straight")
    broken = checkpoint(out)
    assert straight["iter_num"] == broken["iter_num"] == 20
    for name, weight in straight["model"].items():
        assert torch.equal(weight, broken["model"][name]), name
    code, said = run(out, *flags, "--init_from=resume")
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
def test_bad_settings_are_one_line(run, tmp_path, arguments, words):
    code, said = run(tmp_path, *arguments)
    assert code == 1 and words in said and "Traceback" not in said, said
    assert not (tmp_path / "ckpt.pt").exists()


def test_other_optimizers_are_refused_in_one_line(run, tmp_path):
    code, said = run(tmp_path, "--max_iters=1")
    assert code == 0, said
    path = tmp_path / "ckpt.pt"
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "optimizers": saved["optimizers"] * 2}, path)
    before = path.read_bytes()
    code, said = run(tmp_path, "--max_iters=2", "--init_from=resume")
    assert code == 1 and f"{path} has other optimizers" in said and "Traceback" not in said, said
    assert path.read_bytes() == before


def test_the_trained_run_is_never_written_over(run, trained):
    before = (trained / "ckpt.pt").read_bytes()
    code, said = run(trained)
    assert code == 1 and "name another folder" in said
    assert (trained / "ckpt.pt").read_bytes() == before
