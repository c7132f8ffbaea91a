"""The whole pipeline on a dozen workflows, as a user runs it, in minutes: pytest -q test_smoke.py

prepare -> train -> resume -> two processes -> sample -> eval, each a process of its own, and the
examples of the README.
"""

import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tct_github_workflow as tct
from model import GPT, GPTConfig
from tests.training import COMPILED

ROOT = Path(__file__).parent
TINY = [
    *COMPILED,
    "--eval_interval=5",
    "--log_interval=1",
    "--warmup_iters=1",
    "--device=cpu",
]

TEMPLATE = """name: {name}
on:
  push:
    branches: [main]
{more}
jobs:
  {job}:
    runs-on: {runner}
    steps:
      - uses: actions/checkout@v4
      - name: {step}
        run: |
          echo "{name}"
          {command}
"""
WORDS = [
    ("Tests", "test", "ubuntu-latest", "Test", "pytest -q"),
    ("Lint", "lint", "ubuntu-22.04", "Check style", "ruff check ."),
    ("Docs", "docs", "ubuntu-latest", "Build", "make html"),
    ("Release", "publish", "macos-latest", "Upload", "twine upload dist/*"),
    ("Nightly", "nightly", "windows-latest", "All of it", "tox"),
    ("Types", "types", "ubuntu-latest", "Types", "mypy src"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dozen workflows, two of a kind, one as JSON; a file that is no workflow, one no YAML."""
    folder = tmp_path_factory.mktemp("smoke")
    (folder / "in").mkdir()
    for i in range(12):
        name, job, runner, step, command = WORDS[i % 6]
        text = TEMPLATE.format(
            name=f"{name} {i}",
            job=job,
            runner=runner,
            step=step,
            command=command,
            more="  pull_request:" if i < 6 else "",
        )
        path = folder / "in" / f"{job}{i}.yml"
        if i == 11:
            path, text = path.with_suffix(".json"), tct.yaml_to_json(text)
        path.write_text(text, encoding="utf-8")
    (folder / "in" / "broken.yml").write_text("on: push\njobs:\n\t- x\n")
    (folder / "in" / "invalid.yml").write_text(
        "on: push\njobs: {a: {runs-on: x, steps: [{uses: a, run: b}]}}\n"
    )
    return folder


def run(folder, *command, ok=True):
    """A command in that folder, like a user's; returns its output."""
    script = [str(ROOT / c) if str(c).endswith(".py") else str(c) for c in command]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(script, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    output = done.stderr + done.stdout
    assert (done.returncode == 0) == ok, f"{' '.join(script)}\n{output[-3000:]}"
    return output


def log(folder, key):
    return [
        row[key]
        for row in map(json.loads, (folder / "out" / "log.jsonl").read_text().splitlines())
        if key in row
    ]


def test_the_whole_pipeline(folder):
    prepare_and_inspect(folder)
    train_and_resume(folder)
    sample_and_check(folder)
    evaluate(folder)


def prepare_and_inspect(folder):
    before = {p.name: p.read_bytes() for p in (folder / "in").iterdir()}
    run(folder, sys.executable, "prepare.py", "--input=in", "--train_split=0.7")
    meta = json.loads((folder / "data/pypi/meta.json").read_text())
    assert meta["train"]["documents"] + meta["val"]["documents"] == 12
    assert meta["val"]["documents"] > 0
    lines = (folder / "data/pypi/skipped.jsonl").read_text().splitlines()
    skipped = sorted(Path(json.loads(line)["path"]).name for line in lines)
    assert skipped == ["broken.yml", "invalid.yml"]
    assert before == {p.name: p.read_bytes() for p in (folder / "in").iterdir()}
    run(folder, sys.executable, "prepare.py", "--inspect=data/pypi")


def train_and_resume(folder):
    run(folder, sys.executable, "train.py", *TINY, "--max_iters=10")
    losses = log(folder, "loss")
    assert len(losses) == 10 and all(map(math.isfinite, losses))
    assert losses[-1] < losses[0] < 1.2 * math.log(8192)
    assert all(norm > 0 for norm in log(folder, "norm"))
    bits_per_byte = log(folder, "val_bits_per_byte")
    assert bits_per_byte[-1] < bits_per_byte[0]
    first = torch.load(folder / "out/ckpt.pt", weights_only=True)

    resume = ["--max_iters=12", "--init_from=resume", "--compile=False"]
    run(folder, sys.executable, "train.py", *TINY, *resume)
    more = torch.load(folder / "out/ckpt.pt", weights_only=True)
    assert (first["iter_num"], more["iter_num"]) == (10, 12)
    assert len(log(folder, "loss")) == 12
    for key, weights in first["model"].items():
        assert not torch.equal(weights, more["model"][key]), f"{key} stands still"


def sample_and_check(folder):
    sample = [sys.executable, "sample.py", "--device=cpu"]
    output = run(folder, *sample, "--num_samples=3", "--max_new_tokens=150")
    samples = sorted((folder / "out/samples").glob("*.yml"))
    assert [path.name for path in samples] == ["0001.yml", "0002.yml", "0003.yml"], output
    for path in samples:
        text = tct.yaml_to_json(path.read_text(encoding="utf-8"))
        tct.encode(text)
        refused = [problem for problem in tct.check(text) if problem.rule != "reference"]
        assert not refused, "GitHub would not take it"
    run(folder, *sample, "--num_samples=2", "--max_new_tokens=60", "--constrained=False")


def evaluate(folder):
    settings = ["--num_samples=4", "--max_new_tokens=100", "--device=cpu"]
    output = run(folder, sys.executable, "eval.py", *settings)
    assert json.loads(output.strip().splitlines()[-1])
    assert "bits per byte" in (folder / "out/results.md").read_text()
    assert (folder / "out/loss.png").stat().st_size > 1000


def test_two_processes_train_together(folder):
    if not (folder / "data/pypi/meta.json").exists():
        run(folder, sys.executable, "prepare.py", "--input=in", "--train_split=0.7")
    run(
        folder,
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "train.py",
        *TINY,
        "--max_iters=2",
        "--out_dir=out2",
        "--compile=False",
    )
    assert torch.load(folder / "out2/ckpt.pt", weights_only=True)["iter_num"] == 2


@pytest.mark.parametrize("name", ["medium", "large"])
def test_the_big_configs_step_once(folder, name):
    """With one layer: the others are like it."""
    if not (folder / "data/pypi/meta.json").exists():
        run(folder, sys.executable, "prepare.py", "--input=in", "--train_split=0.7")
    flags = [
        f"config/{name}.py",
        "--n_layer=1",
        "--block_size=64",
        "--batch_size=2",
        "--gradient_accumulation_steps=1",
        "--device=cpu",
        f"--out_dir={name}",
        "--dtype=float32",
        "--compile=False",
    ]
    output = run(folder, sys.executable, "train.py", *flags, "--max_iters=1")
    assert "iter 1/1" in output
    for checkpoint in (folder / name).glob("*.pt"):
        checkpoint.unlink()  # hundreds of megabytes each


def test_the_configs_have_the_parameters_that_the_readme_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+)((?: \| [\d,]+){5}) \|", text, re.M)
    assert [name for name, _ in rows] == ["tiny", "small", "medium", "large"]
    for name, cells in rows:
        settings = runpy.run_path(str(ROOT / f"config/{name}.py"))
        n_layer, n_head, n_embd, block_size, n_parameters = re.findall(r"[\d,]+", cells)
        shape = {
            "n_layer": int(n_layer),
            "n_head": int(n_head),
            "n_embd": int(n_embd),
            "block_size": int(block_size),
        }
        assert all(settings.get(key, value) == value for key, value in shape.items())
        with torch.device("meta"):
            model = GPT(GPTConfig(**shape))
        assert f"{sum(p.numel() for p in model.parameters()):,}" == n_parameters


def test_the_examples_of_the_readme_run_and_print_what_they_say():
    blocks = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        blocks += re.findall(r"```python\n(.*?)```\n+(?:```text\n(.*?)```)?", text, re.S)
    assert len(blocks) >= 2
    for code, expected in blocks:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert not expected or done.stdout.strip() == expected.strip()
