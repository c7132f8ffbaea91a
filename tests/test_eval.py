"""Tests of eval.py, as it is called: what it prints, what it writes, what it refuses."""

import errno
import json
import os
import subprocess
import sys

import pytest

import tct_github_workflow as tct
from tct_github_workflow.json_text import dump_json
from tct_github_workflow.linear import linearise
from tct_github_workflow.vocab import encode_symbols
from tests.sampling import DEFECTS, TRAIN, VAL, encode, workflow
from tests.training import ROOT


@pytest.fixture
def evaluate(run, script):
    """Runs eval.py in the run's folder: its results."""

    def call(*flags):
        code, out, err = script("eval.py", f"--out_dir={run}", f"--data_dir={run}", *flags)
        assert code == 0, err
        return json.loads(out.splitlines()[-1])

    return call


def test_planted_defects_copies_and_duplicates_come_out_as_planted(run, evaluate, tmp_path):
    for name, (data, _) in DEFECTS.items():
        (tmp_path / name).write_bytes(data)
    results = evaluate(f"--samples={tmp_path}")
    figures = results["samples"]
    assert figures["n"] == len(DEFECTS)
    assert figures["rungs"] == [19, 16, 11, 8, 6]
    assert sum(n for n, _ in figures["reasons"].values()) == len(DEFECTS) - 6
    assert figures["finish"] == {"given": len(DEFECTS)}
    assert results["real"]["rungs"] == [4, 4, 4, 4, 3]
    copies = results["copies"]["samples"]
    # p, and q and r, which are one, are copies; s and t are one
    assert (copies["n"], copies["exact"], copies["distinct"]) == (11, 3, 9)
    for name, (data, _) in DEFECTS.items():
        assert (tmp_path / name).read_bytes() == data
    assert (run / "judged.png").stat().st_size > 10_000
    page = (run / "judged.md").read_text()
    for row in (
        "fits the schema | 55.0%",  # 11 of 20
        "fit the schema | 55.0%",
        "and keep GitHub's rules | 40.0%",  # 8 of 20
        "and have names that resolve | 30.0%",  # 6 of 20
        "copies of a training workflow | 27.3%",  # 3 of 11
    ):
        assert f"| {row} [" in page
    assert "the nearest of 4 of their own" in page  # as there are but 4 real ones
    # the pair is apart, as its second half is somebody's
    nearest = (run / "judged_nearest.md").read_text()
    assert sum(tct.json_to_yaml(dump_json(w)) in nearest for w in TRAIN) == 1
    assert "```yaml" not in page
    assert "make test" not in page + json.dumps(results)


SMALL = ("--num_samples=2", "--max_new_tokens=40", "--num_cuts=2", "--max_cut_tokens=40")
SECTIONS = ("Likelihood", "Validity", "Not copied", "Looks", "Useful", "To repeat")


def test_evaluating_a_run_writes_a_page_and_comparing_runs_reads_it(run, evaluate, script):
    results = evaluate(*SMALL)
    assert results == json.loads((run / "results.json").read_text())
    assert results["samples"]["rungs"][:4] == [2] * 4
    assert results["likelihood"]["documents"] == len(VAL)
    assert results["likelihood"]["bytes"] == sum(len(dump_json(w).encode()) for w in VAL)
    assert results["completion"]["cuts"] == 2
    page = (run / "results.md").read_text()
    for section in SECTIONS:
        assert f"## {section}" in page
    assert page.index("| bits per byte") < page.index("## Likelihood")
    assert "--num_cuts=2" in page

    # measured on other workflows, and in part
    other = {**results, "facts": {**results["facts"], "val_sha256": ["0"]}}
    del other["completion"]
    (run / "other").mkdir()
    (run / "other" / "results.json").write_text(json.dumps(other))
    code, out, err = script("eval.py", f"--compare={run},{run}/other")
    assert code == 0, err
    compared = (run / "compared.md").read_text()
    assert compared.split("\n\n", 1)[1] in out
    assert "Not the same validation workflows" in compared
    bits = f"{results['likelihood']['bits_per_byte']:.3f}"
    assert f"| bits per byte of minified JSON | {bits} | {bits} |" in compared
    assert "| rest of the job exactly right | 0.0% [0.0, 65.8] | - |" in compared


def test_the_figures_follow_from_the_run_whatever_the_batch_size(evaluate):
    each = []
    for batch_size in (1, 100):
        results = evaluate(*SMALL, f"--batch_size={batch_size}")
        del results["settings"], results["facts"]
        each.append(results)
    assert each[0] == each[1]


