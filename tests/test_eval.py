"""Facts about eval.py and what it uses: python -m pytest tests/test_eval.py"""

import json
import os
import sys

import numpy as np
import pytest

import tct_github_workflow as tct
from data import judge as judging
from eval import complete, cut
from tct_github_workflow import alphabet, json_text, linear, vocab
from tests.sampling import TRAIN, VAL, job, make_model, workflow

# ---- the evaluator


W = workflow(9)
INVALID = {  # the schema's keyword that refuses it (const stands beside a $ref only, where it counts for nothing): a workflow
    "required": {"on": "push"},
    "enum": {**W, "on": "pushh"},
    "additionalProperties": {**W, "jbos": {}},
    "type": {**W, "name": 3},
    "minItems": workflow(0, a={"runs-on": "x", "steps": []}),
    "minProperties": {**W, "jobs": {}},
    "minLength": {**W, "on": {"push": {"branches": [""]}}},
    "pattern": workflow(0, a={"uses": "here"}),
    "patternProperties": workflow(0, **{"9a": job()}),
    "dependencies": workflow(0, a=job(steps=[{"uses": "a/b@v1", "shell": "sh"}])),
    "oneOf": workflow(0, a=job(steps=[{"uses": "a/b@v1", "run": "x"}])),
    "anyOf": workflow(0, a=job(**{"if": ["x"]})),
    "not, in allOf": {**W, "on": {"push": {"tags": ["a"], "tags-ignore": ["b"]}}},
}


def test_violations_of_each_kind_are_counted_each_by_its_reason():
    planted = [
        w for i, w in enumerate(INVALID.values()) for _ in range(i + 1)
    ]  # the first once, the second twice, ...
    judged = [judging.judge(data=json_text.dump_json(w).encode()) for w in planted] + [
        judging.judge(tct.encode(json_text.dump_json(W)))
    ]
    assert [rungs for rungs, *_ in judged] == [2] * len(planted) + [4]
    rungs, reasons = judging.ladder(judged)
    assert rungs == [len(judged), len(judged), 1, 1]
    assert sorted(n for n, _ in reasons.values()) == list(range(1, len(INVALID) + 1)), reasons
    assert all(example in {reason for _, reason, _ in judged} for _, example in reasons.values())


def test_tokens_that_are_no_workflow_stop_at_the_rung_where_they_break():
    ids = tct.encode(json_text.dump_json(W))
    broken = vocab.encode_symbols(
        linear.linearise({"on": "push", "jobs": {}})
    )  # well formed, against the schema
    for tokens, rungs in (
        (ids, 4),
        (ids[:-1], 0),
        (ids + ids, 0),
        ([], 0),
        ([8191], 0),
        ([-1], 0),
        (ids[::-1], 0),
        (broken, 2),
    ):
        assert judging.judge(tokens)[0] == rungs, tokens


DEFECTS = {  # file name: (text, rungs climbed)
    "a.json": ('{"on": "push", "jobs": ', 1),
    "b.yml": ("on: [push\n", 1),
    "c.yml": (b"on: \xff\xfe", 0),
    "d.yml": ("", 1),
    "e.yml": ("on: push\n", 2),
    "f.json": (json.dumps({**workflow(), "on": "pushh"}), 2),
    "g.json": (json.dumps({**workflow(), "jbos": {}}), 2),
    "h.json": (json.dumps(workflow(0, a={"runs-on": "x", "steps": []})), 2),
    "i.json": (json.dumps(workflow(0, a=job(**{"timeout-minutes": "x y"}))), 2),
    "j.json": (json.dumps(workflow(1, a=job(needs="b"))), 3),
    "k.json": (json.dumps(workflow(1, a=job(needs=["b"]), b=job(needs="a"), c=job())), 3),
    "l.json": (
        json.dumps(workflow(1, a=job(steps=[{"run": "x", "id": "s"}, {"run": "y", "id": "S"}]))),
        3,
    ),
    "m.json": (
        json.dumps(workflow(1, a=job(steps=[{"run": "echo ${{ steps.nope.outputs.x }}"}]))),
        3,
    ),
    "n.json": (json.dumps(workflow(1, a=job(**{"if": "needs['b'].result == 'steps.q'"}))), 3),
    "o.json": (
        json.dumps(
            workflow(
                1,
                a=job(
                    steps=[
                        {"run": "x", "id": "s"},
                        {"run": "${{ steps.S.outputs.x && 'steps.none' }}"},
                    ]
                ),
                B=job(needs="a", **{"if": "needs.A.outputs.x"}),
                c=job(needs=["B"], env={"x": "${{ needs.B.result }}"}),
            )
        ),
        4,
    ),
    "p.json": (json.dumps(TRAIN[0]), 4),
    "q.json": (json.dumps(TRAIN[1], indent=2), 4),
    "r.yml": (tct.json_to_yaml(json_text.dump_json(TRAIN[1])), 4),
    "s.json": (json.dumps(workflow(55)), 4),
    "t.json": (json.dumps(workflow(55)), 4),
}


