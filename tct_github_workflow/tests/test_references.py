"""Names in expressions resolve: the matcher against check(), which reads a whole workflow."""

import json

import numpy as np
import pytest

import tct_github_workflow as tct
from tct_github_workflow import linear, vocab
from tct_github_workflow.alphabet import ARRAY, CLOSE, END, EOD, KEY, OBJECT

from .test_matcher import accepted_one_by_one, random_walk
from .workflows import token_ids, tokens_of

RESOLVING = ("references", "clean")  # rules under which names resolve
DISPATCH = {"workflow_dispatch": {"inputs": {"Tag": {"type": "string"}}}}
CALL = {"workflow_call": {"inputs": {"tag": {"type": "string"}, "b": {"type": "boolean"}}}}


def accepts(document, rules="references"):
    matcher = tct.Matcher(rules=rules)
    return all(map(matcher.accept_token, tokens_of(document))) and matcher.is_terminated()


def resolves(document):
    """Whether check() finds nothing; no other rule may be broken than the one on trial."""
    problems = tct.check(json.dumps(document))
    assert {problem.rule for problem in problems} <= {"reference"}, problems
    return not problems


def orders(document):
    """The document with the fields of each mapping forwards, backwards and rotated."""
    for turn in (
        lambda fields: fields,
        lambda fields: fields[::-1],
        lambda fields: fields[1:] + fields[:1],
    ):
        yield turned(document, turn)


def turned(node, turn):
    if isinstance(node, dict):
        return {key: turned(value, turn) for key, value in turn(list(node.items()))}
    return [turned(item, turn) for item in node] if isinstance(node, list) else node


def job_of(use, **fields):
    """A job that uses names in many of its places."""
    return {
        "runs-on": "x",
        "name": use.get("name", "n"),
        "outputs": {"o": use.get("outputs", "o")},
        "steps": [
            {"id": "First", "run": use.get("first", "r")},
            {"run": "r", "if": use.get("if", "true"), "id": "second"},
            {"uses": "a/b@v1", "with": {"k": use.get("with", "w")}, "id": "third"},
        ],
        **fields,
    }


STEPS = ["steps.first.x", "steps.Second", "steps['third'].x", "steps.none", "steps['none']"]
FREE = ["toJSON(steps)", "steps.*.x", "steps[github.x]", "'steps.none'", "github.steps.none"]
MATRICES = [
    {"os": ["x"]},
    {"a": [1], "include": [{"OS": 1}]},
    {"a": [1], "exclude": [{"a": 1}]},
    {"include": "${{ fromJSON(vars.x) }}"},
    {"${{ vars.x }}": [1]},
    "${{ fromJSON(vars.x) }}",
    None,
]


@pytest.mark.parametrize("place", ["outputs", "first", "if", "with"])
@pytest.mark.parametrize("used", STEPS + FREE)
def test_a_step_is_one_before_or_outside_of_the_steps_any(place, used):
    text = used if place == "if" else "a ${{ " + used + " }}"
    document = {"on": "push", "jobs": {"a": job_of({place: text})}}
    for ordered in orders(document):
        assert accepts(ordered) == resolves(ordered), ordered


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("used", ["matrix.os", "matrix.Include", "matrix['os'].x", "matrix.a"])
def test_a_matrix_has_its_keys_or_is_computed(matrix, used):
    strategy = {} if matrix is None else {"strategy": {"fail-fast": True, "matrix": matrix}}
    use = {"name": "${{ " + used + " }}", "if": used}
    for ordered in orders({"on": "push", "jobs": {"a": job_of(use, **strategy)}}):
        assert accepts(ordered) == resolves(ordered), ordered


