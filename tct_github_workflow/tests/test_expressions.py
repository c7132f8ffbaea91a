"""Strings with expressions: what GitHub's parser says of them, byte by byte and token by token."""

import json
import random
from itertools import product
from pathlib import Path

import pytest

from tct_github_workflow.automaton import FAR
from tct_github_workflow.codec import encode
from tct_github_workflow.cron import cron_lines
from tct_github_workflow.expression_parser import OPEN, split
from tct_github_workflow.expressions import MAX_DEPTH, ExpressionText
from tct_github_workflow.matcher import Matcher
from tct_github_workflow.oddities import oddities
from tct_github_workflow.rules import expression_text, github_rules
from tct_github_workflow.text_costs import text_costs
from tct_github_workflow.token_table import token_table
from tct_github_workflow.utf8 import DEAD

CASES = json.loads((Path(__file__).parent / "expressions.json").read_text())
AUTOMATA = {
    "text": [expression_text("step-name", "text")],
    "some": [expression_text("string-strategy-context", "some")],
    "has": [expression_text("step-name", "has")],
    "if": [expression_text("step-if", "bare"), expression_text("step-if", "has")],
}
CLEAN = {
    "text": [expression_text("step-name", "text", is_clean=True)],
    "some": [expression_text("string-strategy-context", "some", is_clean=True)],
    "has": [expression_text("step-name", "has", is_clean=True)],
    "if": [expression_text("step-if", kind, is_clean=True) for kind in ("bare", "has")],
}
# GitHub's parser reads the string in `if: ${{ 'x' }}` as a condition, here an empty one
DIFFERENT = {("if", "${{'' }}"), ("if", "${{ '' }}")}


def accepts(kind, text, automata=AUTOMATA):
    return any(automaton.accepts(text) for automaton in automata[kind])


@pytest.mark.parametrize("verdict", ["accepted", "refused"])
def test_accepts_what_githubs_parser_accepts(verdict):
    """3,000 of the 60,000 that were compared: made by a grammar, half of them damaged."""
    different = []
    for kind, text in CASES[verdict]:
        if accepts(kind, text) != (verdict == "accepted"):
            different.append((kind, text))
    assert set(different) <= DIFFERENT


def test_clean_expressions_are_those_in_which_nothing_is_odd():
    n_odd = 0
    for kind, text in CASES["accepted"]:
        if not accepts(kind, text):
            continue
        expressions = split(text)[1::2]
        if kind == "if" and OPEN not in text and text.strip():
            expressions = [text.strip()]
        odd = [oddities(expression) for expression in expressions]
        assert accepts(kind, text, CLEAN) == (not any(odd)), (text, odd)
        n_odd += any(odd)
    assert n_odd > 100


@pytest.mark.parametrize(
    ("text", "is_odd"),
    [
        ("always().x", True),
        ("fromJSON(env.A)[0].x && (github.event.x.y)", False),
        ("(github).sha", True),
        ("github.shaa", True),
        ("github . SHA == 'x'", False),
        ("GitHub.sha", True),
        ("tojson(github) || toJson(env)", False),
        ("toJSON(1 && github)", False),
        ("toJSON((github))", True),
        ("steps || needs || 1", False),
        ("needs.a && 1", False),
        ("needs.a", True),
        ("!needs.a.outputs", True),
        ("contains(needs.*.result, 'x')", False),
        ("steps.*.outcome", True),
        ("needs.*.result == 'x'", True),
        ("needs.*.result || 1", False),
        ("contains('a', needs.*.result)", True),
        ("join(github.event.labels.*.name, ',')", False),
        ("toJSON(github.event.x.*)", False),
        ("github.event.x.*.* || 1", True),
        ("github.event.x[*] || 1", True),
        ("env.A == 'a}}'", True),
        ("env.A == '{a} }'", False),
        ("needs.a.*", True),
        ("env.*", True),
        ("contains(env.A && 1 == 1, 'x')", True),
        ("contains(env.A == 1, 'x')", True),
        ("startsWith(!env.A, 'x')", True),
        ("endsWith(1, 'x')", True),
        ("endsWith('x', 1)", True),
        ("contains('x', env.A == 'x')", True),
        ("contains('x', env.A || 'x')", False),
        ("vars.a-b", True),
        ("fromJSON((env.A))", True),
        ("hashFiles(contains('a', 'b'))", True),
        ("env[format('{0}', 1)]", False),
        ("env[1]", True),
        ("env[env.A == 1]", True),
        ("github.event.x[1 == 1]", False),
        ("TOJSON(github)", True),
        ("steps == 1", True),
        ("matrix.os == 1", False),
        ("env.A > env.B", True),
        ("env.A >= 'x'", True),
        ("contains(env.A, 'x',)", True),
        ("github['sha'].x", True),
        ("github.sha['x']", True),
        ("steps.a.outputs.b && needs.a.result", False),
        ("steps.a.output", True),
        ("steps.a.outputs.b.c", True),
        ("env.A < 3 == true", True),
        ("(env.A != 3) == true && env.A == 0.5", False),
        ("1e9", True),
        ("08", True),
        ("NaN", True),
        ("join(env.A)", True),
        ("case(true, 1, 2)", True),
    ],
)
def test_what_is_odd(text, is_odd):
    assert accepts("if", text)
    assert bool(oddities(text)) == is_odd
    assert accepts("if", text, CLEAN) != is_odd


