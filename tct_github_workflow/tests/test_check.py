"""check() and --check: against GitHub's own verdicts, rule by rule, and as a command."""

import json
import subprocess
import sys

import pytest

import tct_github_workflow as tct
from tct_github_workflow.check import SERVER_RULES
from tct_github_workflow.definitions import place
from tct_github_workflow.expression_parser import ANY, ExpressionError, Name, parse, split
from tct_github_workflow.tests import github_cases
from tct_github_workflow.tests.workflows import WRITTEN, corpus

# Rules that GitHub's published parser does not know
NOT_THE_PARSER = SERVER_RULES | {"schema", "reference"}


def check(workflow):
    return tct.check(json.dumps(workflow))


def of_parser(problems):
    return [problem for problem in problems if problem.rule not in NOT_THE_PARSER]


def workflow_with(job=None, on="push", **top):
    """A workflow of one job `a`, with what is to be tested."""
    return {"on": on, **top, "jobs": {"a": {"runs-on": "x", **(job or {})}}}


def with_step(step, **job):
    return workflow_with({**job, "steps": [step]})


def matrix_job(matrix, **job):
    return {"strategy": {"matrix": matrix}, **job}


# --- GitHub's verdicts ----------------------------------------------------------------------------


def test_verdicts_are_those_of_github_for_workflows():
    cases = [case for case in github_cases.read_cases() if "workflow" in case]
    assert len(cases) == github_cases.N_WORKFLOWS
    differing = []
    for case in cases:
        problems = of_parser(check(case["workflow"]))
        if (not problems) != case["accepted"]:
            differing.append((case, problems))
    assert differing == []


def test_verdicts_are_those_of_github_for_expressions():
    cases = [case for case in github_cases.read_cases() if "expression" in case]
    assert len(cases) == github_cases.N_EXPRESSIONS
    differing = []
    for case in cases:
        _, problems = place(case["place"]).scope.read(case["expression"])
        if (not problems) != case["accepted"]:
            differing.append((case, problems))
    assert differing == []


def test_the_stored_cases_are_those_that_the_script_makes():
    stored = github_cases.read_cases()
    for case in stored:
        del case["accepted"]
    assert stored == json.loads(json.dumps(github_cases.make_cases()))


def test_real_workflows_are_accepted():
    accepted = 0
    workflows = corpus(400)
    for workflow in workflows:
        accepted += not of_parser(tct.check(workflow))
    assert accepted >= 0.98 * len(workflows)


# --- the rules, one by one ------------------------------------------------------------------------

GOOD = [
    with_step({"run": "echo ${{ env.A }} '}}' ${{ 'a }} b' }}"}),
    with_step({"run": "x", "if": "always()"}),
    with_step({"run": "x", "if": "${{ failure() }} "}),
    with_step({"run": "x", "env": {"${{ insert }}": "${{ github.event }}"}}),
    with_step({"uses": "$/here"}),
    workflow_with({"env": {"A": "${{ github.sha }}", "a-": ""}}),
    workflow_with(matrix_job("${{ fromJSON('{}') }}", name="${{ matrix.any }}")),
    workflow_with(matrix_job({"include": [{"os": "x"}]}, name="${{ matrix.OS }}")),
    workflow_with(matrix_job({"include": "${{ vars.X }}"}, name="${{ matrix.any }}")),
    workflow_with(on={"schedule": [{"cron": "*/5 0-6,22 1 jan,JUL 0"}]}),
    workflow_with(concurrency="g" * 400),
]


@pytest.mark.parametrize("workflow", GOOD)
def test_nothing_is_found_where_nothing_is_wrong(workflow):
    assert check(workflow) == []


