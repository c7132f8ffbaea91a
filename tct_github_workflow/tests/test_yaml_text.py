r"""YAML as GitHub reads it.

Expected values come from the YAML 1.2.2 standard and from GitHub's own reader (see yaml_text.py),
not from running ours.
"""

import json

import pytest
import yaml

from tct_github_workflow import yaml_text
from tct_github_workflow.errors import EncodeError
from tct_github_workflow.yaml_text import yaml_to_json
from tct_github_workflow.yaml_writer import json_to_yaml


def read(source):
    return json.loads(yaml_to_json(source))


def ordered(json_text):
    """Objects as lists of pairs, so that == sees the key order."""
    return json.loads(json_text, object_pairs_hook=lambda pairs: ("object", pairs))


def error(source):
    with pytest.raises(EncodeError) as e:
        yaml_to_json(source)
    return str(e.value)


def test_the_json_is_minified_in_the_order_of_the_source(both_parsers):
    text = "name: é\non: [push, pull_request]\njobs:\n  b:\n    steps:\n      - run: x\n  a: {}\n"
    assert (
        yaml_to_json(text)
        == '{"name":"é","on":["push","pull_request"],"jobs":{"b":{"steps":[{"run":"x"}]},"a":{}}}'
    )


@pytest.mark.parametrize(
    "plain",
    [
        "on",
        "On",
        "off",
        "yes",
        "NO",
        "y",
        "n",
        "tRUE",
        "nULL",
        "1_000",
        "1:30",
        "190:20:30",
        "2001-01-01",
        "0b1",
        "0o8",
        "0x",
        "2001-12-14t21:59:43.10-05:00",
        "-0x1F",
        "1e",
        "1,000",
        "3.10.1",
        "v1",
        "=",
        ".",
        "+",
        "e3",
        "inf",
        ".nAn",
        "١٢",
        "${{ x }}",
        "a:b",
        "http://x/#y",
        "a#b",
        "-x",
        "?x",
        ":x",
    ],
)
def test_plain_strings_stay_strings(both_parsers, plain):
    assert read(f"a: {plain}") == {"a": plain}
    assert json_to_yaml(json.dumps(plain)) == plain + "\n"


@pytest.mark.parametrize(
    "plain, value",
    [
        ("", "null"),
        ("~", "null"),
        ("null", "null"),
        ("Null", "null"),
        ("NULL", "null"),
        ("true", "true"),
        ("True", "true"),
        ("TRUE", "true"),
        ("false", "false"),
        ("False", "false"),
        ("FALSE", "false"),
        ("0", "0"),
        ("012", "12"),
        ("-7", "-7"),
        ("+12", "12"),
        ("0o17", "15"),
        ("0x1F", "31"),
        ("0xff", "255"),
        ("3.10", "3.1"),
        ("1e3", "1000.0"),
        ("1.5E-3", "0.0015"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("1.", "1.0"),
        ("+1.e2", "100.0"),
        ("12345678901234567890", "12345678901234567890"),
    ],
)
def test_plain_scalars_follow_the_core_schema(both_parsers, plain, value):
    assert yaml_to_json(f"a: {plain}") == '{"a":%s}' % value
    assert read(
        f"a: '{plain}'\nb: \"{plain}\"\nc: |-\n  {plain}\nd: !!str {plain}"
    ) == dict.fromkeys("abcd", plain)
    assert json_to_yaml(json.dumps({"a": plain})) == f"a: '{plain}'\n"


@pytest.mark.parametrize(
    "text, value",
    [
        ("!!int 3", 3),
        ("!!float 3", 3),
        ("!!float 3.5", 3.5),
        ("!!bool true", True),
        ("!!null ~", None),
        ("!!str 3.10", "3.10"),
        ("!!str", ""),
        ("!!seq [1]", [1]),
        ("!!map {a: 1}", {"a": 1}),
    ],
)
def test_core_tags_are_honoured(both_parsers, text, value):
    assert read(f"x: {text}") == {"x": value}


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [x]",
        "!!python/name:os.system",
        "!!binary aGk=",
        "!!timestamp 2001-01-01",
        "!!set {a}",
        "!custom x",
        "! x",
        "!!int x",
        "!!int '3'",
        "!!bool 1",
        "!!null x",
        "!!map []",
        "!!seq {}",
        "!!str {}",
        "!<tag:example.org,2000:x> y",
    ],
)
def test_other_tags_and_tags_that_do_not_fit_are_refused(both_parsers, text):
    assert error(f"a: 1\nx: {text}").startswith("line 2, column 4: the tag ")


