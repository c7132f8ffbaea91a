"""Tests of a run's log: it is complete where it can be written, and never in the way."""

import json
import sys

import pytest

from run.log import RunLog, draw_losses, git_commit, make_folder


def records_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_resumed_log_continues_after_the_checkpoint(tmp_path):
    log = RunLog(is_first=True)
    log.open(tmp_path)
    for i in 1, 2, 3:
        log.record(iter=i, loss=1.0 / i)
        log.say(f"step {i}")
    log = RunLog(is_first=True)
    log.open(tmp_path, last_iter=2)
    log.record(iter=3, loss=0.0)
    assert [(r["iter"], r["loss"]) for r in records_of(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 0.0)]
    assert (tmp_path / "training.log").read_text() == "step 1\nstep 2\nstep 3\n"


@pytest.mark.parametrize(
    "line", [b'{"iter": 2, "lo\n', b"\x00\xff\xfe\n", b"7\n", b"[]\n", b'{"a": 1}\n', b"\n"]
)
def test_a_damaged_line_of_the_log_is_left_out(tmp_path, line, capsys):
    good = b'{"iter": 1, "loss": 2.0}\n'
    (tmp_path / "log.jsonl").write_bytes(good + line + good)
    log = RunLog(is_first=True)
    log.open(tmp_path, last_iter=5)
    assert records_of(tmp_path) == [{"iter": 1, "loss": 2.0}] * 2
    assert "1 damaged" in capsys.readouterr().out


def test_nothing_that_cannot_be_written_raises_and_each_is_said_once(tmp_path, capsys):
    for name in "training.log", "log.jsonl", "loss.png":
        (tmp_path / name).mkdir()
    log = RunLog(is_first=True)
    log.open(tmp_path)
    for i in 1, 2:
        log.say(f"step {i}")
        log.record(iter=i, loss=1.0)
        log.plot()
    said = capsys.readouterr().out
    assert "step 1" in said and "step 2" in said
    for name in "training.log", "log.jsonl", "loss.png":
        assert said.count(f"no {name}") == 1, said
    assert not list(tmp_path.glob("*.tmp"))


def test_a_missing_matplotlib_costs_the_picture_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    log = RunLog(is_first=True)
    log.open(tmp_path)
    log.plot()
    assert "no loss.png" in capsys.readouterr().out


def test_a_name_with_dollar_signs_is_no_formula(tmp_path):
    draw_losses([{"iter": 1, "loss": 1.0}], r"out/$\frac{$").savefig(tmp_path / "loss.png")


class FailingWandb:
    """wandb without a login or a network, from the start or later."""

    def __init__(self, fails_at):
        self.fails_at = fails_at

    def init(self, **_):
        if self.fails_at == "init":
            raise RuntimeError("no login")

    def log(self, *_, **__):
        raise RuntimeError("no network")


@pytest.mark.parametrize("fails_at", ["init", "log"])
def test_wandb_may_fail(tmp_path, fails_at, capsys):
    log = RunLog(is_first=True)
    log.open(tmp_path)
    log.start_wandb(FailingWandb(fails_at), "project", {})
    log.record(iter=1, loss=1.0)
    log.record(iter=2, loss=1.0)
    assert len(records_of(tmp_path)) == 2
    assert capsys.readouterr().out.count("no wandb") == 1


def test_a_run_that_is_in_the_folder_is_moved_aside(tmp_path):
    folder = tmp_path / "run"
    for content in "first", "second":
        make_folder(folder, is_new=True)
        (folder / "ckpt.pt").write_text(content)
    assert make_folder(folder, is_new=True) == f"{folder}.2"
    assert (tmp_path / "run.1" / "ckpt.pt").read_text() == "first"
    assert (tmp_path / "run.2" / "ckpt.pt").read_text() == "second"
    assert make_folder(folder, is_new=False) is None


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None
