"""The matcher against validators of both rules, both ways, and its masks against brute force."""

import itertools
import json
import re

import numpy as np
import pytest

import tct_github_workflow as tct
from tct_github_workflow import alphabet, json_text, linear, vocab
from tct_github_workflow.schema import validator

from .workflows import corpus, token_ids, tokens_of, written


@pytest.fixture(params=["schema", "github", "references", "clean"])
def rules(request):
    return request.param


@pytest.fixture(params=["written", "corpus"])
def texts(request, rules):
    """JSON texts of workflows that are valid under the rules."""
    found = written() if request.param == "written" else corpus(300)
    return [text for text in found if is_valid(json.loads(text), rules)]


def is_valid(document, rules):
    """What a validator says, or check(), which reads GitHub's rules in another way."""
    if rules == "schema":
        return validator.is_valid(document)
    found = {p.rule for p in tct.check(json_text.dump_json(document), rules == "clean")}
    return found <= {"reference"} if rules == "github" else not found


def accepts(document, rules):
    """Whether the matcher takes all of a document's canonical tokens and is at the end then."""
    matcher = tct.Matcher(rules=rules)
    return all(map(matcher.accept_token, tokens_of(document))) and matcher.is_terminated()


def accepted_one_by_one(matcher, tokens_left=None):
    """What the mask should be, by brute force."""
    taken = [matcher.fork().accept_token(i, tokens_left) for i in range(tct.vocab_size())]
    return np.array(taken)


def random_walk(rng, matcher, tokens_left, check=0.0):
    """Uniform choice among the allowed ids until the end -> ids.

    With probability `check` a mask is compared with brute force.
    """
    ids = []
    while not matcher.is_terminated():
        mask = matcher.next_token_mask(tokens_left=tokens_left)
        assert mask.any(), (ids, tokens_left, matcher.min_tokens())
        if rng.random() < check:
            np.testing.assert_array_equal(mask, accepted_one_by_one(matcher, tokens_left))
            np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))
        token = int(rng.choice(np.flatnonzero(mask)))
        assert matcher.accept_token(token, tokens_left)
        ids.append(token)
        tokens_left -= 1
    return ids


def test_every_token_of_a_valid_workflow_is_accepted_and_the_end_is_the_end(texts, rules):
    for text in texts:
        matcher = tct.Matcher(rules=rules)
        for token in tct.encode(text):
            assert not matcher.is_terminated()
            assert matcher.min_tokens() > 0
            assert matcher.accept_token(token), text[:200]
        assert matcher.is_terminated()
        assert matcher.min_tokens() == 0
        assert not matcher.next_token_mask().any()
        assert not matcher.accept_token(0)


def test_keys_may_come_in_any_order(rules):
    fields = {"runs-on": "x", "steps": [{"run": "a"}], "needs": "b", "if": True}
    other = {"runs-on": "x", "steps": [{"run": "a"}]}
    for order in itertools.permutations(fields):
        job = {key: fields[key] for key in order}
        assert accepts({"jobs": {"j": job, "b": other}, "on": "push"}, rules)
    for order in itertools.permutations(["run", "shell", "working-directory", "name"]):
        job = {"runs-on": "x", "steps": [dict.fromkeys(order, "v {0}")]}
        assert accepts({"on": "push", "jobs": {"j": job}}, rules)


# --- mutated workflows ---------------------------------------------------------------------------
NAMES = [*alphabet.KEYS, *alphabet.CONSTANTS, "x", "", "a b", "include", "9"]
ODD_VALUES = [
    *(None, True, 0, -1.5, "", "push", "read", "${{ x }}", "${{ x }", "a/b.yml@v1", "1.2"),
    *([], [[]], ["a"], [None]),
    *({}, {"a": 1}, {"types": "x"}, {"image": "i"}, {"run": "x"}, {"group": "g"}),
    {"matrix": {"a": []}},
]


# GitHub reads a field that is missing beside a blank as 0; the matcher wants five fields
HALF_CRON = re.compile('"cron":"( [^"]*|[^"]* )"')


def pick(rng, options):
    return options[rng.integers(len(options))]


def places_in(node):
    """[(container, key or index)] of all values in a document."""
    found = []
    if isinstance(node, (dict, list)):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            found.append((node, key))
            found += places_in(node[key])
    return found


def rename(rng, node, key):
    if isinstance(node, dict):
        fields = list(node.items())
        node.clear()
        for k, v in fields:
            node[pick(rng, NAMES) if k == key else k] = v