@pytest.mark.parametrize(
    ("place", "kind", "accepted", "refused"),
    [
        ("step-if", "bare", ["", " ", "GITHUB.ref", "Always()"], ["secrets.x", "if", "a", "!"]),
        ("job-if", "bare", ["success('a', 'b')", "needs.a"], ["steps.a", "'${{'", "${{ 1 }}"]),
        ("job-if", "has", ["${{ 1 }}", " ${{ needs }}!"], ["", "needs", "${{ 'a' }}", "${{ 1"]),
        ("run-name", "text", ["", "a ${{ vars.a }}", "$${ {{"], ["${{ env.a }}", "${{ }}"]),
        ("step-name", "some", ["x", "${{ '' }} "], ["", "${{ '' }}", "${{ ''}"]),
        (
            "step-name",
            "whole",
            ["${{ 1 }}", "${{ '' }}${{1}}"],
            ["", "x", "${{ 1 }} ", "${{ '' }}"],
        ),
        ("step-name", "one", ["${{ 1 }}", "${{ 'a' && 1 }}"], ["${{ 'a' }}", "${{1}}${{1}}"]),
        ("step-name", "text", ["${{ hashFiles('a') }}"], ["${{ hashFiles() }}", "${{ always() }}"]),
    ],
)
def test_places_and_kinds(place, kind, accepted, refused):
    place = {"run-name": "workflow-call-input-default"}.get(place, place)
    automaton = expression_text(place, kind)
    assert [text for text in accepted if not automaton.accepts(text)] == []
    assert [text for text in refused if automaton.accepts(text)] == []


@pytest.mark.parametrize(
    "nested",
    [
        lambda n: "(" * n + "1" + ")" * n,
        lambda n: "!" * n + "1",
        lambda n: "github" + ".a" * n,
        lambda n: "github[" * n + "1" + "]" * n,
        lambda n: "github" + ".*" * n,
    ],
)
def test_nesting_ends_at_githubs_limit(nested):
    text = expression_text("step-name", "text")
    assert text.accepts("${{" + nested(MAX_DEPTH - 1) + "}}")
    assert not text.accepts("${{" + nested(MAX_DEPTH) + "}}")


def test_operators_count_as_nesting():
    """GitHub's parser is one level deeper to the right of && and of ||."""
    text = expression_text("step-name", "text")
    room = "(" * (MAX_DEPTH - 3) + "%s" + ")" * (MAX_DEPTH - 3)
    assert text.accepts("${{" + room % "1 || 1 && 1 == (1)" + "}}") is False
    assert text.accepts("${{" + room % "(1) == 1 || 1 && 1" + "}}") is True
    assert text.accepts("${{" + room % "1 || 1 && !1" + "}}") is False


def random_states(n, seed):
    """n (automaton, text, state): beginnings of texts that GitHub's parser accepts."""
    choose = random.Random(seed)
    found = []
    while len(found) < n:
        kind, text = choose.choice(CASES["accepted"])
        automaton = choose.choice(AUTOMATA[kind] + CLEAN[kind])
        begun = text.encode()[: choose.randrange(len(text) + 1)]
        state = automaton.run(automaton.start, begun)
        if state != DEAD:
            found.append((automaton, begun, state))
    return found


def deep_states():
    """The same near the limit of nesting, where it alone decides."""
    automaton = expression_text("step-name", "text")
    for n in range(MAX_DEPTH - 4, MAX_DEPTH):
        for end in ("", "'a", "1 &", "github", "format(", "contains('a',"):
            begun = ("${{" + "(" * n + end).encode()
            state = automaton.run(automaton.start, begun)
            if state != DEAD:
                yield automaton, begun, state