@pytest.mark.parametrize("needs", [[], "b", ["b", "C"], ["C"]])
@pytest.mark.parametrize("used", ["needs.b", "needs.c.x", "needs['B']", "needs.a", "needs.d"])
def test_a_job_knows_the_jobs_that_it_needs(needs, used):
    job = job_of({"outputs": "${{ " + used + " }}"}, needs=needs, **{"if": used})
    jobs = {"b": {"runs-on": "x"}, "a": job, "C": {"runs-on": "x", "needs": "b"}}
    for ordered in orders({"on": "push", "jobs": jobs}):
        assert accepts(ordered) == resolves(ordered), ordered


@pytest.mark.parametrize("on", ["push", DISPATCH, CALL, {**DISPATCH, **CALL}, {"push": None}])
@pytest.mark.parametrize("used", ["inputs.tag", "inputs.B", "inputs['Tag']", "inputs.none"])
def test_inputs_are_those_of_both_events(on, used):
    text = "${{ " + used + " }}"
    document = {"on": on, "env": {"A": text}, "jobs": {"a": job_of({"if": used})}}
    for ordered in orders(document):
        assert accepts(ordered) == resolves(ordered), ordered


@pytest.mark.parametrize("used", ["jobs.a.result", "jobs.B.x", "jobs['c']", "inputs.x", "inputs.y"])
def test_a_called_workflow_puts_out_what_its_jobs_do(used):
    output = {"value": "${{ " + used + " }}"}
    default = {"type": "string", "default": "${{ inputs.y }}"}
    call = {"outputs": {"o": output}, "inputs": {"x": default, "Y": {"type": "string"}}}
    jobs = {"A": {"runs-on": "x", "needs": "b"}, "b": {"runs-on": "x"}}
    for ordered in orders({"on": {"workflow_call": call}, "jobs": jobs}):
        assert accepts(ordered) == resolves(ordered), ordered


@pytest.mark.parametrize(
    ("used", "is_clean"),
    [
        *(("needs.a.outputs.V", True), ("needs.a.outputs.w", False)),
        *(("needs.b.outputs.v", False), ("needs.c.outputs.w", True)),
        *(("needs.late.outputs.v", False), ("needs.a .outputs . v", True)),
        *(("needs.*.result", True), ("needs['a'].outputs.v", False)),
        *(("matrix.os", True), ("matrix.os.x", False), ("matrix.os .x", False)),
        *(("matrix.config.os && matrix.python", True), ("matrix.config", False)),
        ("matrix['os'] && matrix.config.v", False),
        *(("matrix.any", True), ("matrix.any.x", True), ("matrix['os']", False)),
    ],
)
@pytest.mark.parametrize("is_early", [False, True])
def test_clean_knows_outputs_and_the_kinds_of_rows(used, is_clean, is_early):
    calling = {"uses": "./.github/workflows/c.yml"}
    rows = {"os": ["x"], "config": [{"os": 1}], "any": "${{ fromJSON(vars.x) }}"}
    strategy = {"strategy": {"matrix": {**rows, "include": [{"python": 3}]}}}
    use = {"name": "${{ join(" + used + ", ',') }}"}
    fields = {**use, **strategy} if is_early else {**strategy, **use}
    job = {"needs": ["a", "b", "c", "late"], "runs-on": "x", **fields, "steps": [{"run": "x"}]}
    one = {"runs-on": "x", "outputs": {"v": "1"}, "steps": [{"run": "x"}]}
    none = {"runs-on": "x", "steps": [{"run": "x"}]}
    jobs = {"a": one, "b": none, "c": calling, "j": job, "late": one}
    document = {"on": "push", "jobs": jobs}
    assert resolves(document) and accepts(document)
    assert (tct.check(json.dumps(document), with_advice=True) == []) == is_clean
    assert accepts(document, "clean") == is_clean