def test_planted_defects_copies_and_duplicates_come_out_as_planted(run, script, tmp_path):
    for name, (text, rungs) in DEFECTS.items():
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(data)
        assert judging.judge(data=data)[0] == rungs, (name, judging.judge(data=data))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    code, out, err = script(
        "eval.py", f"--samples={tmp_path}", f"--out_dir={run}", f"--data_dir={run}"
    )
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["samples"]["n"] == len(DEFECTS)
    assert (
        result["samples"]["rungs"]
        == [sum(r > k for _, r in DEFECTS.values()) for k in range(4)]
        == [19, 16, 11, 6]
    )
    assert sum(n for n, _ in result["samples"]["reasons"].values()) == len(DEFECTS) - 6 and result[
        "samples"
    ]["finish"] == {"given": len(DEFECTS)}
    copies = result["copies"]["samples"]
    assert (copies["n"], copies["exact"], copies["distinct"]) == (
        11,
        3,
        9,
    )  # p; q and r are one; s and t are one
    assert result["real"]["rungs"] == [4] * 4
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert (run / "judged.png").stat().st_size > 10_000
    page = (run / "judged.md").read_text()
    assert all(
        f"| {row} [" in page
        for row in (
            "fits the schema | 55.0%",
            "fit the schema | 55.0%",
            "and have sound references | 30.0%",
            "copies of a training workflow | 27.3%",
        )
    )  # 11 and 6 of 20, 3 of 11
    assert "the nearest of 4 of their own" in page  # as there are but 4 real ones
    nearest = (run / "judged_nearest.md").read_text()  # apart, as its second half is somebody's
    assert (
        sum(tct.json_to_yaml(json_text.dump_json(w)) in nearest for w in TRAIN) == 1
        and "```yaml" not in page
        and "make test" not in out + page
    )


def test_wilsons_interval_is_the_published_one():
    assert np.allclose(
        judging.wilson(81, 263), (0.2553, 0.3662), atol=5e-5
    )  # Newcombe 1998, table I
    assert np.allclose(judging.wilson(0, 20), (0.0000, 0.1611), atol=5e-5)


def test_the_nearest_document_is_found_and_measured():
    index = judging.make_index([[1, 2, 3, 4], [1, 2, 3, 9, 9], [7, 8]])
    assert judging.nearest([1, 2, 3, 4], index) == (1.0, 0)
    assert judging.nearest([1, 2, 3, 4], index, but=0) == (1 / 4, 1)
    assert judging.nearest([7, 8], index) == (1.0, 2)