def test_what_an_author_began_is_completed_though_its_names_do_not_resolve(evaluate):
    results = evaluate("--num_samples=1", "--num_cuts=50", *SMALL[1::2])
    assert results["completion"]["cuts"] == 4


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--compare=nowhere", "Run python eval.py"),
        ("--num_samples=0", "at least 1"),
        ("--rules=none", "one of schema, github"),
        ("--seed=-1", "seed must be at least 0"),
        ("--device=nonsense", "--device=nonsense"),
        ("--data_dir=nowhere", "Run python prepare.py"),
        ("--out_dir=nowhere", "Train a model"),
        ("--samples=nowhere", "No such file"),
        ("--samples=empty", "no workflow"),
        ("--samples=bad.jsonl", "bad.jsonl: line 2 "),
    ],
)
def test_a_users_mistake_ends_eval_in_one_line(run, script, tmp_path, monkeypatch, flag, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text('{"tokens": [1, 2]}\n{"tok\n')
    monkeypatch.chdir(tmp_path)
    code, _, err = script("eval.py", f"--out_dir={run}", f"--data_dir={run}", flag)
    assert code == 1
    assert says in err
    assert err.count("\n") == 1


@pytest.fixture
def judge_flags(run, tmp_path):
    """What judges a workflow in a folder of its own, the data being the run's."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text(dump_json(workflow(9)))
    return [f"--samples={tmp_path}/in", f"--data_dir={run}"]


def test_an_out_dir_that_is_a_file_is_told_before_the_work(script, judge_flags, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, _, err = script("eval.py", *judge_flags, f"--out_dir={tmp_path}/file")
    assert code == 1
    assert "file cannot be made: File exists" in err
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_what_a_full_disk_does_not_take_is_printed(script, judge_flags, tmp_path, monkeypatch):
    flags = [*judge_flags, f"--out_dir={tmp_path}/out/"]
    assert script("eval.py", *flags)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def fill_the_disk(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fill_the_disk)
    code, out, err = script("eval.py", *flags)
    assert code == 1
    assert json.loads(out.splitlines()[-1])["samples"]["n"] == 1
    assert "has the details" not in out
    assert "cannot be written: No space left" in err.splitlines()[-1]
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_a_picture_that_fails_ends_nothing(script, judge_flags, tmp_path, monkeypatch):
    def fail(file, *features):
        raise ValueError("no font")

    monkeypatch.setattr("metrics.looks.draw_looks", fail)
    code, out, err = script("eval.py", *judge_flags, f"--out_dir={tmp_path}/out")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["samples"]["n"] == 1
    assert "there is no" in err and "no font" in err
    names = ["judged.json", "judged.md", "judged_nearest.md"]
    assert sorted(os.listdir(tmp_path / "out")) == names


def test_nobody_has_to_read_what_eval_says(judge_flags, tmp_path):
    command = f'"$0" eval.py {" ".join(judge_flags)} --out_dir={tmp_path}/out'
    command += " >/dev/full 2>/dev/full"
    done = subprocess.run(["bash", "-c", command, sys.executable], cwd=ROOT, timeout=300)
    assert done.returncode == 0
    assert (tmp_path / "out" / "judged.md").exists()


def test_the_command_to_run_first_can_be_copied_whatever_the_folders_name(script, tmp_path):
    folder = tmp_path / "it's a run; ls"
    _, _, err = script("eval.py", f"--compare={folder}")
    command = err.split("Run ")[1].split(" first.")[0]
    show = f"python() {{ printf '%s|' \"$@\"; }}; {command}"
    shown = subprocess.run(["bash", "-c", show], capture_output=True, text=True)
    assert shown.stdout == f"eval.py|--out_dir={folder}|"


def test_the_samples_of_sample_py_are_judged_as_they_were_written(run, script, evaluate):
    flags = ("--num_samples=3", "--max_new_tokens=40", "--constrained=False")
    code, _, err = script("sample.py", f"--out_dir={run}", *flags)
    assert code == 0, err
    folder = run / "samples"
    lines = (folder / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["valid"] for line in lines] == [False] * 3
    for samples in (folder, folder / "samples.jsonl"):
        results = evaluate(f"--samples={samples}")
        assert results["samples"]["n"] == 3
        assert results["samples"]["rungs"][2] == 0
        assert sum(results["samples"]["finish"].values()) == 3
        assert "copies" not in results
        assert "likelihood" not in results


def test_ends_and_linters_are_reported_for_samples_of_others(run, evaluate, tmp_path, linters):
    bad, odd, odd_too = (encode({**workflow(), "name": name}) for name in ("bad", "odd", "odd 2"))
    broken = encode_symbols(linearise({"on": "push", "jobs": {}}))
    rows = [(bad, "stop"), (odd, "budget"), (odd_too, "stop"), (broken, "stop"), (bad[:-1], "cut")]
    path = tmp_path / "s.jsonl"
    with path.open("w") as f:
        for tokens, finish in rows:
            f.write(json.dumps({"tokens": tokens, "finish": finish}) + "\n")
    results = evaluate(f"--samples={path}", "--lint=True")
    assert results["samples"]["finish"] == {"stop": 3, "budget": 1, "cut": 1}
    assert results["samples"]["stop_and_fit"] == 2
    for group, n_findings, n_failed in (("samples", 1, 2), ("real", 0, 0)):
        assert results["lint"][group].pop("n") == 3
        for name, figures in results["lint"][group].items():
            expected = {"version": f"{name} 0.1", "findings": n_findings, "failed": n_failed}
            assert figures == expected
    page = (run / "judged.md").read_text()
    for row in (
        "| finished by itself | 3 | - |",
        "| finished by itself and fits | 2 | - |",
        "| zizmor: has findings | 33.3% [",
        "| zizmor: cannot read it | 66.7% [",
        "| zizmor | zizmor 0.1 |",
    ):
        assert row in page
