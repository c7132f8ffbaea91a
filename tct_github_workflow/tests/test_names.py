"""Ids of jobs and steps, and `needs`: the matcher against a plain reading of the same rules."""

import itertools

import numpy as np
import pytest

import tct_github_workflow as tct
from tct_github_workflow import compiler
from tct_github_workflow.alphabet import ARRAY, CLOSE, END, KEY, OBJECT
from tct_github_workflow.linear import parse
from tct_github_workflow.threads import start_document
from tct_github_workflow.vocab import vocab

from .test_matcher import accepted_one_by_one, random_walk
from .workflows import token_ids, tokens_of

ID = {
    "type": "string",
    "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$",
    "allOf": [{"not": {"pattern": "^__"}}],
}
NEED = {**ID, "role": "needs"}
STEP = {
    "type": "object",
    "properties": {"id": {**ID, "role": "step-id"}, "run": {"type": "null"}},
    "additionalProperties": False,
}
JOB = {
    "type": "object",
    "properties": {
        "needs": {"anyOf": [NEED, {"type": "array", "items": NEED, "minItems": 1}]},
        "steps": {"type": "array", "items": STEP},
        "env": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "jobs": {
            "type": "object",
            "role": "jobs",
            "minProperties": 1,
            "patternProperties": {ID["pattern"]: JOB, "^__": False},
            "additionalProperties": False,
        }
    },
    "required": ["jobs"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def start():
    matcher = tct.Matcher()
    matcher.threads = start_document(compiler.Compiler(SCHEMA, ignore_case=True).root)
    return matcher


def accepts(start, document):
    matcher = start.fork()
    return all(map(matcher.accept_token, tokens_of(document))) and matcher.is_terminated()


# --- a plain reading ------------------------------------------------------------------------------
def differ_by_case_alone(names):
    return len({name.upper() for name in names}) < len(names)


def needs_of(job):
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else needs


def runs(jobs):
    """Ids of the jobs that run, each after those that it needs."""
    done = set()
    while True:
        ready = {name for name, job in jobs.items() if done.issuperset(needs_of(job))}
        if ready == done:
            return done
        done = ready


def problems(document):
    """What GitHub would say of the names in a document of SCHEMA."""
    found = []
    jobs = document["jobs"]
    mappings = [jobs, *[job.get("env", {}) for job in jobs.values()]]
    if any(map(differ_by_case_alone, mappings)):
        found.append("keys differ by case alone")
    if runs(jobs) != set(jobs):
        found.append("needs an unknown job, or a cycle")
    names = list(jobs)
    for job in jobs.values():
        ids = [step["id"] for step in job.get("steps", []) if "id" in step]
        names += ids
        if differ_by_case_alone(ids):
            found.append("two steps have one id")
    if any(len(name) >= 100 or name.startswith("__") for name in names):
        found.append("not an id")
    return found


# --- both ways ------------------------------------------------------------------------------------
def test_documents_are_accepted_exactly_when_a_plain_reading_finds_nothing(start):
    needs = ["a", "A", "b", "ab", "name", "push", ["a"], ["b", "a"], ["b", "b"], ["c", "a"]]
    bodies = [{}, *[{"needs": value} for value in needs]]
    few_bodies = [{}, {"needs": "b"}, {"needs": ["b", "a"]}]
    counts = {True: 0, False: 0}
    for n in (1, 2, 3):
        for ids in itertools.permutations(["a", "A", "b", "ab", "name", "push"], n):
            for chosen in itertools.product(bodies if n < 3 else few_bodies, repeat=n):
                document = {"jobs": dict(zip(ids, chosen, strict=True))}
                valid = not problems(document)
                counts[valid] += 1
                assert accepts(start, document) == valid, document
    assert min(counts.values()) > 200, counts


@pytest.mark.parametrize(
    "ids", list(itertools.product(["a", "A", "ab", "name", "Name", "push"], repeat=2))
)
def test_ids_of_steps_differ_by_more_than_case_within_a_job(start, ids):
    jobs = {"j": {"steps": [{"run": None, "id": name} for name in ids]}}
    assert accepts(start, {"jobs": jobs}) == (not problems({"jobs": jobs}))
    apart = {name: {"steps": [{"id": "a"}, {"id": ids[0] + "b"}]} for name in ("j", "k")}
    assert accepts(start, {"jobs": apart})


@pytest.mark.parametrize(
    "keys", list(itertools.permutations(["a", "A", "é", "É", "ß", "SS", "name", "Name"], 2))
)
def test_keys_differ_by_more_than_case(start, keys):
    document = {"jobs": {"j": {"env": dict.fromkeys(keys)}}}
    assert accepts(start, document) == (not problems(document))


@pytest.mark.parametrize("n", [1, 98, 99, 100, 120])
def test_an_id_is_shorter_than_100_characters(start, n):
    name = "x" * n
    for document in (
        {"jobs": {name: {}}},
        {"jobs": {"j": {"steps": [{"id": name}]}}},
        {"jobs": {"j": {"needs": name}, name: {}}},
    ):
        assert accepts(start, document) == (n < 100)


def test_of_an_id_that_is_too_long_only_what_another_one_needs_is_lost(start):
    """An id of 99 characters that is taken cannot become longer: no dead end is entered."""
    taken = "x" * 99
    for begun in ({"jobs": {taken: {}}}, {"jobs": {"j": {"steps": [{"id": taken}, {"id": "y"}]}}}):
        ids = tokens_of(begun)
        for n in range(len(ids)):
            matcher = start.fork()
            assert all(map(matcher.accept_token, ids[:n]))
            if n % 20 == 0:
                np.testing.assert_array_equal(
                    matcher.next_token_mask(), accepted_one_by_one(matcher)
                )


# --- masks and budgets ----------------------------------------------------------------------------
def document_of(ids):
    parse_result = parse(b"".join(vocab().bytes[i] for i in ids).decode())
    assert parse_result.complete
    return parse_result.workflow


def begun(rng):
    """The beginning of a document in which names are given, needed and promised."""
    ids = ["build", "Build", "test", "tests", "name", "push", "linux", "b", "x" * 98]
    chosen = [ids[i] for i in rng.permutation(len(ids))[: rng.integers(1, 6)]]
    jobs = {}
    for name in chosen:
        jobs[name] = {"steps": [{"id": ids[rng.integers(len(ids))]}], "env": {"a": None}}
        if rng.random() < 0.7:
            jobs[name]["needs"] = [ids[rng.integers(len(ids))] for _ in range(rng.integers(1, 3))]
    return tokens_of({"jobs": jobs})


def test_whatever_the_budget_masks_equal_brute_force_and_what_comes_out_is_right(start):
    rng = np.random.default_rng(0)
    for _ in range(40):
        matcher = start.fork()
        ids = begun(rng)
        prefix = []
        for token in ids[: rng.integers(len(ids))]:
            if not matcher.accept_token(token):
                break
            prefix.append(token)
        budget = matcher.min_tokens() + int(rng.integers(30)) * int(rng.integers(2))
        more = random_walk(rng, matcher, budget, check=0.02)
        assert len(more) <= budget
        assert problems(document_of(prefix + more)) == []


def test_with_few_tokens_to_choose_from_no_way_leads_to_a_dead_end(start):
    """Every beginning of some length over a small alphabet can be completed within min_tokens()."""
    rng = np.random.default_rng(0)
    ids = token_ids()
    symbols = OBJECT + ARRAY + CLOSE + END + KEY["needs"] + "aAb"
    alphabet = [ids[symbol.encode()] for symbol in symbols]
    first = [ids[symbol.encode()] for symbol in KEY["jobs"] + OBJECT + "a" + END]
    matcher = start.fork()
    assert all(map(matcher.accept_token, first))
    todo = [(matcher, first)]
    n_tried = 0
    while todo:
        matcher, prefix = todo.pop()
        n_tried += 1
        if rng.random() < 0.05:
            more = random_walk(rng, matcher.fork(), matcher.min_tokens())
            assert problems(document_of(prefix + more)) == []
        for token in alphabet if len(prefix) < 13 else ():
            after = matcher.fork()
            if after.accept_token(token):
                todo.append((after, [*prefix, token]))
    assert n_tried > 1000