BAD = [
    ("expression", "$.jobs.a.steps[0].run", with_step({"run": "${{ env.A }"})),
    ("expression", "$.jobs.a.steps[0].run", with_step({"run": "${{ env.A == }}"})),
    ("expression", "$.jobs.a.steps[0].run", with_step({"run": "${{ }}"})),
    ("expression", "$.jobs.a.steps[0].if", with_step({"run": "", "if": "a b"})),
    ("expression", "$.jobs.a.steps[0].run", with_step({"run": "${{ contains('a') }}"})),
    ("expression", "$.jobs.a.steps[0].id", with_step({"run": "", "id": "${{ 1 }}"})),
    ("context", "$.env.A", workflow_with(env={"A": "${{ matrix.os }}"})),
    ("context", "$.jobs.a.steps[0].if", with_step({"run": "", "if": "secrets.A"})),
    ("context", "$.jobs.a.name", workflow_with({"name": "${{ hashFiles('x') }}"})),
    ("key", "$.jobs.a.steps[0].with", with_step({"run": "", "with": {}})),
    ("key", "$.jobs.a.steps[0]", with_step({"name": "neither run nor uses"})),
    ("key", "$.jobs.a.env.a", workflow_with({"env": {"A": 1, "a": 2}})),
    ("key", "$.jobs.a.bananas", workflow_with({"bananas": 1})),
    ("value", "$.jobs.a.env", workflow_with({"env": "${{ fromJSON('{}') }}"})),
    ("value", "$.on.push", workflow_with(on={"push": ["main"]})),
    ("value", "$.on.issues.types[0]", workflow_with(on={"issues": {"types": ["banana"]}})),
    ("id", "$.jobs.a.steps[0].id", with_step({"run": "", "id": "1a"})),
    ("id", "$.jobs.a.steps[0].id", with_step({"run": "", "id": "__a"})),
    ("id", "$.jobs.a.steps[0].id", with_step({"run": "", "id": "a" * 100})),
    ("needs", "$.jobs.a.needs", workflow_with({"needs": "c"})),
    ("cron", "$.on.schedule[0].cron", workflow_with(on={"schedule": [{"cron": "60 * * * *"}]})),
    ("runner", "$.jobs.a.runs-on.group", workflow_with({"runs-on": {"group": "x/y"}})),
    ("matrix", "$.jobs.a.strategy.matrix.os", workflow_with(matrix_job({"os": []}))),
    ("matrix", "$.jobs.a.strategy.matrix", workflow_with(matrix_job({"exclude": [{"x": 1}]}))),
    ("uses", "$.jobs.a.steps[0].uses", with_step({"uses": "actions/checkout"})),
    ("concurrency", "$.concurrency", workflow_with(concurrency="g" * 401)),
    ("limit", "$.jobs.a.steps[0].run", with_step({"run": "${{ env.A }}" + "x" * 20_000})),
]


@pytest.mark.parametrize("rule, path, workflow", BAD)
def test_each_rule_is_named_with_its_place(rule, path, workflow):
    assert (path, rule) in [(problem.path, problem.rule) for problem in check(workflow)]


def test_what_the_schema_alone_refuses_is_named():
    [problem] = check(workflow_with({"strategy": {"matrix": {}}, "name": None}))[:1]
    assert problem.rule in ("schema", "matrix")
    assert "schema" in {p.rule for p in check(with_step({"run": True}))}


def test_jobs_need_no_circle_and_a_first_one():
    def needing(**needs):
        jobs = {name: {"runs-on": "x", "needs": needed} for name, needed in needs.items()}
        return {"on": "push", "jobs": {"first": {"runs-on": "x"}, **jobs}}

    assert check(needing(b=["c"], c=["first", "first"])) == []
    assert {p.path for p in check(needing(b=["c"], c=["b"], d="first", e="b"))} == {
        f"$.jobs.{name}.needs" for name in "bce"
    }
    alone = {"on": "push", "jobs": {"a": {"runs-on": "x", "needs": "a"}}}
    assert "every job needs another" in check(alone)[0].message


