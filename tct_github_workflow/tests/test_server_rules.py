"""Rules of GitHub's servers that its parser does not know: the matcher against check()."""

import json

import numpy as np
import pytest

import tct_github_workflow as tct
from tct_github_workflow import json_text, linear, vocab
from tct_github_workflow.alphabet import CLOSE, END, EOD

from .test_matcher import accepted_one_by_one, random_walk
from .test_references import accepts, orders, turned
from .workflows import token_ids

RULES = ("github", "references", "clean")


def with_matrix(matrix):
    job = {"runs-on": "x", "strategy": {"matrix": matrix}, "steps": [{"run": "r"}]}
    return {"on": "push", "jobs": {"a": job}}


def is_valid(document, is_clean=False):
    return not tct.check(json_text.dump_json(document), with_advice=is_clean)


def assert_accepted_as_checked(document, n_orders):
    """All rules say of a document what check() says, whatever the order of its keys."""
    for i, ordered in enumerate(orders(document)):
        if i < n_orders:
            assert accepts(ordered, "github") == is_valid(ordered), ordered
            assert accepts(ordered, "references") == is_valid(ordered), ordered
            assert accepts(ordered, "clean") == is_valid(ordered, is_clean=True), ordered


# --- what a matrix excludes -----------------------------------------------------------------------
COMPUTED = "${{ fromJSON(vars.x) }}"
MATRICES = [
    {"os": [1], "exclude": [{"OS": 1}]},
    {"os": [1], "exclude": [{"x": 1}]},
    {"os": [1], "name": [2], "exclude": [{"os": 1, "NAME": 2}, {"name": 1}]},
    {"os": [1], "include": [{"x": 1}], "exclude": [{"x": 1}]},
    {"os": [1], "include": [{"x": 1}], "exclude": [{"include": 1}]},
    {"Include": [1], "exclude": [{"include": 1}]},
    {"os": [1], "exclude": [{"os": {"x": [{"y": 1}]}}]},
    {"É": [1], "exclude": [{"é": 1}]},
    {"os": [1], "exclude": [{}]},
    {"exclude": [{"os": 1}]},
    {"exclude": COMPUTED},
    {"os": [1], "exclude": COMPUTED},
    {"os": COMPUTED, "exclude": [{"x": 1}]},
    {"os": [f"a {COMPUTED} b"], "exclude": [{"x": 1}]},
    {"os": ["${{ 'a' }}"], "exclude": [{"x": 1}]},
    {"os": ["${{ 'a' }} b"], "exclude": [{"x": 1}]},
    {"os": [{"a": [COMPUTED]}], "exclude": [{"x": 1}]},
    {"os": [{COMPUTED: 1}], "exclude": [{"x": 1}]},
    {COMPUTED: [1], "exclude": [{"x": 1}]},
    {"os": [1], "exclude": [{"x": 1, "os": COMPUTED}]},
    {"os": [1], "exclude": [{COMPUTED: 1, "x": 1}]},
    {"os": [1], "include": [{"x": COMPUTED}], "exclude": [{"x": 1}]},
]


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_matrix_excludes_its_own_keys(matrix):
    assert_accepted_as_checked(with_matrix(matrix), n_orders=3)


def test_another_job_has_another_matrix():
    jobs = with_matrix({"os": [1]})["jobs"] | {
        "b": with_matrix({"exclude": [{"os": 1}]})["jobs"]["a"]
    }
    jobs["b"]["strategy"]["matrix"]["a"] = [1]
    assert_accepted_as_checked({"on": "push", "jobs": jobs}, n_orders=3)


MATRIX = {
    "os": ["a", f"b {COMPUTED}", "${{ 'c' }}"],
    "name": [["x"]],
    "include": [{"os": 1}],
    "exclude": [{"OS": 1, "name": {"y": 1}}, {"push": 2}],
    "push": ["push"],
}


def spelled_ids(text):
    """A linearised string as tokens of a byte or symbol each."""
    ids = token_ids()
    found = []
    for char in text:
        is_symbol = char.encode() in ids
        found += [ids[char.encode()]] if is_symbol else [ids[bytes([b])] for b in char.encode()]
    return found