def test_a_byte_brings_the_end_nearer_by_one_and_some_byte_does():
    for automaton, begun, state in [*random_states(150, seed=1), *deep_states()]:
        left = automaton.bytes_to_end[state]
        while left:
            after = {}
            for byte in range(256):
                state_after = automaton.run(state, bytes([byte]))
                if state_after != DEAD:
                    after[byte] = state_after
            costs = {byte: automaton.bytes_to_end[after[byte]] for byte in after}
            byte = min(costs, key=costs.get)
            if automaton.expressions.syntax.is_strict:  # how a context goes on depends on names
                assert costs[byte] < left, begun
            else:
                assert costs[byte] == left - 1, begun
            begun += bytes([byte])
            state, left = after[byte], costs[byte]
        assert automaton.accepts(begun.decode())


def test_all_texts_at_once_is_each_text_by_itself():
    for automaton, begun, state in [*random_states(25, seed=2), *list(deep_states())[::2]]:
        costs = text_costs(automaton, state)
        for text, cost in zip(token_table().texts, costs.to_end.tolist(), strict=True):
            after = automaton.run(state, text)
            wanted = FAR if after == DEAD else automaton.bytes_to_end[after]
            assert min(cost, FAR) == wanted, (begun, text)


@pytest.mark.parametrize("is_clean", [False, True])
@pytest.mark.parametrize(
    ("kind", "start", "alphabet", "length"),
    [
        ("bare", "", "1!()=", 6),
        ("bare", "format(", "1,)'", 6),
        ("bare", "join(", "1,)'", 6),
        ("text", "${{ ", "1'}x", 5),
        ("text", "${{ toJSON(needs", ")}|1.", 5),
        ("has", "", "${1'}", 7),
        ("whole", "${{", "'}1", 6),
    ],
)
def test_a_beginning_is_refused_if_and_only_if_nothing_completes_it(
    kind, start, alphabet, length, is_clean
):
    automaton = expression_text("step-if", kind, is_clean)
    texts = []
    for n in range(length + 1):
        texts += [start + "".join(end) for end in product(alphabet, repeat=n)]
    completed = set()
    for text in texts:
        if automaton.accepts(text):
            completed.update(text[:i] for i in range(len(start), len(text) + 1))
    for text in texts:
        state = automaton.run(automaton.start, text.encode())
        if state == DEAD:
            assert text not in completed
        elif text not in completed:  # longer ones complete it, or other characters
            assert automaton.bytes_to_end[state] > 0


@pytest.mark.parametrize(
    ("key", "is_accepted"),
    [("${{ matrix.tool }}", True), ("a${{ 1 }}", True), ("${{ nope }}", False), ("${{", False)],
)
def test_keys_may_hold_expressions_where_the_place_has_some(key, is_accepted):
    """One of 18,660 real workflows has such a key, in `with`."""
    step = {"uses": "a/b@v1", "with": {key: "x"}}
    job = {"runs-on": "x", "steps": [step]}
    ids = encode(json.dumps({"on": "push", "jobs": {"a": job}}))
    matcher = Matcher(rules="github")
    assert all(matcher.accept_token(token) for token in ids) == is_accepted


def test_contexts_beyond_those_of_github_are_possible():
    text = ExpressionText(["Own"], {"mine": (1, 2)}, "text")
    assert text.accepts("${{ own.a[mine(1, 2)] }}")
    assert not text.accepts("${{ github }}")


def test_the_rules_say_where_they_come_from():
    origin = github_rules()["origin"]
    assert origin["package"] == "@actions/workflow-parser"
    assert origin["license"] == "MIT" and "Permission is hereby granted" in origin["notice"]


def test_cron():
    lines = cron_lines()
    for line in (
        "* * * * *",
        "*/5 1-5,7 1 jan-MAR mon",
        "0 0  * * *",
        "05 4 * * 0-6/2",
        "1-1 0 1 1 0",
    ):
        assert lines.accepts(line), line
    for line in (
        "",
        "* * * *",
        "60 * * * *",
        "5-3 * * * *",
        "*/0 * * * *",
        "1/2/3 * * * *",
        "* * 0 * *",
    ):
        assert not lines.accepts(line), line
    for line in ("0 0 * * 7", "0 0 * 13 *", "0 0 * * mo", "0 0 * * *-3", "0 0 * * 1,", "@daily"):
        assert not lines.accepts(line), line