def test_inputs_have_a_default_of_their_type():
    def rules(kind, **declared):
        dispatch = {"inputs": {"x": {"type": kind, **declared}}}
        return {
            problem.rule for problem in check(workflow_with(on={"workflow_dispatch": dispatch}))
        }

    assert rules("boolean", default=True) == rules("string", default="1") == set()
    assert "input" in rules("boolean", default="true")
    assert "input" in rules("string", default=1)
    assert "input" in rules("choice")
    assert "input" in rules("string", options=["a"])


def test_a_matrix_excludes_its_own_keys():
    matrix = {"x": [1], "include": [{"os": 1}], "exclude": [{"X": 1}, {"os": 1}]}
    [problem] = check(workflow_with(matrix_job(matrix)))
    assert problem.path == "$.jobs.a.strategy.matrix.exclude[1].os"


def test_step_ids_are_each_once_in_a_job():
    def rules(*ids):
        steps = [{"run": "", "id": name} for name in ids]
        return [problem.rule for problem in check(workflow_with({"steps": steps}))]

    assert rules("a", "b") == []
    assert rules("a", "a") == ["id"]
    assert rules("a", "A") == ["id-case"]


def test_a_string_in_braces_is_the_string():
    assert check(with_step({"run": "", "if": "${{ 'true' }}"})) == []
    assert check(with_step({"run": "", "id": "${{ 'a' }}"})) == []
    [problem] = of_parser(check(with_step({"run": "", "id": "${{ '1a' }}"})))
    assert problem.rule == "id"


# --- references -----------------------------------------------------------------------------------


def names_missing(workflow):
    problems = check(workflow)
    assert {problem.rule for problem in problems} <= {"reference"}
    return [problem.message.split(":")[0] for problem in problems]


def test_a_step_knows_the_steps_before_it():
    def echo(name, **step):
        return {"run": "echo ${{ steps.%s.outputs.x }}" % name, **step}

    steps = [echo("a", id="a"), echo("A"), echo("b"), {"run": "", "id": "b"}, echo("b")]
    assert names_missing(workflow_with({"steps": steps})) == ["steps.a", "steps.b"]
    outputs = {"x": "${{ steps.b.outcome }}", "y": "${{ steps['c'].outcome }}"}
    assert names_missing(workflow_with({"outputs": outputs, "steps": steps[3:]})) == ["steps.c"]
    anything = {"x": "${{ toJSON(steps) }} ${{ steps[github.ref] }} ${{ steps.*.outcome }}"}
    assert names_missing(workflow_with({"outputs": anything})) == []


def test_a_job_knows_the_jobs_that_it_needs_itself():
    def job(*needs):
        return {"runs-on": "x", "needs": list(needs), "if": "needs.a.result && needs.B.result"}

    first = {"a": {"runs-on": "x"}, "b": {"runs-on": "x", "needs": "a"}}
    jobs = {**first, "c": job("b"), "d": job("a", "b")}
    assert names_missing({"on": "push", "jobs": jobs}) == ["needs.a"]


def test_a_matrix_has_its_keys_and_those_it_includes():
    matrix = {"os": ["x"], "include": [{"Extra": 1}], "exclude": [{"os": "x"}]}
    job = matrix_job(matrix, name="${{ matrix.OS }} ${{ matrix.extra }} ${{ matrix.include }}")
    assert names_missing(workflow_with(job)) == ["matrix.include"]
    assert names_missing(workflow_with({"name": "${{ matrix.os }}"})) == ["matrix.os"]
    matrix["include"].append({"${{ insert }}": "${{ vars.X }}"})
    assert names_missing(workflow_with(job)) == []


def test_inputs_and_jobs_are_declared():
    call = {
        "inputs": {"x": {"type": "string"}},
        "outputs": {"a": {"value": "${{ jobs.a.result }}"}, "b": {"value": "${{ jobs.b.x }}"}},
    }
    name = {"name": "${{ inputs.x }} ${{ inputs.y }}"}
    assert names_missing(workflow_with(name, {"workflow_call": call})) == ["jobs.b", "inputs.y"]
    dispatch = {"workflow_call": None, "workflow_dispatch": {"inputs": {"Y": {}}}}
    assert names_missing(workflow_with(name, dispatch)) == ["inputs.x"]


