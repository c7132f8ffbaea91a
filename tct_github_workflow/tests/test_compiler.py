"""The compiler, on schemas of its own: the matcher takes exactly what the validator takes."""

import functools
import itertools
import re

import jsonschema_rs
import numpy as np
import pytest

import tct_github_workflow as tct
from tct_github_workflow import alphabet, compiler, linear
from tct_github_workflow.schema import SCHEMA, validator
from tct_github_workflow.threads import start_document

from .workflows import token_ids, tokens_of

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


def matcher_of(schema):
    """A Matcher at the start of a document of any schema."""
    matcher = tct.Matcher()
    matcher.threads = start_document(compiler.Compiler(schema).root)
    return matcher


def lists_of(items, longest):
    found = []
    for n in range(longest + 1):
        found += [list(chosen) for chosen in itertools.product(items, repeat=n)]
    return found


def valid_documents(schema, keys, values, most_keys):
    """Linearised strings of all valid documents of these keys and values."""
    is_valid = jsonschema_rs.Draft7Validator(schema).is_valid
    found = set()
    for n in range(most_keys + 1):
        for chosen in itertools.permutations(keys, n):
            for combination in itertools.product(values, repeat=n):
                document = dict(zip(chosen, combination, strict=True))
                if is_valid(document):
                    found.add(linear.linearise(document))
    return found


def test_on_a_small_schema_a_prefix_is_accepted_exactly_when_a_valid_document_begins_so():
    values = [None, True, False, "push", "read", "b", *lists_of(["read", False, True], 2)]
    valid = valid_documents(SMALL, ["name", "run", "ab", "b"], values, most_keys=3)
    alive = set()
    for string in valid:
        alive.update(string[:i] for i in range(len(string) + 1))
    others = alphabet.NULL + alphabet.KEY["uses"] + alphabet.OBJECT + "ac"
    characters = sorted({*others}.union(*valid))
    # lists of three are beyond the enumeration
    two_items = re.compile(f"{alphabet.ARRAY}[^{alphabet.CLOSE}]{{2}}$")
    ids = token_ids()
    n_tried = 0
    todo = [(matcher_of(SMALL), "")]
    while todo:
        matcher, prefix = todo.pop()
        for c in characters:
            if c != alphabet.CLOSE and two_items.search(prefix):
                continue
            n_tried += 1
            after = matcher.fork()
            accepted = after.accept_token(ids[c.encode()])
            assert accepted == (prefix + c in alive), [prefix, c]
            if accepted and len(prefix) < 8:
                todo.append((after, prefix + c))
    assert n_tried > 300
    assert len(valid) > 20


# --- random schemas ------------------------------------------------------------------------------
LEAVES = [{"type": "string"}, {"type": "null"}, True, {"enum": ["push", True]}, False]
TYPES = ["object", "array", "string", "boolean", ["null", "object"], "number"]


class RandomSchemas:
    """Schemas and documents by chance, of few keys and values, so that they meet."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def key(self):
        return self.pick("name", "run", "uses")

    def schema(self, depth):
        if depth < 0:
            return self.pick(*LEAVES)
        inner = functools.partial(self.schema, depth - 1)
        keywords = {
            "type": lambda: self.pick(*TYPES),
            "enum": lambda: ["push", "read", None],
            "properties": lambda: {self.key(): inner() for _ in range(2)},
            "required": lambda: [self.pick("name", "run", "uses", "ab")],
            "oneOf": lambda: [inner(), inner(), inner()],
            "anyOf": lambda: [inner(), inner()],
            "allOf": lambda: [inner(), inner()],
            "not": inner,
            "items": inner,
            "minItems": lambda: int(self.rng.integers(3)),
            "pattern": lambda: self.pick("^a", "b$", "^(ab|b)+$", "^[^a]*$"),
            "patternProperties": lambda: {self.pick("^a", "^(ab|b)$", "n"): inner()},
            "additionalProperties": inner,
            "dependencies": lambda: {self.key(): [self.key()]},
            "minProperties": lambda: int(self.rng.integers(3)),
            "minLength": lambda: int(self.rng.integers(3)),
        }
        node = {}
        for _ in range(self.rng.integers(1, 3)):
            word = self.pick(*keywords)
            node[word] = keywords[word]()
        return node

    def value(self, depth):
        kind = self.rng.integers(4)
        if not depth or kind < 2:
            return self.pick(None, True, False, 1, -2.5, "", "push", "read", "ab", "b", "é")
        if kind == 2:
            return [self.value(depth - 1) for _ in range(self.rng.integers(3))]
        return self.mapping(["name", "run", "ab", "b", "c"], depth - 1)

    def mapping(self, keys, depth):
        return {self.pick(*keys): self.value(depth) for _ in range(self.rng.integers(4))}


def test_random_schemas_accept_exactly_what_the_validator_accepts_or_are_refused_as_unsupported():
    chance = RandomSchemas(4)
    counts = {"unsupported": 0, True: 0, False: 0}
    for _ in range(500):
        schema = {"allOf": [{"type": "object"}, chance.schema(3)]}
        is_valid = jsonschema_rs.Draft7Validator(schema).is_valid
        try:
            start = matcher_of(schema)
        except compiler.Unsupported:
            counts["unsupported"] += 1
            continue
        for _ in range(40):
            document = chance.mapping(["name", "run", "ab", "b", "uses"], depth=2)
            valid = is_valid(document)
            counts[valid] += 1
            matcher = start.fork()
            accepted = bool(matcher.threads) and all(map(matcher.accept_token, tokens_of(document)))
            assert (accepted and matcher.is_terminated()) == valid, (schema, document)
    assert counts["unsupported"] < 150
    assert min(counts.values()) > 50, counts


@pytest.mark.parametrize(
    "node",
    [
        {"maxLength": 3},
        {"type": "integer"},
        {"enum": [1]},
        {"pattern": "(?=x)y"},
        {"items": [{"type": "string"}]},
        {"if": {}},
    ],
)
def test_what_the_compiler_does_not_know_is_an_error(node):
    with pytest.raises(ValueError):
        compiler.Compiler({"type": "object", "properties": {"name": node}})


def test_the_keyword_census_of_the_shipped_schema_is_complete():
    compiled = compiler.grammar()
    # const stands beside a $ref only, where draft 7 ignores it
    github = compiler.grammar("github")
    of_github = {"expr", "exprKeys", "cron", "role"}
    assert compiled.enforced == compiler.KEYWORDS.keys() - {"const"} - of_github
    assert github.enforced == compiler.KEYWORDS.keys() - {"const"}
    issues = "/properties/on/oneOf/2/properties/issues"
    assert "oneOf" in compiled.beside_ref["#" + issues]
    assert (
        compiled.at(issues)["oneOf"]
        == SCHEMA["properties"]["on"]["oneOf"][2]["properties"]["issues"]["oneOf"]
    )
    # else the census is wrong: the validator does not look at it either
    assert validator.is_valid({"on": {"issues": {"types": 3}}, "jobs": {"a": {"runs-on": "x"}}})
