"""pytest tct_github_workflow/tests/test_matcher.py    The matcher against jsonschema-rs, both ways, and against brute force."""

import itertools
import json
import lzma
import re
from pathlib import Path

import jsonschema_rs
import numpy as np
import pytest

import tct_github_workflow as tct
from tct_github_workflow import automaton, codec, grammar, matcher
from tct_github_workflow.schema import SCHEMA, validator

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "dev.jsonl.xz"
WRITTEN = [
    {"on": "push", "jobs": {"t": {"runs-on": "x"}}},
    {
        "name": "CI",
        "on": {
            "push": {"branches": ["main", "releases/**"], "paths-ignore": ["docs/**"]},
            "workflow_dispatch": None,
        },
        "permissions": {"contents": "read"},
        "env": {"A": 1, "name": "label", "C": True, "": "empty"},
        "jobs": {
            "build": {
                "runs-on": ["self-hosted", "linux"],
                "timeout-minutes": 2.5,
                "strategy": {
                    "fail-fast": False,
                    "matrix": {
                        "os": ["ubuntu-latest"],
                        "python": ["3.9", 3.1],
                        "include": [{"os": "x", "extra": {"deep": [[1], "\ue000\uf8ff é 中"]}}],
                    },
                },
                "steps": [
                    {
                        "name": "Get it",
                        "uses": "actions/checkout@v4",
                        "with": {"fetch-depth": 0, "path": "push"},
                    },
                    {
                        "run": "make\nmake test\n",
                        "shell": "bash",
                        "working-directory": "src",
                        "if": "${{ always() }}",
                    },
                    {"wait-all": None},
                ],
            },
            "call": {"needs": ["build"], "uses": "./.github/workflows/x.yml", "secrets": "inherit"},
        },
    },
    {
        "on": ["push", "pull_request"],
        "jobs": {
            "a": {
                "runs-on": "x",
                "steps": [{"parallel": [{"run": "a"}, {"uses": "b"}]}],
                "needs": "b",
            },
            "b": {"runs-on": {"group": "g", "labels": ["l"]}, "if": False, "env": "a ${{ b }} c"},
        },
    },
    {
        "on": {
            "issues": {"types": ["opened"], "anything": {"at": ["all", None, 1.5e-7, -3]}},
            "schedule": [{"cron": "0 0 * * *"}],
        },
        "concurrency": {"group": "g", "cancel-in-progress": "${{ x }}"},
        "jobs": {"a": {"runs-on": "x", "container": {"image": "i", "ports": [80]}}},
    },
]


def documents(limit=400):
    """Hand-written workflows, and real ones where the corpus is at hand."""
    found = [json.dumps(d) for d in WRITTEN]
    if CORPUS.exists():
        with lzma.open(CORPUS, "rt", encoding="utf-8") as f:
            for line in itertools.islice(f, limit):
                try:
                    found.append(
                        codec.dump_json(
                            codec.load_workflow(tct.yaml_to_json(json.loads(line)["yaml"]))
                        )
                    )
                except tct.EncodeError:
                    pass
    return found


def accepts(document, m=None):
    """Whether the matcher takes all of a document's canonical tokens and is at the end then."""
    m = m or tct.Matcher()
    return (
        all(
            m.accept_token(t)
            for t in codec.encode_symbols(codec.linearise(codec._escape(document)))
        )
        and m.is_terminated()
    )


def start(compiler):
    m = tct.Matcher()
    m.threads = [
        matcher.Thread(matcher.Frame(t, None), matcher.BETWEEN) for t in compiler.root.objects
    ]
    return m


def brute(m, left=None):
    return np.array([m.fork().accept_token(i, left) for i in range(tct.vocab_size())])


def random_walk(rng, m, left, check=0.0):
    """Uniform choice among the allowed ids until the end; with probability `check` compares the mask with brute force."""
    ids = []
    while not m.is_terminated():
        mask = m.next_token_mask(tokens_left=left)
        assert mask.any(), (ids, left, m.min_tokens())
        if rng.random() < check:
            np.testing.assert_array_equal(mask, brute(m, left))
            np.testing.assert_array_equal(m.next_token_mask(), brute(m))
        token = int(rng.choice(np.flatnonzero(mask)))
        assert m.accept_token(token, left)
        ids.append(token)
        left -= 1
    return ids


def test_every_token_of_a_valid_workflow_is_accepted_and_the_end_is_the_end():
    for text in documents():
        m = tct.Matcher()
        for token in tct.encode(text):
            assert not m.is_terminated() and m.min_tokens() > 0
            assert m.accept_token(token), text[:200]
        assert (
            m.is_terminated()
            and m.min_tokens() == 0
            and not m.next_token_mask().any()
            and not m.accept_token(0)
        )


