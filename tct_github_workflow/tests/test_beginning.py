"""A start may be cut anywhere: it is read, kept, and continues as its author could have.

TCT_CORPUS=workflows.jsonl.xz adds real workflows, cut at random places.
"""

import random

import pytest

import tct_github_workflow as tct
from tct_github_workflow.vocab import token_bytes

from .workflows import corpus_yaml

STEPS = "on: push\njobs:\n  t:\n    runs-on: x\n    steps:\n"
WHOLE = {
    "block style": (
        "# comment: [1, 'x'\nname: My CI # why\non:\n  push:\n    branches:\n    - main\n"
        "    - 'v*'\n  pull_request:\n\npermissions: {}\njobs:\n  t:\n    runs-on: ubuntu-latest\n"
        "    timeout-minutes: 12.5\n    continue-on-error: false\n    steps:\n"
        "      - uses: docker://a:1\n      -   run: make\n          id: a\n"
    ),
    "flow style": (
        "on: {push: {branches: [main, \"v*\"], tags: ['it''s', a b,\n  c]}, pull_request: }\n"
        "jobs: {t: {runs-on: [x, y], # [\n  steps: [{run: a}, {uses: b, with: {c: 1, d: ''}}]}}\n"
    ),
    "literal blocks": (
        STEPS + '      - run: |\n          [ "$a" = \'b ] && {\n\n            echo 1 \\\n'
        "          }\n\n        name: |-\n          a\n\n          b\n"
        "      - run: |+\n          x\n\n"
    ),
    "folded blocks": (
        STEPS + "      - run: >\n          a\n          b\n\n          c\n            d\n\n"
        "        if: >-\n          a &&\n          b\n        name: x\n"
    ),
    "quotes": (
        '\'on\': push\n"name": "a\\tb \\u00e9\\U0001F600 \\"c\\" d\n  e\n\n  f\\\n  g"\n'
        "jobs:\n  \"t\" :\n    runs-on: 'it''s\n      long'\n    steps: [run: ': #']\n"
    ),
    "JSON": (
        '{"name": "a\\\\\\ud83d\\ude00\\"b\\/\\u00e9", "on": ["push", "pull_request"], "env":\n'
        '{"A": -1.5e-7, "B": true, "": 10}, "jobs": {"t": {"runs-on": "x", "steps":[{"run":"y"}]}}}'
    ),
    "line ends of Windows": (
        "---\r\non: push\r\njobs:\r\n  t:\r\n    runs-on: |\r\n      x\r\n      y\r\n"
    ),
    "other scripts, anchors": (
        "%YAML 1.2\n---\nname: é 中😀\non: push\njobs: {e: &ab {runs-on: é}, u: *ab, v: *ab}\n"
    ),
    "nulls and dashes": (
        "on:\n  create:\n    A:\n    B: ~\n    C: Null\n    D: [-1, -a]\n  push:\n"
        "jobs:\n  t:\n    runs-on: x\n    steps:\n    - run: -a\n      name: --b\n"
    ),
}


def read(start):
    """The linearised strings, as bytes, of which a start says that one must come."""
    ids, texts = tct.encode_prefix(start)
    head = b"".join(token_bytes(ids))
    return [head + text for text in texts or [b""]]


def may_become(start, whole):
    """Whether a start may be continued to the whole workflow, in the very tokens of the whole."""
    is_json = whole.startswith("{")
    ids = tct.encode(whole if is_json else tct.yaml_to_json(whole))
    settled, texts = tct.encode_prefix(start)
    rest = b"".join(token_bytes(ids[len(settled) :]))
    is_begun = ids[: len(settled)] == settled
    return is_begun and (not texts or any(rest.startswith(text) for text in texts))


@pytest.mark.parametrize("name", WHOLE)
def test_wherever_a_workflow_is_cut_it_may_become_what_its_author_wrote(name):
    whole = WHOLE[name]
    for end in range(len(whole) + 1):
        assert may_become(whole[:end], whole), whole[:end][-60:]


END_OF_STEPS = "\n      - run: z\n"
END_OF_JOBS = "\njobs: {t: {runs-on: x}}\n"


