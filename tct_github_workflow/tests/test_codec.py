"""Encode and decode: a known answer, real and generated workflows, hostile input, fuzz."""

import functools
import json
import random
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tct_github_workflow as tct
from tct_github_workflow import DecodeError, EncodeError, alphabet, json_text, linear, vocab
from tct_github_workflow.schema import validator

from .generated import FORGERIES, WORKFLOW, generated
from .workflows import HAND, corpus_yaml, written

SMALL = {"on": "push", "jobs": {"t": {"runs-on": "x", "steps": [{"run": "a"}]}}}


@functools.cache
def sequences(longest):
    """Ids of hand-written and of generated workflows, of at most `longest` tokens."""
    texts = [tct.yaml_to_json(HAND), json.dumps(SMALL), *written(), *generated(200)]
    found = [tct.encode(text) for text in texts]
    return [ids for ids in found if len(ids) <= longest]


def same(a, b):
    """JSON-equal, keys in the same order, types the same (a float from 1e16 on may come back as the
    integer that it is)."""
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


# --- a known answer, and real workflows
def symbols(notation):
    """ "<on>{a.[#1." -> the symbols and the text it stands for: . ends a text, <=x> is a constant,
    _ a space."""
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
        "<jobs>{a.{<runs-on>x.<timeout-minutes>#7.<steps>[{<run><=push>}{<run><esc>\uf001_steps.}]"
        "<if><true>}}<eod>"
    )


def test_every_valid_workflow_comes_back_and_every_other_is_refused_by_path():
    n_valid = 0
    for source in corpus_yaml():
        try:
            text = tct.yaml_to_json(source)
        except EncodeError:
            continue  # for test_yaml_text.py
        if validator.is_valid(json.loads(text)):
            check_round_trip(text)
            n_valid += 1
            continue
        with pytest.raises(EncodeError) as e:
            tct.encode(text)
        assert re.match(r"\$[^ ]*: \S", str(e.value)) and "\n" not in str(e.value)
    assert n_valid


# --- hostile input
PRIVATE = [chr(c) for c in range(0xE000, 0xF900)]


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
    """orjson writes 254 levels and reads 1,024, which escaped as a TypeError; jsonschema-rs
    overflows the stack at some 100,000."""
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


# --- generated workflows


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(WORKFLOW, st.randoms(use_true_random=False))
def test_generated_workflows_come_back_and_their_beginnings_are_json(workflow, rng):
    assert validator.is_valid(workflow)  # else this strategy is wrong
    ids = check_round_trip(json.dumps(workflow, ensure_ascii=rng.random() < 0.5))
    text, _, complete = tct.decode_prefix(ids[: rng.randrange(len(ids))])
    assert not complete and grows(json.loads(text), json.loads(tct.decode(ids)[0]))


# --- decode
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
    """Is a the beginning of b: the same, but for the last entry of each open container and the end
    of the last string or number?"""
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


def test_a_decode_error_names_the_token():
    tokens = tct.encode('{"on":"push","jobs":{"t":{"runs-on":"x"}}}')
    key = vocab.encode_symbols(alphabet.KEY["jobs"])
    for at in range(len(tokens)):
        with pytest.raises(
            tct.DecodeError, match=f"token ({at}|{at + 1}): "
        ):  # where it is, or where it shows
            tct.decode(tokens[:at] + key * 2 + tokens[at:])