def test_keys_may_come_in_any_order():
    fields = {"runs-on": "x", "steps": [{"run": "a"}], "needs": "b", "if": True}
    for order in itertools.permutations(fields):
        assert accepts({"jobs": {"j": {k: fields[k] for k in order}}, "on": "push"})
    for order in itertools.permutations(["run", "shell", "working-directory", "name"]):
        assert accepts(
            {"on": "push", "jobs": {"j": {"runs-on": "x", "steps": [{k: "v" for k in order}]}}}
        )


def mutations(rng, document):
    """Copies of a document, each with one thing changed: a key dropped, renamed or added, a type changed, a word misspelt, a list emptied."""
    places = []

    def visit(node):
        if isinstance(node, (dict, list)):
            for k in list(node) if isinstance(node, dict) else range(len(node)):
                places.append((node, k))
                visit(node[k])

    names = [*codec.KEYS, *codec.CONSTANTS, "x", "", "a b", "include", "9"]
    odd = [
        None,
        True,
        0,
        -1.5,
        "",
        "push",
        "read",
        "${{ x }}",
        "${{ x }",
        "a/b.yml@v1",
        "1.2",
        [],
        {},
        [[]],
        ["a"],
        [None],
        {"a": 1},
        {"types": "x"},
        {"image": "i"},
        {"run": "x"},
        {"group": "g"},
        {"matrix": {"a": []}},
    ]
    for _ in range(12):
        copy, places = json.loads(json.dumps(document)), []
        visit(copy)
        node, key = places[rng.integers(len(places))]
        what = rng.integers(6)
        if what == 0:
            del node[key]
        elif what == 1:
            node[key] = odd[rng.integers(len(odd))]
        elif what == 2 and isinstance(node, dict):
            items = [
                (names[rng.integers(len(names))] if k == key else k, v) for k, v in node.items()
            ]
            node.clear()
            node.update(items)
        elif what == 3 and isinstance(node, dict):
            node[names[rng.integers(len(names))]] = odd[rng.integers(len(odd))]
        elif what == 4 and isinstance(node[key], str):
            node[key] = node[key][:-1] if rng.random() < 0.5 else node[key] + "s"
        elif what == 5 and isinstance(node[key], (dict, list)):
            node[key].clear()
        yield copy


def test_mutated_workflows_are_accepted_exactly_when_the_validator_accepts_them():
    rng = np.random.default_rng(0)
    counts = {True: 0, False: 0}
    for text in documents():
        for copy in mutations(rng, json.loads(text)):
            valid = validator.is_valid(copy)
            counts[valid] += 1
            assert accepts(copy) == valid, codec.dump_json(copy)
    assert min(counts.values()) > 10, counts


def test_a_key_cannot_be_repeated_nor_a_name_be_spelt_out():
    prefix = codec.encode_symbols(
        codec.linearise({"on": "push", "env": {"A": "x"}})[:-2]
    )  # ... {"A": "x"
    m = tct.Matcher(prefix)
    one = {bytes_: i for i, bytes_ in enumerate(codec.vocab().bytes)}
    spell = lambda s: [one[c.encode()] for c in s]
    for key in ("A", "name"):  # taken; has a symbol
        again = m.fork()
        assert all(again.accept_token(t) for t in spell(key)) and not again.accept_token(
            one[codec.END.encode()]
        )
        np.testing.assert_array_equal(again.next_token_mask(), brute(again))
    longer = m.fork()
    assert all(longer.accept_token(t) for t in spell("Ab" + codec.END))


def test_random_continuations_all_decode_and_masks_equal_brute_force():
    rng = np.random.default_rng(1)
    texts = documents(60)
    for n in range(60):
        ids = tct.encode(texts[rng.integers(len(texts))]) if n % 2 else []
        m = tct.Matcher(prefix := ids[: int(rng.integers(len(ids)))] if ids else [])
        left = m.min_tokens() + int(rng.integers(80))
        more = random_walk(rng, m, left, check=0.003)
        assert len(more) <= left
        text, consumed, total = tct.decode(prefix + more)  # decode validates
        assert consumed == total


def test_deep_nesting_stops_where_decode_stops():
    rng = np.random.default_rng(2)
    one = {bytes_: i for i, bytes_ in enumerate(codec.vocab().bytes)}
    head = codec.linearise({"on": {"issues": {}}})[
        :-3
    ]  # inside of an object that may hold anything
    ids = codec.encode_symbols(head + codec.KEY["name"])
    m = tct.Matcher(ids)
    array = one[codec.ARRAY.encode()]
    depth = 0
    while m.accept_token(array):
        ids.append(array)
        depth += 1
    assert depth == codec.MAX_DEPTH - 3
    np.testing.assert_array_equal(m.next_token_mask(), brute(m))
    ids += random_walk(rng, m, m.min_tokens())
    tct.decode(ids)