@pytest.mark.parametrize(
    "start, rest",
    [
        # the first key of a mapping, where a string may stand as well (issue 11, 11)
        ("on:\n  pu", "sh:\n    branches: [main]" + END_OF_JOBS),
        ("on:\n  pu", "sh" + END_OF_JOBS),
        ("on:\n  pu", "ll_request:" + END_OF_JOBS),
        ("on: push\njobs: {t: {runs-on: {gro", "up: a}}}"),
        ("on: push\njobs: {t: {runs-on: gro", "up}}"),
        (STEPS + "      - run: a\n        with:\n          ru", "n: b"),
        # blanks at the end (12)
        ("on: push ", END_OF_JOBS),
        ("name: a ", "b\non: push" + END_OF_JOBS),
        ("name: a ", "# b\non: push" + END_OF_JOBS),
        ("on: ", "push" + END_OF_JOBS),
        ("on: [push ", ", pull_request]" + END_OF_JOBS),
        # nothing yet (13)
        ("# only a comment", "\non: push" + END_OF_JOBS),
        ("---", "\non: push" + END_OF_JOBS),
        ("-", "--\non: push" + END_OF_JOBS),
        ("\n \n# a\n--- # b\n", "on: push" + END_OF_JOBS),
        # the line break of a block (14)
        (STEPS + "      - run: |\n          a\n", "          b" + END_OF_STEPS),
        (STEPS + "      - run: |\n          a\n", "      - run: z\n"),
        (STEPS + "      - run: |\n          a\n    ", "      b" + END_OF_STEPS),
        (STEPS + "      - run: |\n", "          a" + END_OF_STEPS),
        (STEPS + "      - run: |", "-\n          a" + END_OF_STEPS),
        (STEPS + "      - run: >\n          a\n", "          b" + END_OF_STEPS),
        (STEPS + "      - run: |-\n          a\n", "\n          b" + END_OF_STEPS),
        (STEPS + "      - run: |-\n          a\n", "      - run: z\n"),
        # other ends that can be read in several ways
        ("name: 'it'", "'s'\non: push" + END_OF_JOBS),
        ("name: 'it'", "\non: push" + END_OF_JOBS),
        ("env:\n  A: 1", "x\non: push" + END_OF_JOBS),
        ("env:\n  A: 1", "0\non: push" + END_OF_JOBS),
        ("env:\n  A: 3.1", "0\non: push" + END_OF_JOBS),
        ("env:\n  A: -", "1\non: push" + END_OF_JOBS),
        ("env:\n  A: t", "rue\non: push" + END_OF_JOBS),
        ("env:\n  A: T", "RUE\non: push" + END_OF_JOBS),
        ("env:\n  A: pus", "h\non: push" + END_OF_JOBS),
        ('{"on": "push", "jobs": {"t": {"runs-on": "x"}}', "}"),
        ("on: push\njobs:\n  t: &a1 {runs-on: x}\n  u: &a2 {runs-on: y}\n  v: *a", "2\n"),
        ("on: push\njobs: {t: {runs-on: x, steps: [{run: a}", "]}}"),
    ],
)
def test_every_reading_of_a_start_is_kept(start, rest):
    assert may_become(start, start + rest)


@pytest.mark.parametrize(
    "start, whole",
    [
        ("name: Bui", "name: Bu\non: push"),
        ("name: a ", "name: ab\non: push"),
        ("name: a\n", "name: ab\non: push"),
        ("name: a\n", "name: a b\non: push"),
        ("name: 'a'", "name: ab\non: push"),
        ("env:\n  A: '", "env: {A: 1}\non: push"),
        ("env:\n  A: 't", "env: {A: true}\non: push"),
        ("env:\n  A: 1\n", "env: {A: 10}\non: push"),
        ("on: [push", "on: push"),
        ("on: [push,", "on: [push]"),
        ("on: [push]", "on: [push, pull_request]"),
        ("on: {push: }", "on: {push: , pull_request: }"),
        ("on: push\nenv: {A: 1,", "on: push\nenv: {A: 1}"),
    ],
)
def test_what_was_typed_stays(start, whole):
    whole += END_OF_JOBS
    assert not may_become(start, whole)


@pytest.mark.parametrize(
    "start, whole",
    [
        (STEPS + "      - run: |\n          a\n", STEPS + "      - run: ab\n"),
        (STEPS + "      - run: |-\n          a\n", STEPS + "      - run: ab\n"),
        (
            STEPS + "      - run: |\n          a\n            ",
            STEPS + "      - run: |\n          a\n          b",
        ),
        (STEPS + "      - run: a\n      -", STEPS + "      - run: a\n"),
        (STEPS + "      - run: a\n      - ", STEPS + "      - run: a\n"),
    ],
)
def test_what_was_typed_of_steps_stays(start, whole):
    assert not may_become(start, whole)


@pytest.mark.parametrize(
    "start",
    ["", "\ufeff", " \n", "# a", "---", "--- # a", "%YAML 1.2\n---\n", b"", b"\xef\xbb\xbf# a\n"],
)
def test_a_start_that_says_nothing_allows_everything(start):
    assert tct.encode_prefix(start) == ([], [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_bytes_are_read_as_prepare_reads_them_and_half_a_character_is_left_out(encoding):
    start = "name: caf\u00e9 \U0001f600"
    data = start.encode(encoding)
    assert tct.encode_prefix(data) == tct.encode_prefix(start)
    for n_missing in 1, 2, 3:
        assert tct.encode_prefix(data[:-n_missing]) == tct.encode_prefix(start[:-1])


@pytest.mark.parametrize(
    "start, why",
    [
        ("- a list", "is a mapping"),
        ("on: pushh\n", "no valid workflow begins like this"),
        ("on: push\njobs: {t: {runs-on: x, stepz: ", '"runs-on":"x"}}}'),
        ('{"on": "push"}}', "line 1, column 15"),
        ('{"on": "push"}', "no valid workflow begins like this"),
        ("a: *x", "*x"),
        ("\tx", "line 1, column 1"),
        ("[", "is a mapping"),
        ("true", "no valid workflow begins like this"),
        ("jobs: {a: 3,", "no valid workflow begins like this"),
        (b"on: pu\xff\n", "line 1, byte offset 6: this is not UTF-8"),
    ],
)
def test_what_no_workflow_begins_with_is_refused_in_one_line(start, why):
    with pytest.raises(tct.EncodeError) as e:
        tct.encode_prefix(start)
    assert why in str(e.value) and "\n" not in str(e.value)


def test_a_workflow_that_is_closed_comes_back_whole():
    text = '{"on": "push", "jobs": {"t": {"runs-on": "x"}}}'
    assert tct.encode_prefix(text) == (tct.encode(text), [])
    assert tct.encode_prefix(text + "\n") == (tct.encode(text), [])


def test_real_workflows_cut_anywhere_may_become_what_their_authors_wrote():
    rng = random.Random(0)
    n_cut = 0
    for text in rng.sample(corpus_yaml(), 3000):
        try:
            tct.encode(tct.yaml_to_json(text))
        except tct.EncodeError:
            continue
        start = text[: rng.randrange(len(text) + 1)]
        assert may_become(start, text), start[-200:]
        n_cut += 1
    assert n_cut > 1000
