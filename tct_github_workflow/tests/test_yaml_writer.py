"""YAML as people write it: it reads back as the same document."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tct_github_workflow.errors import EncodeError
from tct_github_workflow.yaml_text import yaml_to_json
from tct_github_workflow.yaml_writer import json_to_yaml

from .test_yaml_text import ordered, read

WORKFLOW = {
    "name": "CI: all",
    "on": {
        "push": {"branches": ["main", "release/**"], "tags": ["*"]},
        "pull_request": None,
        "schedule": [{"cron": "*/5 * * * *"}],
    },
    "permissions": {},
    "jobs": {
        "test": {
            "runs-on": "${{ matrix.os }}",
            "timeout-minutes": 5,
            "continue-on-error": False,
            "needs": [],
            "if": "!cancelled()",
            "strategy": {
                "matrix": {
                    "python": ["3.9", "3.10", 3.1],
                    "os": ["a-rather-long-runner-name-1", "a-rather-long-runner-name-2", "c"],
                    "include": [{"os": "x", "n": None}, [1, [2]], [{"a": [{}]}]],
                    "flow": ["a, b", "${{ x }}", "x]", "-x", "x:y", None, True],
                }
            },
            "steps": [
                {"uses": "actions/checkout@v4"},
                {"name": "it's", "run": "a\n  b # c\n"},
                {"run": "x\n\ny"},
                {"run": "  x\ny\n\n"},
                {"run": "a\r\nb"},
                {
                    "run": "\tif x\n\ty\n",
                    "with": {
                        "s": "true",
                        "e": "",
                        "t": " x",
                        "c": "a #b",
                        "k": "b:",
                        "h": "#",
                        "u": "é 😀",
                    },
                },
            ],
        }
    },
    "env": {"keep": "x\n\n"},
    "defaults": {"run": "y\n\n"},
    "concurrency": None,
}
WORKFLOW_AS_YAML = """\
name: 'CI: all'

on:
  push:
    branches: [main, release/**]
    tags: ['*']
  pull_request:
  schedule:
    - cron: '*/5 * * * *'

permissions: {}

jobs:
  test:
    runs-on: ${{ matrix.os }}
    timeout-minutes: 5
    continue-on-error: false
    needs: []
    if: '!cancelled()'
    strategy:
      matrix:
        python: ['3.9', '3.10', 3.1]
        os:
          - a-rather-long-runner-name-1
          - a-rather-long-runner-name-2
          - c
        include:
          - os: x
            n:
          - - 1
            - [2]
          - - a:
                - {}
        flow: ['a, b', '${{ x }}', 'x]', '-x', x:y, null, true]
    steps:
      - uses: actions/checkout@v4
      - name: it's
        run: |
          a
            b # c
      - run: |-
          x

          y
      - run: |2+
            x
          y

      - run: "a\\r\\nb"
      - run: |2
          \tif x
          \ty
        with:
          s: 'true'
          e: ''
          t: ' x'
          c: 'a #b'
          k: 'b:'
          h: '#'
          u: é 😀

env:
  keep: |+
    x

defaults:
  run: |+
    y

concurrency:
"""


def test_a_workflow_is_written_as_a_person_would():
    document = json.dumps(WORKFLOW)
    assert json_to_yaml(document) == WORKFLOW_AS_YAML
    assert ordered(yaml_to_json(WORKFLOW_AS_YAML)) == ordered(document)


any_text = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20) | st.lists(
    st.sampled_from(
        [
            *"\n\r\t \x85\u2028\u2029\ufeff\ufffe\x00\x07\x7f\x9f\xa0",
            *"#:-?!&*|>%@`\"'\\[]{},~=0é😀",
            "  ",
            " #",
            ": ",
            "---",
            "...",
            "<<",
            "true",
            "on",
            "0x1f",
            "1e5",
            ".5",
            "${{ x }}",
            "\n\n",
            "\n ",
            "k" * 1100,
        ]
    ),
    max_size=8,
).map("".join)
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**50), 10**50)
    | any_text
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(any_json)
def test_any_json_reads_back_from_yaml_as_itself(value):
    json_text = json.dumps(value)
    text = json_to_yaml(json_text)
    assert ordered(yaml_to_json(text)) == ordered(json_text)
    assert yaml_to_json(text.encode()) == yaml_to_json(text)
    assert json_to_yaml(yaml_to_json(text)) == text


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.sampled_from(
                [
                    *"ab:-?#,[]{}&*!|>%@'\"\\~\n \t\r\x00\x85\ufeff\ud800",
                    ": ",
                    "- ",
                    "\n  ",
                    "&a ",
                    "*a",
                    "!!int ",
                    "<<: ",
                    "---\n",
                    "...\n",
                    "%TAG ! x\n",
                    '"\\u',
                    "0x",
                    "1e999",
                    "|2",
                    ">-",
                ]
            ),
            max_size=30,
        ).map("".join),
    )
)
def test_any_input_is_read_or_refused(source):
    try:
        json.loads(yaml_to_json(source))
    except EncodeError:
        pass


@pytest.mark.parametrize(
    "text",
    [
        "a\n \n",
        "\n \nb",
        " \n",
        "\n\n",
        "a\n\n ",
        "a\n  ",
        "\n\na",
        "a\n\t\nb",
        "\t\na",
        "a\n# b",
        "a\n---\nb",
        "#\na",
        "- a\n",
        "a: b\n",
    ],
)
def test_strings_that_are_awkward_in_blocks_read_back(both_parsers, text):
    json_text = json.dumps({"a": text, "b": [text, {"c": text}], "d": text})
    assert ordered(yaml_to_json(json_to_yaml(json_text))) == ordered(json_text)


def test_scalars_and_empty_collections_may_stand_alone():
    for value in (
        None,
        True,
        0,
        -1.5,
        1e22,
        "",
        "a",
        "3.10",
        "a\nb",
        " \n",
        [],
        {},
        [[]],
        [{}],
        [None],
        "---",
        "x" * 2000,
    ):
        assert read(json_to_yaml(json.dumps(value))) == value


def test_deep_json_is_written_or_refused():
    for deep in (
        '{"a":' * 400 + "[]" + "}" * 400,
        "[" * 400 + "]" * 400,
        '[{"a":' * 200 + "1" + "}]" * 200,
    ):
        assert yaml_to_json(json_to_yaml(deep)) == deep
    for deeper in ("[" * 501 + "]" * 501, '{"a":' * 100_000 + "1" + "}" * 100_000):
        with pytest.raises(EncodeError, match="JSON: "):
            json_to_yaml(deeper)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "{",
        "[1,]",
        "{'a':1}",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e400",
        "9" * 4000,
        '"\x01"',
        '"\\ud800"',
        '{"a":1,"a":2}',
        "a: b",
    ],
)
def test_bad_json_is_refused(bad):
    with pytest.raises(EncodeError, match="JSON: "):
        json_to_yaml(bad)