def test_originality_counts_copies_distinct_ones_and_sizes():
    long, part = (
        workflow(7, **{f"j{k}": job(name=f"job {k}") for k in range(n)}) for n in (30, 20)
    )
    ours = [TRAIN[0], TRAIN[0], TRAIN[1], part, {**long, "name": "Another"}]
    ids = [tct.encode(json_text.dump_json(w)) for w in [*TRAIN, long]]
    found, (likeness, which, number) = judging.originality(
        ours, ids, judging.make_index(ids), 5, lambda *_: None
    )
    assert [found[k] for k in ("n", "exact", "over_0.8", "distinct")] == [5, 3, 4, 4]
    assert 0.9 < likeness < 1 and (which, number) == (4, len(TRAIN))
    assert (
        0.5
        < judging.nearest(tct.encode(json_text.dump_json(part)), judging.make_index(ids))[0]
        < 0.8
    )
    assert found["nearest"] == 1 and 0 < found["self"] <= 1
    assert found["sizes"]["jobs"] == [1, 1, pytest.approx(26), pytest.approx(10.6)] and found[
        "sizes"
    ]["steps"][3] == pytest.approx(21.2)
    assert (
        judging.originality([workflow(50)], ids, judging.make_index(ids), 1, lambda *_: None)[0][
            "self"
        ]
        is None
    )


def test_total_variation_distance():
    assert judging.distance({"a": 0.5, "b": 0.5}, {"a": 0.5, "c": 0.5}) == 0.5
    assert judging.distance({"a": 1.0}, {"a": 1.0}) == 0
    assert judging.distance({}, {"a": 1.0}) == 1 and judging.distance({}, {}) == 0


def test_features_are_those_of_the_workflow():
    w = {
        "on": {"push": {"branches": ["a"]}, "pull_request": None},
        "env": {"A": "b"},
        "jobs": {
            "env": job(strategy={"matrix": {"os": ["x"], "include": [{"os": "y", "z": 1}]}}),
            "b": {"uses": "a/b/c.yml@v1", "with": {"q": "r"}},
        },
    }
    found = judging.features(w)
    assert (
        found["events"] == ["push", "pull_request"]
        and found["runners"] == ["ubuntu-latest"]
        and found["actions"] == ["actions/checkout"]
    )
    assert found["step kinds"] == ["uses", "run"]
    assert sorted(found["keys"]) == sorted(
        [
            "workflow.on",
            "workflow.env",
            "workflow.jobs",
            "on.push",
            "on.pull_request",
            "push.branches",
            "steps[].uses",
            "steps[].run",
            "strategy.matrix",
            *(f"jobs.*.{k}" for k in ("runs-on", "steps", "strategy", "uses", "with")),
        ]
    )
    assert sorted(found["keys per object"]) == sorted("3 2 1 1 2 3 1 1 1 2 2 2 1".split())
    assert judging.shares([found, found], "step kinds") == {"uses": 0.5, "run": 0.5}


def test_a_cut_is_the_beginning_of_the_documents_own_tokens():
    steps = [{"uses": "a/b@v1", "with": {"x": "\ue000"}}, {"run": "make\nmake test\n"}] * 3
    workflows = [
        workflow(i, **{f"j{k}": job(steps=steps, env={}) for k in range(3)}) for i in range(6)
    ]
    tasks = cut(workflows, 5)
    assert len(tasks) == 5 and len({(name, len(before)) for *_, name, before, _ in tasks}) > 2
    documents = [tct.encode(json_text.dump_json(w)) for w in workflows]
    for ids, texts, name, before, rest in tasks:
        document = next(d for d in documents if d[: len(ids)] == ids)
        assert texts == [alphabet.OBJECT.encode()] and vocab.token_bytes(document[len(ids) :])[
            0
        ].startswith(texts[0])
        assert before + rest == steps and before and rest


def test_completions_are_scored_against_the_steps_that_were_cut_off():
    """With a model that is only random, the baselines must still be right wherever the training set determines the answer."""
    tasks = cut(VAL, 3)
    assert len(tasks) == 3 and all(
        before + rest == job()["steps"] and len(before) == 1 for *_, before, rest in tasks
    )
    result = complete(make_model(), tasks, TRAIN)
    assert result["cuts"] == 3 and result["uses"] == 0
    assert result["most frequent after the same step"] == {
        "exact": 3,
        "action": 0,
        "kind": 3,
        "job": 3,
    }


