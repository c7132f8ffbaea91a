"""What nobody means, by both readings: advice.py and the matcher's clean_rules.json."""

import json

import pytest

import tct_github_workflow as tct

from .workflows import corpus, tokens_of

STEPS = [{"run": "x"}]
TWO = "${{ vars.x }}${{ vars.y }}"


def job_with(**fields):
    return {"on": "push", "jobs": {"a": {"runs-on": "x", "steps": STEPS, **fields}}}


def with_step(**fields):
    return job_with(steps=[{"run": "x", **fields}])


def with_matrix(matrix):
    return job_with(strategy={"matrix": matrix})


def needing(*jobs):
    document = job_with(needs=list(jobs))
    for name in jobs:
        document["jobs"][name] = {"runs-on": "x", "steps": STEPS}
    return document


def calling(workflow):
    return {"on": "push", "jobs": {"a": {"uses": workflow}}}


def filtered(key, *patterns):
    return {**job_with(), "on": {"push": {key: list(patterns)}}}


def accepts(document, rules):
    matcher = tct.Matcher(rules=rules)
    return all(map(matcher.accept_token, tokens_of(document))) and matcher.is_terminated()


GOOD = [
    with_matrix("${{ fromJSON(vars.x) }}"),
    with_matrix({"a": "${{fromJSON(format('[{0}]', vars.x))}}", "b": ["${{ vars.x }}"]}),
    with_matrix({"include": "${{ fromJSON(vars.x) }}", "exclude": "${{ fromJSON('[]') }}"}),
    job_with(**{"timeout-minutes": "${{ vars.x }}", "continue-on-error": "${{ vars.x == 1 }}"}),
    job_with(env={"A-b.c": 1, "(^_^)": None, "é": "a b = c"}),
    job_with(defaults={"run": {"shell": "${{ vars.shell }}"}}),
    with_step(shell="bash -el {0}"),
    needing("b", "c"),
    with_step(**{"if": "${{ github.ref == 'x' }}"}),
    with_step(**{"if": "github.ref == '${'"}),
    calling("./.github/workflows/a.yml"),
    calling("a/b/.github/workflows/c.yaml@v1"),
    filtered("branches", "main", "!v[0-9]+.[0-9]?", "**", "a/**/b", "[ab]c*d", "a.b/.c", "!!a"),
    filtered("paths", "src/**", "/a b", "*.py", "[!a]?x", "a:b~", "./"),
]
BAD = [
    ("steps", "$.jobs.a", {"on": "push", "jobs": {"a": {"runs-on": "x"}}}),
    ("workflow", "$.jobs.a.uses", calling("a/b/c.yml@d")),
    ("workflow", "$.jobs.a.uses", calling("./.github/workflows/a.yml@d")),
    ("workflow", "$.jobs.a.uses", calling("a/b/.github/workflows/c.yml")),
    ("empty", "$.jobs.a.needs", job_with(needs=[])),
    ("empty", "$.jobs.a.steps[0].run", with_step(run="")),
    ("empty", "$.env", {**job_with(), "env": {}}),
    ("empty", "$.jobs.a.steps[0].env", with_step(env={})),
    ("empty", "$.jobs.a.steps[0].with", job_with(steps=[{"uses": "a/b@v1", "with": {}}])),
    ("empty", "$.jobs.a.strategy", job_with(strategy={})),
    ("empty", "$.jobs.a.container", job_with(container="")),
    ("empty", "$.jobs.a.container.env", job_with(container={"image": "x", "env": {}})),
    ("needs", "$.jobs.a.needs", needing("b", "b")),
    ("workflow", "$.jobs.a.uses", calling("$/.github/workflows/a.yml")),
    ("empty", "$.jobs.a.strategy.matrix.include[0]", with_matrix({"a": [1], "include": [{}]})),
    ("matrix", "$.jobs.a.strategy.matrix", with_matrix("${{ vars.x }}")),
    ("matrix", "$.jobs.a.strategy.matrix.b", with_matrix({"b": "${{ fromJSON(vars.x) == 1 }}"})),
    ("matrix", "$.jobs.a.strategy.matrix.include", with_matrix({"include": "${{ vars.x }}"})),
    ("matrix", "$.jobs.a.strategy.matrix", with_matrix({"a": ["x", "y", "x"]})),
    ("matrix", "$.jobs.a.strategy.matrix", with_matrix({"a": [{"b": 1}], "include": [{"a": 1}]})),
    ("matrix", "$.jobs.a.strategy.matrix.a[1]", with_matrix({"a": [1, [2]]})),
    ("matrix", "$.jobs.a.strategy.matrix.a[0]", with_matrix({"a": [{"b": {"c": 1}}]})),
    (
        "matrix",
        '$.jobs.a.strategy.matrix["${{ vars.x }}"]',
        with_matrix({"a": [1], "${{ vars.x }}": [1]}),
    ),
    ("value", "$.jobs.a.timeout-minutes", job_with(**{"timeout-minutes": TWO})),
    ("value", "$.jobs.a.steps[0].continue-on-error", with_step(**{"continue-on-error": TWO})),
    ("value", "$.jobs.a.strategy.fail-fast", job_with(strategy={"fail-fast": TWO})),
    ("description", "$.description", {**job_with(), "description": "d"}),
    ("variable", '$.env["A B"]', {**job_with(), "env": {"A B": 1}}),
    ("variable", '$.jobs.a.env["A=1"]', job_with(env={"A=1": 1})),
    ("variable", '$.jobs.a.env["${{ github.ref }}"]', job_with(env={"${{ github.ref }}": 1})),
    ("variable", '$.jobs.a.steps[0].env["a&b"]', with_step(env={"a&b": 1})),
    (
        "variable",
        '$.jobs.a.services.db.env["a\\nb"]',
        job_with(services={"db": {"image": "x", "env": {"a\nb": 1}}}),
    ),
    ("shell", "$.jobs.a.steps[0].shell", with_step(shell="bash -e")),
    ("shell", "$.defaults.run.shell", {**job_with(), "defaults": {"run": {"shell": "zsh"}}}),
    ("shell", "$.jobs.a.defaults.run.shell", job_with(defaults={"run": {"shell": "zsh"}})),
    ("condition", "$.jobs.a.if", job_with(**{"if": "${{ github.ref }} "})),
    ("condition", "$.jobs.a.steps[0].if", with_step(**{"if": "a ${{ github.ref }}"})),
    ("condition", "$.jobs.a.steps[0].if", with_step(**{"if": "${{ env.A }}${{ env.B }}"})),
    ("oddity", "$.jobs.a.steps[0].run", with_step(run="${{ github.shaa }}")),
    *[
        ("glob", "$.on.push.tags", filtered("tags", glob))
        for glob in ("a b", "a\n", "v^", "a/", "a.?", "/a", "+a", "*+", "[a]", "[ab", "\\d", "!")
    ],
    *[
        ("glob", "$.on.push.paths", filtered("paths", glob))
        for glob in (" a", "a ", "a\nb", "?", "a+?", "[]", "[-", "a\\b", "!")
    ],
]


@pytest.mark.parametrize("workflow", GOOD)
def test_nothing_is_said_of_what_may_be_meant(workflow):
    assert tct.check(json.dumps(workflow), with_advice=True) == []
    assert accepts(workflow, "clean")


@pytest.mark.parametrize("rule, path, workflow", BAD)
def test_both_readings_find_what_nobody_means_and_github_takes_it(rule, path, workflow):
    assert tct.check(json.dumps(workflow)) == []
    problems = tct.check(json.dumps(workflow), with_advice=True)
    assert [(problem.path, problem.rule) for problem in problems] == [(path, rule)]
    assert accepts(workflow, "github") and not accepts(workflow, "clean")


def test_hardly_a_real_workflow_has_any():
    workflows = [text for text in corpus(1_000) if tct.check(text) == []]
    found = [text for text in workflows if tct.check(text, with_advice=True)]
    assert len(found) <= 0.015 * len(workflows)
