"""Encode and decode: a known answer, real and generated workflows, hostile input, fuzz. TCT_FULL=1 takes the whole training corpus."""

import functools
import json
import lzma
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tct_github_workflow as tct
from tct_github_workflow import DecodeError, EncodeError, alphabet, json_text, linear, vocab
from tct_github_workflow.schema import SCHEMA, validator

REPO = Path(__file__).resolve().parents[2]
CORPUS = REPO.parent / "shared" / "corpus"  # real workflows, on some machines only
SMALL = {"on": "push", "jobs": {"t": {"runs-on": "x", "steps": [{"run": "a"}]}}}
HAND = """
name: Tests 😀
on: {push: {branches: [main, "v*"]}, pull_request: , schedule: [{cron: "0 5 * * 1"}]}
env: {BIG: 123456789012345678901234567890, ON: "on", "null": "null", "": ""}
jobs:
  test:
    runs-on: [self-hosted, "${{ matrix.os }}"]
    timeout-minutes: 12.5
    strategy: {fail-fast: false, matrix: {os: [ubuntu-latest, windows-latest], python: ["3.10", 3.13, 1.0e-7, -3, true]}}
    services: {db: {image: "postgres:16", ports: ["5432:5432", 80]}}
    steps:
      - uses: actions/checkout@v4
      - {name: "", run: "pip install -e .\\n\\nif true; then\\n    pytest -q --cov=é\\nfi\\n", env: {push: steps}}
  release: {needs: [test], uses: ./.github/workflows/release.yml, secrets: inherit}
"""


@functools.cache
def corpus(part):
    """[(JSON text, its ids or EncodeError)] of a corpus file; of the big one, a sample."""
    with lzma.open(CORPUS / f"{part}.jsonl.xz", "rt", encoding="utf-8") as f:
        rows = f.readlines()
    texts = []
    for row in (
        rows if part == "dev" or os.environ.get("TCT_FULL") else random.Random(0).sample(rows, 600)
    ):
        try:
            texts.append(tct.yaml_to_json(json.loads(row)["yaml"]))
        except EncodeError:
            pass  # for test_yaml_text.py
    return [(text, ids_or_error(text)) for text in texts]


def ids_or_error(text):
    try:
        return np.array(tct.encode(text), np.uint16)
    except EncodeError as e:
        return e


@functools.cache
def sequences(longest):
    """Ids of real workflows of at most `longest` tokens, and of the hand-written ones."""
    real = (
        [ids for _, ids in corpus("dev") if isinstance(ids, np.ndarray) and len(ids) <= longest]
        if CORPUS.exists()
        else []
    )
    return [
        tct.encode(tct.yaml_to_json(HAND)),
        tct.encode(json.dumps(SMALL)),
        *(ids.tolist() for ids in real),
    ]