def test_min_tokens_is_always_enough():
    rng = np.random.default_rng(3)
    for text in documents(80):
        ids = tct.encode(text)
        m = tct.Matcher(ids[: int(rng.integers(len(ids)))])
        enough = m.min_tokens()
        assert len(random_walk(rng, m, enough)) <= enough


def test_a_prefix_that_no_workflow_has_is_refused():
    with pytest.raises(tct.DecodeError, match="token 0"):
        tct.Matcher([codec.encode_symbols(codec.CLOSE)[0]])
    m = tct.Matcher()
    assert (
        not m.accept_token(tct.pad_token())
        and not m.accept_token(-1)
        and not m.accept_token(99999)
        and not m.next_token_mask()[tct.pad_token()]
    )


# --- the compiler on schemas of its own ------------------------------------------------------------------------------------------
SMALL = {
    "type": "object",
    "properties": {
        "name": {"enum": ["push", None]},
        "run": {"oneOf": [{"type": "boolean"}, {"const": True}, {"type": "null"}]},
    },
    "patternProperties": {
        "^(ab|b)$": {"type": "array", "items": {"enum": ["read", False]}, "minItems": 1}
    },
    "additionalProperties": False,
    "minProperties": 1,
    "dependencies": {"name": ["run"]},
    "not": {"required": ["run", "b"]},
}


def test_on_a_small_schema_a_prefix_is_accepted_exactly_when_a_valid_document_begins_so():
    check = jsonschema_rs.Draft7Validator(SMALL)
    values = [
        None,
        True,
        False,
        "push",
        "read",
        "b",
        *([*p] for n in range(3) for p in itertools.product(["read", False, True], repeat=n)),
    ]
    valid = set()
    for n in range(4):
        for keys in itertools.permutations(["name", "run", "ab", "b"], n):
            for combination in itertools.product(values, repeat=n):
                document = dict(zip(keys, combination))
                if check.is_valid(document):
                    valid.add(codec.linearise(document))
    alive = {s[:i] for s in valid for i in range(len(s) + 1)}
    one = {bytes_: i for i, bytes_ in enumerate(codec.vocab().bytes)}
    alphabet = sorted(
        {c for s in valid for c in s} | set(codec.NULL + codec.KEY["uses"] + codec.OBJECT + "ac")
    )
    compiler, tried = grammar.Compiler(SMALL), 0

    def explore(m, prefix):
        nonlocal tried
        for c in alphabet:
            if c != codec.CLOSE and re.search(f"{codec.ARRAY}[^{codec.CLOSE}]{{2}}$", prefix):
                continue  # lists of three are beyond the enumeration
            tried += 1
            after = m.fork()
            taken = after.accept_token(one[c.encode()])
            assert taken == (prefix + c in alive), [prefix, c]
            if taken and len(prefix) < 8:
                explore(after, prefix + c)

    explore(start(compiler), "")
    assert tried > 300 and len(valid) > 20


def random_schema(rng, depth):
    def pick(*options):
        return options[rng.integers(len(options))]

    def sub():
        return (
            random_schema(rng, depth - 1)
            if depth
            else pick({"type": "string"}, {"type": "null"}, True, {"enum": ["push", True]}, False)
        )

    node = {}
    for _ in range(rng.integers(1, 3)):
        word = pick(
            "type",
            "enum",
            "properties",
            "required",
            "oneOf",
            "anyOf",
            "allOf",
            "not",
            "items",
            "minItems",
            "pattern",
            "patternProperties",
            "additionalProperties",
            "dependencies",
            "minProperties",
            "minLength",
        )
        names = ["name", "run", "uses"]
        node[word] = {
            "type": lambda: pick(
                "object", "array", "string", "boolean", ["null", "object"], "number"
            ),
            "enum": lambda: ["push", "read", None],
            "properties": lambda: {pick(*names): sub() for _ in range(2)},
            "required": lambda: [pick(*names, "ab")],
            "oneOf": lambda: [sub(), sub(), sub()],
            "anyOf": lambda: [sub(), sub()],
            "allOf": lambda: [sub(), sub()],
            "not": sub,
            "items": sub,
            "minItems": lambda: int(rng.integers(3)),
            "pattern": lambda: pick("^a", "b$", "^(ab|b)+$", "^[^a]*$"),
            "patternProperties": lambda: {pick("^a", "^(ab|b)$", "n"): sub()},
            "additionalProperties": sub,
            "dependencies": lambda: {pick(*names): [pick(*names)]},
            "minProperties": lambda: int(rng.integers(3)),
            "minLength": lambda: int(rng.integers(3)),
        }[word]()
    return node