def test_a_model_that_knows_the_answers_is_told_that_it_does(monkeypatch):
    """The model writes the true rest; a right step but one too many; another version; the wrong kind; the true rest, closed by the budget."""
    first, then = {"run": "make"}, [{"uses": "a/b@v1", "with": {"x": "y"}}, {"run": "make test"}]
    tasks = [
        t
        for t in cut([workflow(i, a=job(steps=[first, *then])) for i in range(40)], 40)
        if t[4] == then
    ][:5]
    answers = [then, [*then, first], [{"uses": "a/b@v2"}], [{"run": "make test"}], then]

    def knows(model, prompts, *_, until, **__):
        for i, (ids, _) in enumerate(prompts):
            more = vocab.encode_symbols(
                linear.linearise({"x": answers[i]})[3:-1]
            )  # the steps and the end of their list
            assert [until(i, token) for token in more] == [False] * (len(more) - 1) + [True]
            yield i, ids + more, "budget" if i == 4 else "until", 0

    monkeypatch.setattr("eval.generate", knows)
    result = complete(
        None,
        tasks,
        [workflow(0, a=job(steps=[{"run": "x"}] * 4)), workflow(1, a=job(steps=[first, *then]))],
    )
    assert result == {
        "cuts": 5,
        "uses": 5,
        "model": {"exact": 3, "action": 4, "kind": 4, "job": 1},
        "most frequent": {"exact": 0, "action": 0, "kind": 0, "job": 0},
        "most frequent after the same step": {"exact": 5, "action": 5, "kind": 5, "job": 5},
    }


def test_evaluating_a_run_writes_a_page_and_comparing_runs_reads_it(run, script):
    flags = (
        f"--out_dir={run}",
        "--num_samples=2",
        "--max_new_tokens=40",
        "--num_cuts=2",
        "--max_cut_tokens=40",
    )
    code, out, err = script("eval.py", *flags)
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result == json.loads((run / "results.json").read_text())
    assert result["samples"]["rungs"][2] == 2 and result["likelihood"]["documents"] == len(VAL)
    assert result["likelihood"]["bytes"] == sum(len(json_text.dump_json(w).encode()) for w in VAL)
    page = (run / "results.md").read_text()
    assert all(
        title in page
        for title in (
            "## Likelihood",
            "## Validity",
            "## Not copied",
            "## Looks",
            "## Useful",
            "## To repeat",
        )
    )
    assert page.index("| bits per byte") < page.index("## Likelihood") and "--num_cuts=2" in page
    # the numbers follow from the run, whatever the batch size
    code, out, err = script("eval.py", *flags, "--batch_size=1")
    again, own = json.loads(out.splitlines()[-1]), ("settings", "facts")
    assert code == 0 and {k: v for k, v in again.items() if k not in own} == {
        k: v for k, v in result.items() if k not in own
    }
    # measured on other workflows, and in part
    (run / "other").mkdir()
    again["facts"]["val_sha256"] = ["0"]
    del again["completion"]
    (run / "other" / "results.json").write_text(json.dumps(again))
    code, out, err = script("eval.py", f"--compare={run},{run}/other")
    compared = (run / "compared.md").read_text()
    assert (
        code == 0
        and compared.split("\n\n", 1)[1] in out
        and "Not the same validation workflows" in compared
    )
    bits = f"{result['likelihood']['bits_per_byte']:.3f}"
    assert f"| bits per byte of minified JSON | {bits} | {bits} |" in compared
    assert "| rest of the job exactly right | 0.0% [0.0, 65.8] | - |" in compared


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--compare=nowhere", "Run python eval.py"),
        ("--num_samples=0", "at least 1"),
        ("--seed=-1", "seed 0"),
        ("--device=nonsense", "--device=nonsense"),
        ("--data_dir=nowhere", "Run prepare.py"),
        ("--out_dir=nowhere", "Train a model"),
        ("--samples=nowhere", "No such file"),
        ("--samples=empty", "no workflow"),
        ("--samples=bad.jsonl", "bad.jsonl: "),
    ],
)
def test_a_users_mistake_ends_eval_in_one_line(run, script, tmp_path, monkeypatch, flag, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text('{"tokens": [1, 2]}\n{"tok\n')
    monkeypatch.chdir(tmp_path)
    code, out, err = script("eval.py", f"--out_dir={run}", f"--data_dir={run}", flag)
    assert code == 1 and says in err and err.count("\n") == 1


def test_the_samples_of_sample_py_are_judged_as_they_were_written(run, script):
    assert (
        script(
            "sample.py",
            f"--out_dir={run}",
            "--num_samples=3",
            "--max_new_tokens=40",
            "--constrained=False",
        )[0]
        == 0
    )
    rows = [
        json.loads(line) for line in (run / "samples" / "samples.jsonl").read_text().splitlines()
    ]
    for samples in (run / "samples", run / "samples" / "samples.jsonl"):
        code, out, err = script(
            "eval.py", f"--out_dir={run}", f"--data_dir={run}", f"--samples={samples}"
        )
        result = json.loads(out.splitlines()[-1])
        assert (
            code == 0
            and result["samples"]["n"] == 3
            and result["samples"]["rungs"][2] == sum(r["valid"] for r in rows) == 0
        )
        assert (
            sum(result["samples"]["finish"].values()) == 3
            and "copies" not in result
            and "likelihood" not in result
        )


@pytest.fixture
def linters(tmp_path, monkeypatch):
    """Linters that only look for a word."""
    for name, findings in (("actionlint", 1), ("zizmor", 13)):
        (tmp_path / name).write_text(f"""#!/bin/sh
            for file; do :; done
            test "$1" = --version && echo {name} 0.1 && exit
            grep -q bad "$file" && exit {findings}
            grep -q odd "$file" && exit 3 || exit 0""")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))


