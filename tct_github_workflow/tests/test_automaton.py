"""Patterns: the automata, over characters and over bytes, against the validator."""

import jsonschema_rs

from tct_github_workflow.automaton import from_regex
from tct_github_workflow.schema import SCHEMA
from tct_github_workflow.utf8 import over_bytes

SEEDS = [
    *("", "x", "ab", "a_b-1", "a b", "1.5", "${{ a }}"),
    *("a/b.yml@v1", "o/r/.github/workflows/w.yaml@main"),
]
ODD_CHARACTERS = "\n\r\t\0\v\f\x1c\x85\xa0\xe9\u2027\u2028\u2029\u202a\u2100\ufeff\U0001f600"


def patterns_in(schema):
    """All patterns of a schema, of strings and of keys."""
    found = set()
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            found.update(node.get("patternProperties", ()))
            if isinstance(node.get("pattern"), str):
                found.add(node["pattern"])
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return found


def texts_with_an_odd_character():
    for seed in SEEDS:
        for odd in ODD_CHARACTERS:
            for i in range(len(seed) + 1):
                yield seed[:i] + odd + seed[i:]


def test_patterns_mean_what_the_validator_says_also_for_odd_characters():
    """10,000 samples of a random model found it: `.` is no carriage return and no U+2028."""
    for pattern in [*sorted(patterns_in(SCHEMA)), "^.$", "^[^a]$", "a.b"]:
        dfa = from_regex(pattern)
        automaton = over_bytes(dfa)
        validator = jsonschema_rs.validator_for({"pattern": pattern})
        for text in texts_with_an_odd_character():
            wanted = validator.is_valid(text)
            state = automaton.run(automaton.start, text.encode())
            assert dfa.accepts(text) == wanted, (pattern, text)
            assert (state >= 0 and bool(automaton.accepting[state])) == wanted, (pattern, text)


def test_a_byte_brings_the_end_nearer_by_one_at_most():
    for pattern in sorted(patterns_in(SCHEMA)):
        automaton = over_bytes(from_regex(pattern))
        if not automaton.dfa.live[0]:
            continue
        for text in texts_with_an_odd_character():
            state = automaton.start
            for byte in text.encode():
                after = automaton.run(state, bytes([byte]))
                if after < 0:
                    break
                assert automaton.bytes_to_end[state] <= automaton.bytes_to_end[after] + 1
                state = after