def test_keys_become_the_strings_that_github_makes_of_them(both_parsers):
    keys = {
        "on": "on",
        "true": "true",
        "False": "false",
        "3.10": "3.1",
        "'3.10'": "3.10",
        "0x1F": "31",
        "1e3": "1000",
        "1e20": "1E+20",
        "1e-7": "1E-07",
        "~": "",
        "2001-01-01": "2001-01-01",
        "!!str 1.0": "1.0",
        "? |-\n a\n b\n": "a\nb",
    }
    assert list(read("\n".join(f"{key}: 0" for key in keys))) == list(keys.values())


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "on: push\nruns-on: a\nruns-on: b",
            "line 3, column 1: duplicate key 'runs-on' (first on line 2)",
        ),
        ("{a: 1, 'a': 2}", "line 1, column 8: duplicate key 'a' (first on line 1)"),
        ("3.10: a\n3.1: b", "line 2, column 1: duplicate key '3.1' (first on line 1)"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "line 3, column 3: GitHub does not support merge keys (<<)"),
        ("? [a]\n: b", "line 1, column 3: a mapping or sequence cannot be a key"),
        ("{a: b}: c", "line 1, column 1: a mapping or sequence cannot be a key"),
        ("a: &x [1]\n*x : 2", "line 2, column 1: a mapping or sequence cannot be a key"),
        (
            "a: 1\n---\nb: 2",
            "line 2, column 1: a second document starts here; a workflow is one document",
        ),
        ("a: .inf", "line 1, column 4: '.inf' is not a number that JSON can hold"),
        ("- -.INF", "line 1, column 3: '-.INF' is not a number that JSON can hold"),
        ("- .NaN", "line 1, column 3: '.NaN' is not a number that JSON can hold"),
        ("- .nan: 1", "line 1, column 3: '.nan' is not a number that JSON can hold"),
        ("- 1e400", "line 1, column 3: '1e400' is not a number that JSON can hold"),
        ("a: *x", "line 1, column 4: the alias *x stands before its anchor"),
        ("a: &x\n  b: *x", "line 2, column 6: the alias *x stands inside its anchor"),
        ("a: 1\nb: \x07", "line 2, column 4: character U+0007 is not allowed in YAML"),
        ("a: 1\x00", "line 1, column 5: character U+0000 is not allowed in YAML"),
        ("a: \ud800", "line 1, column 4: character U+D800 is not allowed in YAML"),
        ("", "line 1, column 1: there is no YAML document, only comments or nothing"),
        (
            "\ufeff# nothing\n\n",
            "line 1, column 1: there is no YAML document, only comments or nothing",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_line_and_column(both_parsers, text, message):
    assert error(text) == message


@pytest.mark.parametrize(
    "text, where",
    [
        ("a: [1\nb: 2", "line 2, column 2"),
        ("a: b: c", "line 1, column 5"),
        ("a:\n\t- b", "line 2, column 1"),
        ("a: 'x", "line 1, column 6"),
        ("{{ template }}", "line 1, column 2"),
        ("{% if x %}", "line 1, column 2"),
        ('a: "\\q"', "line 1, column"),
        ("- a\nb: c", "line 2, column 1"),
        ("a: @b", "line 1, column 4"),
    ],
)
def test_syntax_errors_carry_line_and_column(both_parsers, text, where):
    assert error(text).startswith(where)


def test_a_surrogate_written_as_an_escape_is_refused(both_parsers):
    assert error('a: "\\ud800"') and error('a: "\\UFFFFFFFF"')


def test_long_texts_are_cut_short_in_messages():
    assert (
        len(error("a: " + "9" * 5000)) < 150
        and len(error(f"'{'k' * 900}': 1\n'{'k' * 900}': 2")) < 150
    )


def test_a_quoted_double_less_than_is_an_ordinary_key():
    assert read("'<<': 1") == {"<<": 1}
    assert json_to_yaml('{"<<":1}') == "'<<': 1\n"


def test_anchors_and_aliases_are_expanded(both_parsers):
    text = "a: &x {k: [1, &y two]}\nb: *x\nc: [*y, *x]\n&z d: *z\n"
    assert read(text) == {
        "a": {"k": [1, "two"]},
        "b": {"k": [1, "two"]},
        "c": ["two", {"k": [1, "two"]}],
        "d": "d",
    }
    assert read("a: &x 3.10\n*x : b") == {"a": 3.1, "3.1": "b"}


def test_an_alias_means_the_latest_definition_of_its_anchor(both_parsers):
    assert read("a: &x 1\nb: *x\nc: &x 2\nd: *x") == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert read("a: &x {b: &x 1, c: *x}\nd: *x") == {"a": {"b": 1, "c": 1}, "d": 1}


@pytest.mark.parametrize("leaf", ["x", "[]", "x" * 10_000])
def test_alias_bombs_stop_at_a_cap(leaf):
    """Nine levels of nine aliases each: 3.8e8 leaves, from a few hundred bytes."""
    bomb = f"a0: &a0 [{leaf}]\n" + "".join(
        f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)
    )
    assert "more than 50,000 parser events" in error(
        bomb
    ) or "more than 10,485,760 characters" in error(bomb)