def test_a_member_of_a_row_that_is_written_is_one_of_a_mapping_in_it():
    strategy = {"matrix": {"a": [{"b": 1}, {"C": 1}]}}
    for use, is_clean in (("matrix.a.c", True), ("matrix.a.d", False)):
        fields = {"strategy": strategy, "name": "${{ " + use + " }}"}
        job = {"runs-on": "x", **fields, "steps": [{"run": "x"}]}
        document = {"on": "push", "jobs": {"j": job}}
        assert (tct.check(json.dumps(document), with_advice=True) == []) == is_clean
        assert accepts(document, "clean") == is_clean


def test_masks_equal_brute_force_in_a_row_of_a_matrix():
    strategy = {"matrix": {"os": ["3.9", "main", "é", "ubuntu-latest"]}}
    begun = {"on": "push", "jobs": {"j": {"name": "${{ matrix.a.b }}", "strategy": strategy}}}
    ids = tokens_of(begun)
    for n in range(len(ids) - 12, len(ids) - 3):
        matcher = tct.Matcher(ids[:n], "clean")
        for budget in (None, matcher.min_tokens() + 2):
            mask = matcher.next_token_mask(tokens_left=budget)
            np.testing.assert_array_equal(mask, accepted_one_by_one(matcher, budget))


def test_masks_equal_brute_force_where_a_row_holds_the_empty_string():
    job = {"strategy": {"matrix": {"os": [""]}}}
    begun = linear.linearise({"on": "push", "jobs": {"j": job}}).rstrip(CLOSE + EOD)
    matcher = tct.Matcher(vocab.encode_symbols(begun), "clean")
    np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))


@pytest.mark.parametrize(
    "begun", ["matrix.", "matrix.con", "matrix.config", "matrix.os", "matrix.r"]
)
@pytest.mark.parametrize("is_early", [False, True])
def test_masks_equal_brute_force_where_a_row_is_named(begun, is_early):
    """Of a row of texts no member is read, and nothing but a member of a row with mappings."""
    rows = {"config": [{"os": 1}], "os": ["a"], "release": "${{ fromJSON(vars.A) }}"}
    strategy = {} if is_early else {"strategy": {"matrix": rows}}
    use = {"name": "${{ matrix.config.os }}${{ matrix.os }}"}
    document = {"on": "push", "jobs": {"j": {"runs-on": "x", **strategy, **use}}}
    ids = vocab.encode_symbols(linear.linearise(document).rstrip(END + CLOSE + EOD))
    matcher = tct.Matcher(ids, "clean")
    assert accept_text(matcher, "${{ " + begun)
    for budget in (None, matcher.min_tokens()):
        mask = matcher.next_token_mask(tokens_left=budget)
        np.testing.assert_array_equal(mask, accepted_one_by_one(matcher, budget))


def test_the_other_rules_ask_for_no_names():
    document = {"on": "push", "jobs": {"a": job_of({"first": "${{ steps.x }} ${{ inputs.y }}"})}}
    assert accepts(document, "github") and accepts(document, "schema")
    assert not accepts(document)


# --- masks and budgets ----------------------------------------------------------------------------
USED = "${{ steps.second.outcome }} ${{ matrix.os }} ${{ needs.b.result }} ${{ inputs.tag }}"
WHOLE = {
    "on": {**DISPATCH, "workflow_call": {"outputs": {"o": {"value": "${{ jobs.b.result }}"}}}},
    "run-name": "${{ inputs.tag }}",
    "jobs": {
        "a": job_of(
            {
                "outputs": USED,
                "with": USED,
                "if": "matrix['os'] && steps.first.outcome == needs.b.result",
            },
            needs=["b"],
            strategy={"matrix": {"config": [{"os": 1}], "include": [{"os": 1}]}},
        ),
        "b": {
            "runs-on": "x",
            "environment": {"name": "e", "url": "${{ steps.x.outcome }}"},
            "steps": [],
        },
    },
}
WHOLE["jobs"]["b"]["steps"] = [{"run": "r", "id": "x"}]
WHOLE_OF = {
    "references": WHOLE,
    "clean": json.loads(json.dumps(WHOLE).replace("matrix['os']", "matrix.config.os")),
}