def test_random_schemas_accept_exactly_what_the_validator_accepts_or_are_refused_as_unsupported():
    rng = np.random.default_rng(4)
    leaves = [None, True, False, 1, -2.5, "", "push", "read", "ab", "b", "é"]

    def value(depth):
        kind = rng.integers(4)
        if not depth or kind < 2:
            return leaves[rng.integers(len(leaves))]
        if kind == 2:
            return [value(depth - 1) for _ in range(rng.integers(3))]
        return {
            ["name", "run", "ab", "b", "c"][rng.integers(5)]: value(depth - 1)
            for _ in range(rng.integers(4))
        }

    counts = {"unsupported": 0, True: 0, False: 0}
    for _ in range(500):
        schema = {"allOf": [{"type": "object"}, random_schema(rng, 3)]}
        check = jsonschema_rs.Draft7Validator(schema)
        try:
            compiler = grammar.Compiler(schema)
        except grammar.Unsupported:
            counts["unsupported"] += 1
            continue
        for _ in range(40):
            document = {
                ["name", "run", "ab", "b", "uses"][rng.integers(5)]: value(2)
                for _ in range(rng.integers(4))
            }
            valid = check.is_valid(document)
            counts[valid] += 1
            m = start(compiler)
            assert bool(m.threads and accepts(document, m)) == valid, (schema, document)
    assert counts["unsupported"] < 150 and min(counts.values()) > 50, counts


def test_what_the_compiler_does_not_know_is_an_error():
    for node in (
        {"maxLength": 3},
        {"type": "integer"},
        {"enum": [1]},
        {"pattern": "(?=x)y"},
        {"items": [{"type": "string"}]},
        {"if": {}},
    ):
        with pytest.raises((grammar.Unsupported, ValueError)):
            grammar.Compiler({"type": "object", "properties": {"name": node}})


def test_the_keyword_census_of_the_shipped_schema_is_complete():
    compiler = grammar.grammar()
    assert compiler.enforced == grammar.ENFORCED - {
        "const",
        "$ref",
    }  # const stands beside a $ref only, where draft 7 ignores it
    assert "oneOf" in compiler.beside_ref["#/properties/on/oneOf/2/properties/issues"]
    assert validator.is_valid({"on": {"issues": {"types": 3}}, "jobs": {"a": {"runs-on": "x"}}}), (
        "else the census is wrong"
    )
    assert SCHEMA["properties"]["on"]["oneOf"][2]["properties"]["issues"]["oneOf"]


def test_patterns_mean_what_the_validator_says_also_for_odd_characters():
    """10,000 samples of a random model found it: for the validator `.` is no carriage return and no U+2028, for the matcher it was."""
    patterns, todo = set(), [SCHEMA, {"pattern": "^.$"}, {"pattern": "^[^a]$"}, {"pattern": "a.b"}]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            patterns |= set(node.get("patternProperties", ())) | (
                {node["pattern"]} if isinstance(node.get("pattern"), str) else set()
            )
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    seeds = [
        "",
        "x",
        "ab",
        "a_b-1",
        "a/b.yml@v1",
        "o/r/.github/workflows/w.yaml@main",
        "${{ a }}",
        "1.5",
        "a b",
    ]
    for pattern in patterns:
        dfa, validator = (
            automaton.from_regex(pattern),
            jsonschema_rs.validator_for({"pattern": pattern}),
        )
        for seed in seeds:
            for odd in "\n\r\t\0\v\f\x1c\x85\xa0\xe9\u2027\u2028\u2029\u202a\u2100\ufeff\U0001f600":
                for i in range(len(seed) + 1):
                    text = seed[:i] + odd + seed[i:]
                    state = dfa.run_bytes(0, text.encode())
                    want = validator.is_valid(text)
                    assert dfa.accepts(text) == want, (pattern, text)
                    assert (
                        state >= 0
                        and state % automaton.PHASES == 0
                        and bool(dfa.accept[state // automaton.PHASES])
                    ) == want, (pattern, text)
                    if dfa.live[0]:
                        ends = [
                            dfa.run_bytes(0, text.encode()[:n])
                            for n in range(len(text.encode()) + 1)
                        ]
                        for a, b in zip(
                            ends, ends[1:]
                        ):  # a byte brings the end nearer by one at most
                            assert b < 0 or dfa.bytes_to_end[a] <= dfa.bytes_to_end[b] + 1, (
                                pattern,
                                text,
                            )
