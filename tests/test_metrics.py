"""Tests of metrics/: by planted defects, by hand, by published figures."""

import sys

import numpy as np
import pytest

from metrics.candidates import read_candidates
from metrics.completion import Guess, cut_tasks, has_ended_steps, measure_completion, read_guess
from metrics.likeness import make_index, measure_originality, nearest
from metrics.lint import measure_lint
from metrics.looks import distance, get_features, get_shares
from metrics.report import wilson
from metrics.validity import (
    GITHUB_RUNG,
    Candidate,
    judge_file,
    judge_tokens,
    judge_workflow,
    measure_validity,
)
from tct_github_workflow import vocab
from tct_github_workflow.alphabet import OBJECT
from tct_github_workflow.json_text import dump_json
from tct_github_workflow.linear import linearise
from tct_github_workflow.vocab import encode_symbols
from tests.sampling import DEFECTS, TRAIN, VAL, encode, job, workflow

W = workflow(9)

# {the schema's keyword that refuses it: a workflow}. (const stands beside a $ref only, where it
# counts for nothing.)
INVALID = {
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


def judge_dict(workflow):
    return judge_file(dump_json(workflow).encode())


# --------------------------------------------------------------------------------------------------
# validity


def test_violations_of_each_kind_are_counted_each_by_its_reason():
    judged = [judge_tokens(encode(W))]
    for i, invalid in enumerate(INVALID.values()):  # the first once, the second twice, ...
        judged += [judge_dict(invalid)] * (i + 1)
    n_planted = len(judged) - 1
    assert [j.n_rungs for j in judged] == [5] + [2] * n_planted
    figures = measure_validity([Candidate(j, "given") for j in judged])
    assert figures["rungs"] == [len(judged), len(judged), 1, 1, 1]
    reasons = figures["reasons"]
    assert sorted(n for n, _ in reasons.values()) == list(range(1, len(INVALID) + 1)), reasons
    assert {example for _, example in reasons.values()} <= {j.reason for j in judged}


def test_tokens_that_are_no_workflow_stop_at_the_rung_where_they_break():
    ids = encode(W)
    broken = [ids[:-1], ids + ids, [], [8191], [-1], ids[::-1]]
    for tokens in broken:
        assert judge_tokens(tokens).n_rungs == 0, tokens
    against_the_schema = encode_symbols(linearise({"on": "push", "jobs": {}}))
    assert judge_tokens(against_the_schema).n_rungs == 2
    assert judge_tokens(ids).n_rungs == 5


@pytest.mark.parametrize("name", DEFECTS)
def test_a_file_with_a_planted_defect_stops_at_the_rung_where_it_breaks(name):
    data, n_rungs = DEFECTS[name]
    judged = judge_file(data)
    assert judged.n_rungs == n_rungs, judged


@pytest.mark.parametrize(
    "refused",
    [
        workflow(0, Lint=job(), lint=job()),
        workflow(0, __x=job()),
        workflow(0, a=job(steps=[{"run": "x", "id": "__x"}])),
        workflow(0, a=job(steps=[{"run": "x", "id": "a b"}])),
    ],
)
def test_ids_that_github_refuses_fit_the_schema_but_break_its_rules(refused):
    judged = judge_workflow(refused)
    assert judged.n_rungs == GITHUB_RUNG
    assert judged.kind in ("GitHub's rules: id", "GitHub's rules: key")


def test_a_line_that_is_not_sample_pys_is_named(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"tokens": [1, 2]}\n{"tok\n')
    with pytest.raises(ValueError, match="^line 2 "):
        read_candidates(str(path))


def test_wilsons_interval_is_the_published_one():
    """Newcombe 1998, table I."""
    assert np.allclose(wilson(81, 263), (0.2553, 0.3662), atol=5e-5)
    assert np.allclose(wilson(0, 20), (0.0000, 0.1611), atol=5e-5)


# --------------------------------------------------------------------------------------------------
# likeness


def test_the_nearest_document_is_found_and_measured():
    index = make_index([[1, 2, 3, 4], [1, 2, 3, 9, 9], [7, 8]])
    assert nearest([1, 2, 3, 4], index) == (1.0, 0)
    assert nearest([1, 2, 3, 4], index, but=0) == (1 / 4, 1)
    assert nearest([7, 8], index) == (1.0, 2)


def with_jobs(n):
    return workflow(7, **{f"j{k}": job(name=f"job {k}") for k in range(n)})


def test_originality_counts_copies_distinct_ones_and_sizes():
    long = with_jobs(30)
    part = with_jobs(20)
    ours = [TRAIN[0], TRAIN[0], TRAIN[1], part, {**long, "name": "Another"}]
    train = [encode(w) for w in [*TRAIN, long]]
    index = make_index(train)
    assert 0.5 < nearest(encode(part), index)[0] < 0.8
    figures, closest = measure_originality(ours, train, index, few=5)
    counts = [figures[figure] for figure in ("n", "exact", "over_0.8", "distinct")]
    assert counts == [5, 3, 4, 4]
    assert 0.9 < closest.likeness < 1
    assert (closest.sample, closest.document) == (4, len(TRAIN))
    assert figures["nearest"] == 1
    assert 0 < figures["self"] <= 1
    assert figures["sizes"]["jobs"] == pytest.approx([1, 1, 26, 10.6])
    assert figures["sizes"]["steps"][3] == pytest.approx(21.2)


def test_one_workflow_alone_is_like_no_other():
    train = [encode(w) for w in TRAIN]
    figures, _ = measure_originality([workflow(50)], train, make_index(train), few=1)
    assert figures["self"] is None


# --------------------------------------------------------------------------------------------------
# looks


def test_total_variation_distance():
    assert distance({"a": 0.5, "b": 0.5}, {"a": 0.5, "c": 0.5}) == 0.5
    assert distance({"a": 1.0}, {"a": 1.0}) == 0
    assert distance({}, {"a": 1.0}) == 1
    assert distance({}, {}) == 0


def test_features_are_those_of_the_workflow():
    w = {
        "on": {"push": {"branches": ["a"]}, "pull_request": None},
        "env": {"A": "b"},
        "jobs": {
            "env": job(strategy={"matrix": {"os": ["x"], "include": [{"os": "y", "z": 1}]}}),
            "b": {"uses": "a/b/c.yml@v1", "with": {"q": "r"}},
        },
    }
    features = get_features(w)
    assert features["events"] == ["push", "pull_request"]
    assert features["runners"] == ["ubuntu-latest"]
    assert features["actions"] == ["actions/checkout"]
    assert features["step kinds"] == ["uses", "run"]
    of_jobs = [f"jobs.*.{key}" for key in ("runs-on", "steps", "strategy", "uses", "with")]
    of_others = ["on.push", "on.pull_request", "push.branches", "strategy.matrix"]
    of_workflow = ["workflow.on", "workflow.env", "workflow.jobs"]
    of_steps = ["steps[].uses", "steps[].run"]
    assert sorted(features["keys"]) == sorted(of_jobs + of_others + of_workflow + of_steps)
    assert sorted(features["keys per object"]) == sorted("3 2 1 1 2 3 1 1 1 2 2 2 1".split())
    assert get_shares([features, features], "step kinds") == {"uses": 0.5, "run": 0.5}


# --------------------------------------------------------------------------------------------------
# completion


def test_a_cut_is_the_beginning_of_the_documents_own_tokens():
    steps = [{"uses": "a/b@v1", "with": {"x": "\ue000"}}, {"run": "make\nmake test\n"}] * 3
    jobs = {f"j{k}": job(steps=steps, env={}) for k in range(3)}
    workflows = [workflow(i, **jobs) for i in range(6)]
    documents = [encode(w) for w in workflows]
    tasks = cut_tasks(workflows, 5, seed=1337)
    assert len(tasks) == 5
    assert len({(task.job, len(task.given)) for task in tasks}) > 2
    for task in tasks:
        n = len(task.prompt)
        document = next(d for d in documents if d[:n] == task.prompt)
        assert task.next_text == OBJECT.encode()
        assert vocab.token_bytes(document[n:])[0].startswith(task.next_text)
        assert task.given and task.wanted
        assert task.given + task.wanted == steps


def test_the_baselines_are_right_wherever_the_training_set_determines_the_answer():
    tasks = cut_tasks(VAL, 3, seed=1337)
    assert [len(task.given) for task in tasks] == [1] * 3
    figures = measure_completion(tasks, [Guess(None, None)] * 3, TRAIN)
    assert (figures["cuts"], figures["uses"]) == (3, 0)
    assert figures["model"] == {"exact": 0, "action": 0, "kind": 3, "job": 0}
    all_right = {"exact": 3, "action": 0, "kind": 3, "job": 3}
    assert figures["most frequent after the same step"] == all_right


def test_a_model_that_knows_the_answers_is_told_that_it_does():
    """It writes the true rest; a right step but one too many; another version; the wrong kind; the
    true rest, closed by the budget."""
    first = {"run": "make"}
    then = [{"uses": "a/b@v1", "with": {"x": "y"}}, {"run": "make test"}]
    tasks = []
    for task in cut_tasks([workflow(i, a=job(steps=[first, *then])) for i in range(40)], 40, 1337):
        if task.wanted == then:
            tasks.append(task)
    answers = [then, [*then, first], [{"uses": "a/b@v2"}], [{"run": "make test"}], then]
    tasks = tasks[: len(answers)]
    guesses = []
    for i, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
        more = encode_symbols(linearise({"x": answer})[3:-1])  # the steps, the end of their list
        assert not has_ended_steps(task.prompt + more[:-1])
        assert has_ended_steps(task.prompt + more)
        finish = "budget" if i == 4 else "until"
        guesses.append(read_guess(task, task.prompt + more, finish))
    train = [workflow(0, a=job(steps=[{"run": "x"}] * 4)), workflow(1, a=job(steps=[first, *then]))]
    assert measure_completion(tasks, guesses, train) == {
        "cuts": 5,
        "uses": 5,
        "model": {"exact": 3, "action": 4, "kind": 4, "job": 1},
        "most frequent": {"exact": 0, "action": 0, "kind": 0, "job": 0},
        "most frequent after the same step": {"exact": 5, "action": 5, "kind": 5, "job": 5},
    }


# --------------------------------------------------------------------------------------------------
# lint


def test_a_linters_verdict_is_its_exit_code(linters, monkeypatch):
    """Findings and failures apart: what a linter cannot read it has not found fault with."""
    figures = measure_lint(["good", "bad", "odd", "bad", "bad", "good", "odd"])
    for name in ("zizmor", "actionlint"):
        assert figures.pop(name) == {"version": f"{name} 0.1", "findings": 3, "failed": 2}
    assert not figures
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert measure_lint(["good"]) == {}