# --- expressions ----------------------------------------------------------------------------------


def test_parse_finds_the_names():
    expression = parse("steps.Build.outcome == 'a' && needs['x''y'].*.z[github.ref] || f(env)")
    assert expression.names == (
        Name("steps", ("build", "outcome")),
        Name("github", ("ref",)),
        Name("needs", ("x'y", ANY, "z", ANY)),
        Name("env", ()),
    )
    assert [(call.function, call.n_args) for call in expression.calls] == [("f", 1)]


@pytest.mark.parametrize("depth, fits", [(49, True), (50, False)])
def test_expressions_nest_as_deep_as_github_lets_them(depth, fits):
    text = "(" * depth + "1" + ")" * depth
    if fits:
        parse(text)
    else:
        with pytest.raises(ExpressionError, match="deeper than 50"):
            parse(text)


def test_split_closes_at_the_first_braces_outside_of_a_string():
    assert split("a ${{ b }} c ${{'}}'}}}") == ["a ", "b", " c ", "'}}'", "}"]
    assert split("${{ 'a }}") is None


# --- the interface --------------------------------------------------------------------------------


def test_check_raises_for_what_is_no_json():
    with pytest.raises(tct.EncodeError, match="not JSON"):
        tct.check("on: push")
    with pytest.raises(tct.EncodeError, match="duplicate key"):
        tct.check('{"on": 1, "on": 2}')


@pytest.mark.parametrize("document", [[], 1, None, "x", {}, {"on": None}, {"jobs": 1}])
def test_check_finds_something_in_what_is_no_workflow(document):
    assert check(document)


def test_workflows_of_the_other_tests_are_read():
    for workflow in WRITTEN:
        check(workflow)


def lint(*arguments, stdin=None):
    command = [sys.executable, "-m", "tct_github_workflow", "--check", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True)


BAD_YAML = """\
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    bananas: 1
    steps:
      - run: echo
        env: {A: "${{ steps.x.outputs.y }}"}
      - {uses: a/b@c, if: "a b"}
"""


def test_the_command_names_file_line_and_column(tmp_path):
    bad, good = tmp_path / "bad.yml", tmp_path / "good.yml"
    bad.write_text(BAD_YAML)
    good.write_text("on: push\njobs: {a: {runs-on: x}}\n")
    result = lint(good, bad)
    assert result.returncode == 1 and result.stderr == ""
    places = [line.removeprefix(str(bad)).split(" ")[:2] for line in result.stdout.splitlines()]
    assert places == [
        [":5:5", "key:"],
        [":8:18", "reference:"],
        [":9:27", "expression:"],
    ]
    assert lint(good).returncode == 0


def test_the_command_reads_json_and_standard_input(tmp_path):
    file = tmp_path / "bad.json"
    file.write_text('{"on": "push",\n\t"jobs": {"a": {"runs-on": "x", "needs": "b"}}}')
    assert ":2:" in lint(file).stdout
    assert lint("-", stdin=BAD_YAML).stdout.startswith("-:5:5 key: ")


def test_a_file_that_cannot_be_read_is_an_error_and_the_others_are_checked(tmp_path):
    (tmp_path / "bad.yml").write_text(BAD_YAML)
    (tmp_path / "torn.yml").write_text("on: [push\n")
    result = lint(tmp_path / "none.yml", tmp_path / "torn.yml", tmp_path / "bad.yml")
    assert result.returncode == 2
    assert "No such file" in result.stderr and "torn.yml: line " in result.stderr
    assert "Traceback" not in result.stderr and "reference" in result.stdout
    assert lint().returncode == 2
