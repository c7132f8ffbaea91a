"""Tests of eval.py, as it is called: what it prints, what it writes, what it refuses."""

import json

import pytest

import tct_github_workflow as tct
from tct_github_workflow.json_text import dump_json
from tct_github_workflow.linear import linearise
from tct_github_workflow.vocab import encode_symbols
from tests.sampling import DEFECTS, TRAIN, VAL, encode, workflow


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
    assert figures["rungs"] == [19, 16, 11, 6]
    assert sum(n for n, _ in figures["reasons"].values()) == len(DEFECTS) - 6
    assert figures["finish"] == {"given": len(DEFECTS)}
    assert results["real"]["rungs"] == [4] * 4
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
        "and have sound references | 30.0%",  # 6 of 20
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
    assert results["samples"]["rungs"][2] == 2
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


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--compare=nowhere", "Run python eval.py"),
        ("--num_samples=0", "at least 1"),
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