def test_a_linters_verdict_is_its_exit_code(linters, monkeypatch):
    """Findings and failures apart: what a linter cannot read it has not found fault with."""
    found = judging.lint(["good", "bad", "odd", "bad", "bad", "good", "odd"], lambda *_: None)
    assert found == {
        name: {"version": f"{name} 0.1", "findings": 3, "failed": 2}
        for name in ("zizmor", "actionlint")
    }
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert judging.lint(["good"], lambda *_: None) == {}


def test_ends_and_linters_are_reported_for_samples_of_others(run, script, tmp_path, linters):
    fits = [
        tct.encode(json_text.dump_json({**workflow(), "name": name}))
        for name in ("bad", "odd", "odd 2")
    ]
    broken = vocab.encode_symbols(linear.linearise({"on": "push", "jobs": {}}))
    rows = [*zip(fits, ("stop", "budget", "stop")), (broken, "stop"), (fits[0][:-1], "cut")]
    (tmp_path / "s.jsonl").write_text(
        "".join(json.dumps({"tokens": tokens, "finish": finish}) + "\n" for tokens, finish in rows)
    )
    code, out, err = script(
        "eval.py",
        f"--out_dir={run}",
        f"--data_dir={run}",
        f"--samples={tmp_path}/s.jsonl",
        "--lint=True",
    )
    assert code == 0, err
    result, page = json.loads(out.splitlines()[-1]), (run / "judged.md").read_text()
    assert (
        result["samples"]["finish"] == {"stop": 3, "budget": 1, "cut": 1}
        and result["samples"]["stop_and_fit"] == 2
    )
    assert (
        "| finished by itself | 3 | - |" in page
        and "| finished by itself and fits | 2 | - |" in page
    )
    assert result["lint"] == {
        group: {
            "n": 3,
            **{
                name: {"version": f"{name} 0.1", "findings": n, "failed": m}
                for name in ("zizmor", "actionlint")
            },
        }
        for group, n, m in (("samples", 1, 2), ("real", 0, 0))
    }
    assert (
        "| zizmor: has findings | 33.3% [" in page
        and "| zizmor: cannot read it | 66.7% [" in page
        and "| zizmor | zizmor 0.1 |" in page
    )