def beginnings(seed, n, rules="references"):
    """n (matcher, ids) somewhere within a workflow whose names resolve, keys in any order."""
    rng = np.random.default_rng(seed)
    whole = WHOLE_OF[rules]
    while n:
        document = turned(whole, lambda fields: [fields[i] for i in rng.permutation(len(fields))])
        ids = tokens_of(document)
        ids = ids[: rng.integers(len(ids))]
        matcher = tct.Matcher(ids, rules)
        if matcher.threads[0].names.pending:
            yield matcher, ids
            n -= 1


def accept_text(matcher, text):
    spelled = token_ids()
    return all(matcher.accept_token(spelled[char.encode()]) for char in text)


@pytest.mark.parametrize("rules", RESOLVING)
def test_masks_equal_brute_force_where_names_are_wanted(rules):
    for matcher, _ in beginnings(seed=0, n=8, rules=rules):
        for budget in (None, matcher.min_tokens() + 2):
            mask = matcher.next_token_mask(tokens_left=budget)
            np.testing.assert_array_equal(mask, accepted_one_by_one(matcher, budget))


@pytest.mark.parametrize(
    "text", ["${{ steps.", "${{needs.b", "${{ matrix .o", "${{ inputs['t", "${{ ste", "${{ jobs ["]
)
@pytest.mark.parametrize("rules", RESOLVING)
def test_masks_equal_brute_force_after_a_dot_and_within_a_name(text, rules):
    n_tried = 0
    for matcher, _ in beginnings(seed=len(text), n=60, rules=rules):
        if accept_text(matcher, text) and n_tried < 2:
            n_tried += 1
            np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))
    assert n_tried or "jobs" in text


@pytest.mark.parametrize(
    "job",
    [
        {"steps": [{"run": "x", "id": "b"}]},
        {"needs": ["c", "b"]},
        {"needs": ["b"]},
        {"strategy": {"matrix": {"a": [1]}}, "name": "x"},
    ],
)
@pytest.mark.parametrize("rules", RESOLVING)
def test_masks_equal_brute_force_after_a_name_is_given(job, rules):
    """No step uses its own id; `needs` names no job twice; a matrix has no further keys."""
    begun = linear.linearise(
        {"jobs": {"b": {"runs-on": "x", "steps": [{"run": "x"}]}, "j": job}}
    ).rstrip(CLOSE + EOD)
    matcher = tct.Matcher(vocab.encode_symbols(begun), rules)
    np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))


def test_masks_equal_brute_force_where_a_name_ends_or_a_longer_one_begins():
    """`job` must not stand here, `jobs` may."""
    begun = {"on": {"workflow_call": {"outputs": {"o": {"value": "${{ job"}}}}}
    begun = linear.linearise(begun).rstrip(END + CLOSE + EOD)
    matcher = tct.Matcher(vocab.encode_symbols(begun), "references")
    np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))


def test_masks_equal_brute_force_where_needs_may_name_a_job_that_is_wanted():
    outputs = {"o": {"value": "${{ jobs.release.result }}"}}
    begun = {"on": {"workflow_call": {"outputs": outputs}}, "jobs": {"j": {"needs": ["a"]}}}
    matcher = tct.Matcher(vocab.encode_symbols(linear.linearise(begun).rstrip(CLOSE + EOD)))
    budget = matcher.min_tokens() + 3
    mask = matcher.next_token_mask(tokens_left=budget)
    np.testing.assert_array_equal(mask, accepted_one_by_one(matcher, budget))


@pytest.mark.parametrize(
    "job",
    [
        {"steps": [{"uses": "a/b@v1", "with": {}}]},
        {"strategy": {"matrix": {"os": [1]}}},
        {"strategy": {"matrix": {}}},
        {"needs": ["pu"]},
    ],
)
@pytest.mark.parametrize("rules", RESOLVING)
def test_masks_equal_brute_force_where_needs_is_any_key_and_a_constant_is_begun(job, rules):
    begun = linear.linearise({"jobs": {"test": job}}).rstrip(END + CLOSE + EOD)
    matcher = tct.Matcher(vocab.encode_symbols(begun), rules)
    np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))