def same(a, b):
    """JSON-equal, keys in the same order, types the same (a float from 1e16 on may come back as the integer that it is)."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b) or {type(a), type(b)} <= {int, float} and a == b and abs(a) >= 1e16


def env(value):
    return json.dumps(SMALL)[:-1] + ', "env": {"A": %s}}' % value


def job(change):
    return {"jobs": {"t": {"runs-on": "x"} | change}}


def step(change):
    return job({"steps": [{"run": "ok"}, change]})


def check_round_trip(text):
    ids = tct.encode(text)
    back, consumed, total = tct.decode(ids)
    assert consumed == total == len(ids) and all(type(i) is int and 0 <= i < 8191 for i in ids)
    assert same(json.loads(text), json.loads(back)), text[:300]
    assert tct.encode(back) == ids  # one document, one sequence
    return ids


# --- a known answer, and real workflows -------------------------------------------------------------------------------------------
def symbols(notation):
    """ "<on>{a.[#1." -> the symbols and the text it stands for: . ends a text, <=x> is a constant, _ a space."""
    names = {
        ".": alphabet.END,
        "{": alphabet.OBJECT,
        "[": alphabet.ARRAY,
        "}": alphabet.CLOSE,
        "]": alphabet.CLOSE,
        "#": alphabet.NUMBER,
        "<null>": alphabet.NULL,
        " ": "",
        "<true>": alphabet.TRUE,
        "<esc>": alphabet.ESC,
        "<eod>": alphabet.EOD,
        "_": " ",
        "<=push>": alphabet.CONSTANT["push"],
        "<=read-all>": alphabet.CONSTANT["read-all"],
    }
    return re.sub(
        "<.*?>|[][{}.# _]",
        lambda m: names[m[0]] if m[0] in names else alphabet.KEY[m[0][1:-1]],
        notation,
    )


def test_a_small_workflow_gives_the_string_derived_by_hand():
    workflow = {
        "name": "CI",
        "on": {"push": {"branches": ["main"]}, "pull_request": None},
        "permissions": "read-all",
        "jobs": {
            "a": {
                "runs-on": "x",
                "timeout-minutes": 7,
                "steps": [{"run": "push"}, {"run": "\ue001 steps"}],
                "if": True,
            }
        },
    }
    assert linear.linearise(linear.escape(workflow)) == symbols(
        "<name>CI. <on>{<push>{<branches>[main.]}<pull_request><null>}<permissions><=read-all>"
        "<jobs>{a.{<runs-on>x.<timeout-minutes>#7.<steps>[{<run><=push>}{<run><esc>\uf001_steps.}]<if><true>}}<eod>"
    )


@pytest.mark.skipif(not CORPUS.exists(), reason="no corpus here")
@pytest.mark.parametrize("part", ["dev", "train"])
def test_every_valid_workflow_comes_back_and_every_other_is_refused_by_path(part):
    for text, ids in corpus(part):
        assert validator.is_valid(json.loads(text)) == isinstance(ids, np.ndarray), text[:300]
        if isinstance(ids, np.ndarray):
            assert check_round_trip(text) == ids.tolist()
        else:
            assert re.match(r"\$[^ ]*: \S", str(ids)) and "\n" not in str(ids)


# --- hostile input ----------------------------------------------------------------------------------------------------------------
PRIVATE = [chr(c) for c in range(0xE000, 0xF900)]
FORGERIES = [
    alphabet.ESC,
    alphabet.ESC * 3,
    alphabet.ESC + "\uf000",
    alphabet.ESC * 2 + "\uf000\uf000",
    alphabet.ESC + "x",
    "x" + alphabet.END,
    alphabet.EOD + "x",
    alphabet.OBJECT + alphabet.KEY["steps"] + alphabet.END,
    "\uf000\ue000\uefff\uf8ff",
    alphabet.LAST + chr(ord(alphabet.LAST) + 1),
]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "a\0b",
        "\n",
        "\r\n\t",
        "\u2028\x85\ufeff\uffff",
        "😀" * 50,
        "\x7f\x80\xff\U0010ffff",
        "push",
        "steps",
        "read-all",
        "true",
        "null",
        "1",
        "{",
        "".join(PRIVATE),
        *FORGERIES,
    ],
    ids=lambda t: ascii(t[:5]),
)
def test_any_text_stands_as_a_value_and_as_a_key(text):
    on = {"create": {text: [text, {text: text}], text + "x": text + "\n"}}
    steps = [{"run": text}, {"name": text, "uses": text}]
    check_round_trip(
        json.dumps(
            {
                "name": text,
                "on": on,
                "env": {text: text, "a" + text: 1},
                "jobs": {"t": {"runs-on": [text] * 2, "steps": steps}},
            }
        )
    )


def test_each_private_use_character_stands_alone_and_beside_an_escape():
    events = {c: c for c in PRIVATE} | {
        alphabet.ESC + c: alphabet.ESC + c + alphabet.ESC for c in PRIVATE
    }
    check_round_trip(json.dumps(SMALL | {"on": {"create": events}}))


@pytest.mark.parametrize(
    "text",
    ["a" * 10**6, " " * 10**6, "echo é\n" * 10**5, "\ue000" * 10**5],
    ids=lambda t: ascii(t[:6]),
)
def test_a_string_of_a_megabyte_comes_back(text):
    check_round_trip(json.dumps(SMALL | {"name": text}))


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1e5",
        "1E+2",
        "3.10",
        "1e16",
        "1e300",
        "-1.7976931348623157e308",
        "5e-324",
        "1e-7",
        "2.5e-10",
        "1e-999",
        "9007199254740993",
        "18446744073709551616",
        "-9223372036854775809",
        "9" * 400,
        "-" + "9" * 400,
        "123456789012345678.5",
    ],
)
def test_every_finite_number_comes_back(number):
    check_round_trip(env(number))


def test_a_number_cannot_be_continued_to_zero():
    """A sample that began with 3 once went on to 3e-400."""
    string = linear.linearise(json.loads(env("3e-7")))
    tct.decode(vocab.encode_symbols(string))
    with pytest.raises(DecodeError):
        tct.decode(vocab.encode_symbols(string.replace("3e-07", "3e-400")))


@pytest.mark.parametrize(
    "text, why",
    [
        (env("1e999"), "1e999 is not finite"),
        (env("-1e400"), "-1e400 is not finite"),
        (env("NaN"), "NaN is not JSON"),
        (env("-Infinity"), "not JSON"),
        (env("9" * 401), "400 digits"),
        (env("9" * 5000), "400 digits"),
        (env("01"), "not JSON: line 1, column"),
        (env('"\0"'), "not JSON: line 1"),
        (env(r'"\ud800"'), r"lone surrogate \ud800"),
        (env('"\ud800"'), "lone surrogate U+D800"),
        (env(r'"\ude00\ud83d"'), r"lone surrogate \ude00"),
        (env('"a", "A": "a"'), 'duplicate key "A"'),
        (env(r'1, "\u0041": 2'), 'duplicate key "A"'),
        (json.dumps(SMALL) + "x", "Extra data"),
        ("", "line 1"),
        ("\ufeff{}", "BOM"),
        ('{"on":', "not JSON"),
        ("[]", "$: "),
        ("1", "$: "),
        (None, "NoneType"),
        (b"{}", "bytes"),
    ],
    ids=lambda x: ascii(x)[-20:],
)
def test_what_is_no_json_text_is_refused_in_one_line(text, why):
    with pytest.raises(EncodeError) as e:
        tct.encode(text)
    assert why in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 300


@pytest.mark.parametrize(
    "depth", [100, 124, 125, 126, 127, 249, 250, 251, 253, 254, 256, 300, 1000, 1020, 100_000]
)
@pytest.mark.parametrize("start, end", ["[]", ('{"a":', "}"), ('[{"a":', "}]")])
def test_deep_nesting_comes_back_or_is_refused_and_never_crashes(depth, start, end):
    """orjson writes 254 levels and reads 1,024, which escaped as a TypeError; jsonschema-rs overflows the stack at some 100,000."""
    for around, text in (
        (3, '{"on": {"create": {"x": %s}}, "jobs": {"t": {"runs-on": "x"}}}'),
        (6, '{"on": "push", "jobs": {"t": {"runs-on": "x", "strategy": {"matrix": {"x": [%s]}}}}}'),
        (1000, '{"on": %s}'),
    ):
        text %= start * depth + "1" + end * depth
        if depth * len(end) + around <= json_text.MAX_DEPTH:
            check_round_trip(text)
        else:
            with pytest.raises(EncodeError, match=r"nested deeper than 256 levels|^\$"):
                tct.encode(text)


def test_deep_ids_are_refused():
    ids = vocab.encode_symbols(
        alphabet.KEY["jobs"] + alphabet.OBJECT + ("a" + alphabet.END + alphabet.OBJECT) * 100_000
    )
    for call, tokens in (tct.decode, ids + tct.encode(json.dumps(SMALL))), (tct.decode_prefix, ids):
        with pytest.raises(DecodeError, match="nested deeper than 256 levels"):
            call(tokens)


@pytest.mark.parametrize(
    "change, path, wanted",
    [
        ({"on": "pusj"}, "$.on", '"branch_protection_rule"'),
        ({"on": ["push", "pusj"]}, "$.on[1]", "not one of"),
        ({"foo": 1}, "$", "'foo'"),
        ({"on": {"push": {"branches": 5}}}, "$.on.push.branches", '"array"'),
        ({"jobs": {"t": {"uses": "./x"}}}, "$.jobs.t.uses", "does not match"),
        ({"on": {"push": {"paths": ["a"], "paths-ignore": ["b"]}}}, "$.on.push", "paths-ignore"),
        ({"jobs": {"a b": {}}}, "$.jobs", "'a b'"),
        ({"jobs": {"t": {"steps": [{"run": "a"}]}}}, "$.jobs.t", '"runs-on" is a required'),
        (job({"steps": {"run": "a"}}), "$.jobs.t.steps", '"array"'),
        (
            step({"run": "a", "if": None}),
            "$.jobs.t.steps[1].if",
            '"number" or',
        ),
        (step({"rum": "b"}), "$.jobs.t.steps[1]", "'rum'"),
        (job({"services": {"a b": {}}}), '$.jobs.t.services["a b"]', '"image"'),
        (job({f"k{i}": 1 for i in range(150)}), "$.jobs.t", "'k0', 'k1'"),
        (
            step({"run": "a", "uses": "b"}),
            "$.jobs.t.steps[1]",
            'only one of "uses", "run" may be there',
        ),
        (step(None), "$.jobs.t.steps[1]", '"object"'),
        (
            step({"uses": "a", "with": {"x": ["is not "]}}),
            "$.jobs.t.steps[1].with.x",
            'is not of type "string" or',
        ),
    ],
)
def test_a_typical_mistake_is_named_with_its_path_and_what_was_wanted(change, path, wanted):
    with pytest.raises(EncodeError) as e:
        tct.encode(json.dumps(SMALL | change))
    assert (
        str(e.value).startswith(path + ": ") and wanted in str(e.value) and len(str(e.value)) < 500
    )


# --- generated workflows ----------------------------------------------------------------------------------------------------------
def obj(required, optional={}, at_most=4):
    """Objects with all of the first and some of the second fields (name -> strategy), in any order."""
    names = (
        st.lists(st.sampled_from([*optional]), unique=True, max_size=at_most)
        if optional
        else st.just([])
    )
    orders = names.flatmap(lambda chosen: st.permutations([*required, *chosen]))
    return orders.flatmap(
        lambda order: st.fixed_dictionaries({k: (required | optional)[k] for k in order})
    )


def some(item, least=1):
    return st.lists(item, min_size=least, max_size=3)


def named(item, names=st.from_regex(r"[_a-zA-Z][a-zA-Z0-9_-]{0,5}", fullmatch=True), least=0):
    return st.dictionaries(names, item, min_size=least, max_size=2)


TEXT = (
    st.text(max_size=10)
    | st.text("\0\n \ue000\ue004\uf000${}é😀", max_size=4)
    | st.sampled_from([*alphabet.KEYS, *alphabet.CONSTANTS, *FORGERIES, "3.10"])
)
NUMBER = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**399), 10**399)
)
BOOL, EXPR = st.booleans(), st.text("ab}{$ \n", max_size=5).map("${{%s}}".__mod__)
SCALAR, FLAG, MINUTES, GLOBS = (
    TEXT | NUMBER | BOOL,
    BOOL | EXPR,
    NUMBER | EXPR,
    some(TEXT.filter(len)),
)
ANY = st.recursive(SCALAR | st.none(), lambda x: some(x, 0) | named(x, TEXT), max_leaves=6)
CONFIGURATION = st.recursive(SCALAR, lambda x: some(x, 0) | named(x, TEXT), max_leaves=6)
ENV = named(SCALAR, TEXT) | EXPR.map("a{}b".format)
PERMISSIONS = st.sampled_from(["read-all", "write-all"]) | obj(
    {}, {"pages": st.sampled_from(["read", "write", "none"]), "id-token": st.just("write")}
)
CONCURRENCY = TEXT | obj({"group": TEXT}, {"cancel-in-progress": FLAG, "queue": st.just("max")})
DEFAULTS = obj({"run": obj({"shell": TEXT}, {"working-directory": TEXT})})
PUSH = [
    {"branches": GLOBS, "tags-ignore": GLOBS, "paths": GLOBS},
    {"branches-ignore": GLOBS, "tags": GLOBS, "paths-ignore": GLOBS},
]
PULL = st.one_of(st.none(), *(obj({}, filters | {"types": some(ANY) | TEXT}) for filters in PUSH))
INPUT = obj(
    {"type": st.sampled_from(["boolean", "number", "string"])},
    {"required": BOOL, "default": SCALAR, "description": TEXT},
)
CALL = st.none() | obj(
    {},
    {
        "inputs": named(INPUT),
        "outputs": named(obj({"value": TEXT}, {"description": TEXT})),
        "secrets": named(obj({}, {"required": BOOL})),
        "anything": ANY,
    },
)
NAMES = SCHEMA["definitions"]["event"]["enum"]
EVENTS = {name: st.none() | named(ANY, TEXT) for name in NAMES} | {
    "push": st.one_of(st.none(), *(obj({}, filters) for filters in PUSH)),
    "pull_request": PULL,
    "pull_request_target": PULL,
    "workflow_call": CALL,
    "schedule": some(obj({"cron": TEXT}, {"timezone": TEXT})),
}
COMMON = {
    "id": TEXT,
    "if": SCALAR,
    "name": TEXT,
    "with": ENV,
    "env": ENV,
    "continue-on-error": FLAG,
    "timeout-minutes": MINUTES,
    "background": BOOL,
}
STEPS = st.deferred(
    lambda: st.one_of(
        obj({"run": TEXT}, COMMON | {"working-directory": TEXT, "shell": TEXT}),
        obj({"uses": TEXT}, COMMON),
        obj({"wait": TEXT | some(TEXT)}, COMMON),
        obj({"wait-all": BOOL | st.none()}, COMMON),
        obj({"cancel": TEXT}, COMMON),
        obj({"parallel": some(STEPS)}, COMMON, 1),
    )
)
INCLUDE = EXPR | some(named(CONFIGURATION, TEXT))
MATRIX = EXPR | obj(
    {"os": EXPR | some(CONFIGURATION)},
    {"include": INCLUDE, "exclude": INCLUDE, "": some(CONFIGURATION), "\ue003": EXPR},
)
CONTAINER = {
    "credentials": obj({}, {"username": TEXT, "password": TEXT, "more": ANY}),
    "env": ENV,
    "ports": some(NUMBER | TEXT),
    "volumes": some(TEXT),
}
SHARED = {
    "name": TEXT,
    "needs": TEXT.map(lambda _: "a-1") | some(st.just("_b")),
    "permissions": PERMISSIONS,
    "if": SCALAR,
    "concurrency": CONCURRENCY,
    "cache-mode": st.just("read"),
    "strategy": obj({"matrix": MATRIX}, {"fail-fast": BOOL | TEXT, "max-parallel": NUMBER | TEXT}),
}
JOB = obj(
    {
        "runs-on": TEXT
        | some(TEXT)
        | obj({}, {"group": TEXT, "labels": TEXT | some(TEXT, 0), "more": ANY})
    },
    SHARED
    | {
        "steps": some(STEPS),
        "env": ENV,
        "outputs": named(TEXT, TEXT, 1),
        "defaults": DEFAULTS,
        "timeout-minutes": MINUTES,
        "continue-on-error": FLAG,
        "environment": TEXT | obj({"name": TEXT}, {"url": TEXT, "deployment": FLAG}),
        "container": TEXT | obj({"image": TEXT}, CONTAINER),
        "services": named(
            obj({"image": TEXT}, CONTAINER | {"command": TEXT, "entrypoint": TEXT}), TEXT
        ),
        "snapshot": TEXT
        | obj({"image-name": TEXT}, {"version": st.sampled_from(["1", "1.2", "3*"])}),
    },
    7,
)
CALLED = obj(
    {"uses": st.sampled_from(["./a.yml", "o/r/.github/workflows/x.yaml@v1"])},
    SHARED | {"with": ENV, "secrets": ENV | st.just("inherit")},
)
WORKFLOW = obj(
    {
        "on": st.sampled_from(NAMES) | some(st.sampled_from(NAMES)) | obj({}, EVENTS),
        "jobs": named(JOB | CALLED, least=1),
    },
    {
        "name": TEXT,
        "run-name": TEXT,
        "env": ENV,
        "defaults": DEFAULTS,
        "concurrency": CONCURRENCY,
        "permissions": PERMISSIONS,
    },
)


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(WORKFLOW, st.randoms(use_true_random=False))
def test_generated_workflows_come_back_and_their_beginnings_are_json(workflow, rng):
    assert validator.is_valid(workflow)  # else this strategy is wrong
    ids = check_round_trip(json.dumps(workflow, ensure_ascii=rng.random() < 0.5))
    text, _, complete = tct.decode_prefix(ids[: rng.randrange(len(ids))])
    assert not complete and grows(json.loads(text), json.loads(tct.decode(ids)[0]))


# --- decode -----------------------------------------------------------------------------------------------------------------------
def check_any(ids):
    """Any ids decode to what validates and stays as it is, or raise DecodeError (-> False)."""
    try:
        prefix, _, complete = tct.decode_prefix(ids)
        json.loads(prefix)
    except DecodeError:
        complete = False
    try:
        text, consumed, total = tct.decode(ids)
    except DecodeError as e:
        assert "\n" not in str(e) and len(str(e)) < 500
        return False
    assert (
        complete
        and prefix == text
        and consumed <= total == len(ids)
        and validator.is_valid(json.loads(text))
    )
    assert same(json.loads(text), json.loads(tct.decode(tct.encode(text))[0]))
    return True


def test_random_ids_decode_or_raise_decode_error():
    rng, last = (
        random.Random(1),
        [i for i, token in enumerate(vocab.vocab().bytes) if token.endswith(alphabet.EOD.encode())],
    )
    for _ in range(20_000):
        ids = rng.choices(range(8191), k=rng.randrange(50)) + [rng.choice(last)] * rng.randrange(2)
        check_any(ids if rng.random() < 0.9 else ids + [rng.randrange(-2, 8194)] + ids)
    for odd in (
        [],
        [8191],
        [-1],
        [8192],
        [10**30],
        [None],
        ["a"],
        [1.5],
        [float("nan")],
        np.array([8191], np.uint16),
        [b"x"],
        [[0]],
    ):
        with pytest.raises(DecodeError):
            tct.decode(odd)


def test_mutated_workflows_decode_or_raise_decode_error():
    rng, n_decoded = random.Random(2), 0
    mutations = [
        lambda a, i, j, new: a[:i] + a[i + 1 :],  # dropped
        lambda a, i, j, new: a[:i] + [a[i]] + a[i:],  # doubled
        lambda a, i, j, new: [a[{i: j, j: i}.get(k, k)] for k in range(len(a))],  # swapped
        lambda a, i, j, new: a[:i] + [new] + a[i + 1 :],  # replaced
        lambda a, i, j, new: a[:i],
    ]  # truncated
    for _ in range(20_000):
        ids = rng.choice(sequences(120))
        for _ in range(rng.choice((1, 1, 2, 5))):
            if ids:
                ids = rng.choice(mutations)(
                    ids, rng.randrange(len(ids)), rng.randrange(len(ids)), rng.randrange(8192)
                )
        n_decoded += check_any(ids)
    assert 1_000 < n_decoded < 19_000  # both outcomes were met


def grows(a, b):
    """Is a the beginning of b: the same, but for the last entry of each open container and the end of the last string or number?"""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b)[: len(a)] and grows(list(a.values()), [b[k] for k in a])
    if isinstance(a, list) and isinstance(b, list):
        return (
            not a
            or len(a) <= len(b)
            and same(a[:-1], b[: len(a) - 1])
            and grows(a[-1], b[len(a) - 1])
        )
    if isinstance(a, str) and isinstance(b, str):
        return b.startswith(a)
    return (
        same(a, b) or {type(a), type(b)} <= {int, float} and (a == 0 or repr(b).startswith(repr(a)))
    )


def n_values(v):
    return (
        sum(1 + n_values(x) for x in (v.values() if isinstance(v, dict) else v))
        if isinstance(v, (dict, list))
        else 0
    )


def test_the_beginnings_of_200_workflows_are_json_and_grow():
    chosen = sequences(200)
    for ids in random.Random(3).sample(chosen, min(200, len(chosen))):
        before, fields_before = {}, 0
        for n in range(len(ids) + 1):
            text, fields, complete = tct.decode_prefix(ids[:n])
            workflow = json.loads(text)
            assert (
                grows(before, workflow)
                and fields_before <= fields <= n_values(workflow)
                and complete == (n == len(ids))
            ), (ids, n)
            before, fields_before = workflow, fields
        assert text == tct.decode(ids)[0] and fields == n_values(workflow)


@pytest.mark.parametrize(
    "notation, text, fields",
    [
        ("", "{}", 0),
        ("<name>", "{}", 0),
        ("<name>push", '{"name":"push"}', 0),
        ("<name>CI.", '{"name":"CI"}', 1),
        ("<name><esc>\uf001", '{"name":"\ue001"}', 0),
        ("<name><esc>", '{"name":""}', 0),
        ("<on>{a.[b.c", '{"on":{"a":["b","c"]}}', 1),
        ("<on>{a.[#1", '{"on":{"a":[1]}}', 0),
        ("<on>{a.[#-", '{"on":{"a":[]}}', 0),
        ("<on>{a", '{"on":{}}', 0),
        ("<name>a\U000e0fff", '{"name":"a\U000e0fff"}', 0),
    ],
)
def test_an_unfinished_value_ends_where_the_tokens_do(notation, text, fields):
    ids = vocab.encode_symbols(symbols(notation))
    assert tct.decode_prefix(ids) == (text, fields, False)
    if notation.endswith("\U000e0fff"):  # four tokens: three of them are no character yet
        assert tct.decode_prefix(ids[:-1])[0] == '{"name":"a"}'


@pytest.mark.parametrize(
    "notation",
    [
        "}",
        "<eod>}",
        "<on><on>",
        "<on>#<true>",
        "name.",
        "<name>push.",
        "x{",
        "<name>x.<name>",
        "<on>#01.",
        "<on>#1e5.",
        "<on>#.",
        "<on>[}]",
        "<on>{]<eod>.",
        "<name><esc>x",
        "<name><esc>\U0001f000.",
        "<name><esc><true>",
    ],
)
def test_what_no_encoder_writes_is_refused(notation):
    with pytest.raises(DecodeError):
        tct.decode(vocab.encode_symbols(symbols(notation)) + tct.encode(json.dumps(SMALL)))


def test_decode_stops_where_the_workflow_is_complete():
    ids, text = tct.encode(json.dumps(SMALL)), json.dumps(SMALL, separators=(",", ":"))
    for surplus in [], [0], [5, 6, 7], ids, [8190] * 9:
        assert tct.decode(ids + surplus) == (
            text,
            len(ids),
            len(ids) + len(surplus),
        ) and tct.decode_prefix(ids + surplus)[::2] == (text, True)
    assert tct.decode(np.array(ids, np.uint16)) == (text, len(ids), len(ids))
    for n in range(len(ids)):
        with pytest.raises(DecodeError, match="incomplete"):
            tct.decode(ids[:n])


def test_a_window_is_its_start_and_a_slice():
    ids = tct.encode(json.dumps(SMALL))
    assert (
        tct.extract_window(ids, 2, 5) == [2, *ids[2:5]]
        and tct.extract_window(ids, 0, 10**6) == [0, *ids]
        and tct.extract_window(ids, 3, 3) == [3]
    )
    for start, end in (-1, 2), (3, 2):
        with pytest.raises(ValueError, match="start"):
            tct.extract_window(ids, start, end)


# --- python -m tct_github_workflow ------------------------------------------------------------------------------------------------
def show(*args, **more):
    return subprocess.run(
        [sys.executable, "-m", "tct_github_workflow", *map(str, args)],
        cwd=REPO,
        capture_output=True,
        encoding="utf-8",
        **more,
    )


def test_the_command_shows_every_token(tmp_path):
    (tmp_path / "ci.yml").write_text(HAND, encoding="utf-8")
    text, run = tct.yaml_to_json(HAND), show(tmp_path / "ci.yml")
    lines, ids, n_bytes = run.stdout.splitlines(), check_round_trip(text), len(text.encode())
    assert [int(line[7:12]) for line in lines[1:-1] if line[7:12].strip()] == ids and max(
        map(len, lines)
    ) <= 80, run.stderr
    assert lines[-1].startswith(f"{len(ids)} tokens in ") and lines[-1].endswith(
        f" for {n_bytes} bytes of JSON: {n_bytes / len(ids):.1f} bytes per token"
    )
    assert (
        "‹uses›actions/checkout@v4·end·}" in run.stdout
        and show("-", input=text).stdout == run.stdout
    )


@pytest.mark.parametrize(
    "name, content, why",
    [
        ("a.yml", "on: push\njobs: [", "line "),
        ("a.json", '{"on":1}', "$"),
        ("none.yml", None, "No such file"),
    ],
)
def test_the_command_refuses_what_is_no_workflow_in_one_line(tmp_path, name, content, why):
    if content:
        (tmp_path / name).write_text(content)
    run = show(tmp_path / name)
    assert (
        run.returncode == 1
        and run.stdout == ""
        and run.stderr.count("\n") == 1
        and f"{name}: " in run.stderr
        and why in run.stderr
    )


def test_a_decode_error_names_the_token():
    tokens = tct.encode('{"on":"push","jobs":{"t":{"runs-on":"x"}}}')
    key = vocab.encode_symbols(alphabet.KEY["jobs"])
    for at in range(len(tokens)):
        with pytest.raises(
            tct.DecodeError, match=f"token ({at}|{at + 1}): "
        ):  # where it is, or where it shows
            tct.decode(tokens[:at] + key * 2 + tokens[at:])