def test_aliases_may_add_up_to_the_caps_and_no_more(monkeypatch):
    monkeypatch.setattr(yaml_text, "MAX_ADDED", 20)
    assert read("a: &x abcdefgh\nb: [*x, *x]")["b"] == ["abcdefgh"] * 2
    assert error("a: &x abcdefgh\nb: [*x, *x, *x]").startswith(
        "line 2, column 13: aliases expand to more than 20"
    )
    monkeypatch.setattr(yaml_text, "MAX_EVENTS", 20)
    assert read("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}  # 14 events, of which *x is 4
    assert "more than 20 parser events" in error("a: &x [1, 2]\nb: [*x, *x]")


def test_five_hundred_levels_are_read_and_more_are_refused():
    assert yaml_to_json("[" * 500 + "]" * 500) == "[" * 500 + "]" * 500
    assert (
        yaml_to_json("\n".join(" " * i + "a:" for i in range(500)))
        == '{"a":' * 500 + "null" + "}" * 500
    )
    assert error("[" * 501 + "]" * 501) == "line 1, column 501: nested deeper than 500 levels"
    assert error("- " * 10_000 + "a") == "line 1, column 1001: nested deeper than 500 levels"
    blocks = "\n".join(" " * i + "a:" for i in range(501))
    assert error(blocks) == "line 501, column 501: nested deeper than 500 levels"
    assert "500 levels" in error(
        "a: &a " + "[" * 300 + "]" * 300 + "\nb: " + "[" * 300 + "*a" + "]" * 300
    )


def test_the_depth_limit_holds_without_libyaml(monkeypatch):
    monkeypatch.setattr(yaml_text, "LOADER", yaml.SafeLoader)
    assert error("- " * 10_000 + "a") == "line 1, column 1001: nested deeper than 500 levels"


def test_depth_counts_aliases_inside_aliases():
    text = f"a: &a {'[' * 200}{']' * 200}\nb: &b [[*a]]\nc: "
    assert yaml_to_json(text + "[" * 297 + "*b" + "]" * 297).endswith("]" * 499 + "}")
    assert "500 levels" in error(text + "[" * 298 + "*b" + "]" * 298)


def test_ten_thousand_levels_and_a_hundred_megabytes_are_refused_unparsed(monkeypatch):
    assert error("{a: " * 10_000).startswith("line 1, column 2001: nested deeper")
    monkeypatch.setattr(yaml_text, "LOADER", None)  # calling it would be a TypeError
    for source in (
        "x" * 100_000_000,
        b"x" * 100_000_000,
        "é" * 600_000 + "x" * 600_000,
        b"%TAG !a! x\n" * 90_000,
    ):
        assert "the limit is 1,048,576 characters" in error(source) or "%TAG" in error(source)


def test_a_megabyte_string_passes():
    assert read("a: " + "x" * 1_000_000) == {"a": "x" * 1_000_000}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_and_line_ends_make_no_difference(both_parsers, encoding, newline):
    text = "name: é 😀\non: push\nrun: |\n  a\n  b\n".replace("\n", newline)
    expected = {"name": "é 😀", "on": "push", "run": "a\nb\n"}
    assert read(text.encode(encoding)) == read(text) == read("\ufeff" + text) == expected
    if encoding == "utf-16":
        assert read(b"\xfe\xff" + text.encode("utf-16-be")) == expected


def test_bytes_that_are_no_text_are_named_by_their_offset():
    assert error(b"a: 1\nb: \xff").startswith("line 2, byte offset 8: this is not UTF-8")
    assert error(b"\xff\xfea\x00\x00").startswith("line 1, byte offset 4: this is not UTF-16")
    assert error("a: é".encode("latin-1")).startswith("line 1, byte offset 3")
    assert error(b"\x00\x01\x02").startswith("line 1, column 1: character U+0000")


@pytest.mark.parametrize(
    "text, value",
    [
        ("a: b\n  c\n\n  d", "b c\nd"),
        ("a: 'b\n  c''s\n\n  d'", "b c's\nd"),
        ('a: "b\\\n  c\\n\\x41\\u00e9\\U0001F600\\/"', "bc\nAé😀/"),
        ("a: |\n  b\n   c\n\n  d\n", "b\n c\n\nd\n"),
        ("a: |-\n  b\n\n", "b"),
        ("a: |+\n  b\n\n", "b\n\n"),
        ("a: |2\n    b\n", "  b\n"),
        ("a: |2-\n    b\n", "  b"),
        ("a: |\n\n  # b\n", "\n# b\n"),
        ("a: |\n", ""),
        ("a: |\n  b", "b"),
        ("a: >\n  b\n  c\n\n  d\n   e\n  f\n", "b c\nd\n e\nf\n"),
        ("a: >-\n  b\n  c\n", "b c"),
        ("a: >+\n  b\n\n", "b\n\n"),
        ("a: # c\n  b", "b"),
        ("a: b # c", "b"),
        ("a: b#c", "b#c"),
        ("a:\n- b\n- c", ["b", "c"]),
        ("a:\n  - - b\n    - c", [["b", "c"]]),
        ("a: {b: c, d}", {"b": "c", "d": None}),
        ("a: [b: c, d]", [{"b": "c"}, "d"]),
        ("a: [b,\n c,]", ["b", "c"]),
        ('a: {"b":c}', {"b": "c"}),
        ("a: [x:y, {u: o/r@v1}]", ["x:y", {"u": "o/r@v1"}]),
        ("%YAML 1.2\n---\na: b\n...\n", "b"),
        ("--- {a: b}", "b"),
    ],
)
def test_styles_of_scalars_and_collections(both_parsers, text, value):
    assert read(text) == {"a": value}