def beginnings(rng, n):
    """n (matcher, ids, is_clean) within a matrix, its keys in any order, some of them left out."""
    while n:
        keys = [key for key in MATRIX if rng.random() < 0.8]
        matrix = {key: MATRIX[key] for key in keys}
        document = turned(with_matrix(matrix), lambda f: [f[i] for i in rng.permutation(len(f))])
        string = linear.linearise(document)
        ids = spelled_ids(string) if rng.random() < 0.5 else vocab.encode_symbols(string)
        ids = ids[: rng.integers(len(ids))]
        rules = RULES[rng.integers(3)]
        try:
            matcher = tct.Matcher(ids, rules)
        except tct.DecodeError:  # keys that are excluded were left out
            continue
        if matcher.threads[0].names.rows is not None:
            yield matcher, ids, rules == "clean"
            n -= 1


def test_masks_equal_brute_force_within_a_matrix():
    rng = np.random.default_rng(0)
    for matcher, _, _ in beginnings(rng, 8):
        for budget in (None, matcher.min_tokens() + int(rng.integers(12))):
            mask = matcher.next_token_mask(tokens_left=budget)
            np.testing.assert_array_equal(mask, accepted_one_by_one(matcher, budget))


def test_whatever_the_budget_a_matrix_excludes_its_own_keys():
    rng = np.random.default_rng(1)
    for matcher, ids, is_clean in beginnings(rng, 25):
        budget = matcher.min_tokens() + int(rng.integers(20))
        more = random_walk(rng, matcher, budget)
        assert len(more) <= budget
        problems = tct.check(tct.decode(ids + more)[0], with_advice=is_clean)
        assert {problem.rule for problem in problems} <= {"reference"}


# --- the name of a group --------------------------------------------------------------------------
GROUPS = [
    "",
    "g" * 400,
    "g" * 401,
    "😀" * 400,
    "😀" * 401,
    "\ue000" * 400,
    "\ue000" * 401,
    "${{ '' }}",
    "${{ '" + "g" * 399 + "''' }}",
    "${{ '" + "g" * 400 + "''' }}",
    "${{ '" + "g" * 401 + "' }}g",
    "g" * 401 + "${{ github.ref }}",
]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("is_mapping", [False, True])
def test_a_group_has_up_to_400_characters_or_is_computed(group, is_mapping):
    concurrency = {"group": group} if is_mapping else group
    document = with_matrix({"os": [1]})
    assert_accepted_as_checked({"concurrency": concurrency, **document}, n_orders=1)
    document["jobs"]["a"]["concurrency"] = concurrency
    assert_accepted_as_checked(document, n_orders=1)


@pytest.mark.parametrize(
    "begun",
    [
        "g" * 380,
        "g" * 400,
        "g" * 401,
        "é" * 399 + "${",
        "${{ '" + "g" * 397,
        "${{'" + "g" * 401 + "'",
    ],
)
def test_masks_equal_brute_force_where_a_group_is_long(begun):
    rng = np.random.default_rng(len(begun))
    string = linear.linearise({"on": "push", "concurrency": begun}).rstrip(END + EOD)
    matcher = tct.Matcher(vocab.encode_symbols(string), RULES[rng.integers(3)])
    for budget in (None, matcher.min_tokens() + int(rng.integers(8))):
        mask = matcher.next_token_mask(tokens_left=budget)
        np.testing.assert_array_equal(mask, accepted_one_by_one(matcher, budget))
    random_walk(rng, matcher, matcher.min_tokens())
    assert matcher.is_terminated()


# --- nesting --------------------------------------------------------------------------------------
def test_no_more_levels_than_github_reads():
    def nested(depth):
        return with_matrix({"os": [json.loads("[" * depth + "]" * depth)]})

    for depth in (40, 41, 42, 43):
        document = nested(depth)
        assert accepts(document, "github") == is_valid(document), depth
    begun, _, _ = linear.linearise(nested(40)).partition(CLOSE)
    matcher = tct.Matcher(vocab.encode_symbols(begun), "github")
    np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))