def test_needs_alone_names_no_other_job_than_the_one_that_is_wanted():
    begun = linear.linearise({"jobs": {"j": {"name": "${{needs.b}}"}}}).rstrip(CLOSE + EOD)
    matcher = tct.Matcher(vocab.encode_symbols(begun + KEY["needs"]), "references")
    np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))


def test_a_key_of_the_matrix_does_not_count_as_the_job_that_is_promised():
    job = {"needs": ["abc"], "strategy": {"matrix": {}}}
    begun = linear.linearise({"on": "push", "jobs": {"j": job}}).rstrip(CLOSE + EOD) + "ab"
    matcher = tct.Matcher(vocab.encode_symbols(begun))
    n = matcher.min_tokens()
    assert len(random_walk(np.random.default_rng(6), matcher, n)) <= n


def test_a_key_of_the_matrix_that_no_dot_can_read_is_no_way_out():
    job = {"strategy": {"matrix": {"386": [1]}}, "runs-on": "${{ matrix"}
    begun = linear.linearise({"jobs": {"j": job}}).rstrip(END + CLOSE + EOD)
    matcher = tct.Matcher(vocab.encode_symbols(begun), "clean")
    assert not matcher.accept_token(token_ids()[b"."])


@pytest.mark.parametrize("rules", RESOLVING)
def test_whatever_the_budget_all_names_resolve_in_the_end(rules):
    rng = np.random.default_rng(3)
    for matcher, ids in beginnings(seed=3, n=30, rules=rules):
        budget = matcher.min_tokens() + int(rng.integers(20)) * int(rng.integers(2))
        more = random_walk(rng, matcher, budget)
        assert len(more) <= budget
        text, consumed, total = tct.decode(ids + more)
        assert consumed == total
        assert tct.check(text, with_advice=rules == "clean") == []


@pytest.mark.parametrize(
    ("begun", "symbols"),
    [
        ({"jobs": {"j": {"outputs": {"o": "${{steps."}}}}, [KEY["steps"], KEY["id"], KEY["run"]]),
        ({"jobs": {"j": {"name": "${{needs."}}}, [KEY["needs"], KEY["runs-on"]]),
        ({"jobs": {"j": {"name": "${{matrix."}}}, [KEY["strategy"], KEY["matrix"], "$", "{"]),
        ({"name": "n", "env": {"A": "${{inputs."}}, [KEY["on"], KEY["inputs"], KEY["type"]]),
    ],
)
@pytest.mark.parametrize("rules", RESOLVING)
def test_no_way_leads_to_a_dead_end(begun, symbols, rules):
    """Beginnings over a small alphabet: all of them can be completed within min_tokens()."""
    rng = np.random.default_rng(4)
    alphabet = [token_ids()[symbol.encode()] for symbol in [*"ab}", END, *symbols]]
    alphabet += [token_ids()[symbol.encode()] for symbol in (OBJECT, ARRAY, CLOSE)]
    first = vocab.encode_symbols(linear.linearise(begun).rstrip(END + CLOSE + EOD))
    todo = [(tct.Matcher(first, rules), first)]
    n_tried = 0
    while todo and n_tried < 600:
        matcher, ids = todo.pop(rng.integers(len(todo)))
        n_tried += 1
        if rng.random() < 0.05:
            more = random_walk(rng, matcher.fork(), matcher.min_tokens())
            assert tct.check(tct.decode(ids + more)[0], with_advice=rules == "clean") == []
        for token in alphabet:
            after = matcher.fork()
            if after.accept_token(token):
                todo.append((after, [*ids, token]))
    assert n_tried > 100
