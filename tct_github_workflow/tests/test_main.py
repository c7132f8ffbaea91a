"""python -m tct_github_workflow shows a workflow's tokens."""

import subprocess
import sys
from pathlib import Path

import pytest

import tct_github_workflow as tct

from .test_codec import check_round_trip
from .workflows import HAND

REPO = Path(__file__).resolve().parents[2]


def show(*args, **more):
    return subprocess.run(
        [sys.executable, "-m", "tct_github_workflow", *map(str, args)],
        cwd=REPO,
        capture_output=True,
        encoding="utf-8",
        **more,
    )


def test_the_command_shows_every_token(tmp_path):
    (tmp_path / "ci.yml").write_text(HAND, encoding="utf-8")
    text, run = tct.yaml_to_json(HAND), show(tmp_path / "ci.yml")
    lines, ids, n_bytes = run.stdout.splitlines(), check_round_trip(text), len(text.encode())
    assert [int(line[7:12]) for line in lines[1:-1] if line[7:12].strip()] == ids and max(
        map(len, lines)
    ) <= 80, run.stderr
    assert lines[-1].startswith(f"{len(ids)} tokens in ") and lines[-1].endswith(
        f" for {n_bytes} bytes of JSON: {n_bytes / len(ids):.1f} bytes per token"
    )
    assert (
        "‹uses›actions/checkout@v4·end·}" in run.stdout
        and show("-", input=text).stdout == run.stdout
    )


@pytest.mark.parametrize(
    "name, content, why",
    [
        ("a.yml", "on: push\njobs: [", "line "),
        ("a.json", '{"on":1}', "$"),
        ("none.yml", None, "No such file"),
    ],
)
def test_the_command_refuses_what_is_no_workflow_in_one_line(tmp_path, name, content, why):
    if content:
        (tmp_path / name).write_text(content)
    run = show(tmp_path / name)
    assert (
        run.returncode == 1
        and run.stdout == ""
        and run.stderr.count("\n") == 1
        and f"{name}: " in run.stderr
        and why in run.stderr
    )