def add(rng, node, key):
    if isinstance(node, dict):
        node[pick(rng, NAMES)] = pick(rng, ODD_VALUES)


def drop(rng, node, key):
    del node[key]


def replace(rng, node, key):
    node[key] = pick(rng, ODD_VALUES)


def misspell(rng, node, key):
    if isinstance(node[key], str):
        node[key] = node[key][:-1] if rng.random() < 0.5 else node[key] + "s"


def empty(rng, node, key):
    if isinstance(node[key], (dict, list)):
        node[key].clear()


def mutations(rng, document, n=20):
    """Copies of a document, each with one thing changed."""
    for _ in range(n):
        copy = json.loads(json.dumps(document))
        change = pick(rng, [drop, replace, rename, add, misspell, empty])
        change(rng, *pick(rng, places_in(copy)))
        yield copy


def test_mutated_workflows_are_accepted_exactly_when_they_are_valid(texts, rules):
    rng = np.random.default_rng(0)
    counts = {True: 0, False: 0}
    for text in texts:
        for copy in mutations(rng, json.loads(text)):
            if HALF_CRON.search(json_text.dump_json(copy)):
                continue
            valid = is_valid(copy, rules)
            counts[valid] += 1
            assert accepts(copy, rules) == valid, json_text.dump_json(copy)
    assert min(counts.values()) > 5, counts


# --- masks ---------------------------------------------------------------------------------------
def test_a_key_cannot_be_repeated_nor_a_name_be_spelled_out():
    begun = linear.linearise({"on": "push", "env": {"A": "x"}})[:-2]  # ... {"A": "x"
    matcher = tct.Matcher(vocab.encode_symbols(begun))
    ids = token_ids()
    end = ids[alphabet.END.encode()]
    for key in ("A", "name"):  # taken; has a symbol
        again = matcher.fork()
        assert all(again.accept_token(ids[c.encode()]) for c in key)
        assert not again.accept_token(end)
        np.testing.assert_array_equal(again.next_token_mask(), accepted_one_by_one(again))
    assert all(matcher.accept_token(ids[c.encode()]) for c in "Ab" + alphabet.END)


def test_random_continuations_are_valid_and_masks_equal_brute_force(texts, rules):
    rng = np.random.default_rng(1)
    for n in range(60):
        prefix = []
        if n % 2:
            ids = tct.encode(pick(rng, texts))
            prefix = ids[: int(rng.integers(len(ids)))]
        matcher = tct.Matcher(prefix, rules)
        budget = matcher.min_tokens() + int(rng.integers(80))
        more = random_walk(rng, matcher, budget, check=0.003)
        assert len(more) <= budget
        text, consumed, total = tct.decode(prefix + more)
        assert consumed == total
        assert is_valid(json.loads(text), rules)


def test_deep_nesting_stops_where_decode_stops():
    rng = np.random.default_rng(2)
    array = token_ids()[alphabet.ARRAY.encode()]
    # inside of an object that may hold anything
    head = linear.linearise({"on": {"issues": {}}})[:-3] + alphabet.KEY["name"]
    ids = vocab.encode_symbols(head)
    matcher = tct.Matcher(ids, rules="schema")
    depth = 0
    while matcher.accept_token(array):
        ids.append(array)
        depth += 1
    assert depth == json_text.MAX_DEPTH - 3
    np.testing.assert_array_equal(matcher.next_token_mask(), accepted_one_by_one(matcher))
    ids += random_walk(rng, matcher, matcher.min_tokens())
    tct.decode(ids)


def test_min_tokens_is_always_enough(texts, rules):
    rng = np.random.default_rng(3)
    for text in texts[:80]:
        ids = tct.encode(text)
        matcher = tct.Matcher(ids[: int(rng.integers(len(ids)))], rules)
        enough = matcher.min_tokens()
        assert len(random_walk(rng, matcher, enough)) <= enough


def test_a_prefix_that_no_workflow_has_is_refused():
    with pytest.raises(tct.DecodeError, match="token 0"):
        tct.Matcher(vocab.encode_symbols(alphabet.CLOSE))
    with pytest.raises(ValueError, match="'schema', 'github', 'references'"):
        tct.Matcher(rules="git")
    matcher = tct.Matcher()
    for token in (tct.pad_token(), -1, 99999):
        assert not matcher.accept_token(token)
    assert not matcher.next_token_mask()[tct.pad_token()]
