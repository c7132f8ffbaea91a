r"""Workflows between YAML and JSON text, both ways, with YAML read as GitHub reads it: the core schema of YAML 1.2.

    yaml_to_json("on: push\n")      ->  '{"on":"push"}'         (PyYAML alone would make it {True: "push"})
    json_to_yaml('{"on":"push"}')   ->  'on: push\n'

PyYAML's parser (libyaml, in C, where it is installed) finds the structure; the JSON text is written as its events arrive:
no object is built, and neither nesting nor aliases can blow up. Beyond the core schema we do as GitHub's own reader does
(actions/runner, src/Sdk/WorkflowParser, YamlObjectReader.cs and TemplateReader.cs):
  - keys of any scalar type become strings as it prints them: `true:` is "true" (not `on`), `3.10:` is "3.1", `~:` is "";
  - an alias stands for the latest definition of its anchor; duplicate keys, `<<` and tags of other schemas are refused;
  - its limits hold, except that documents may be nested deeper than its 50 levels.
YAML 1.1 is left in the parser (GitHub's, YamlDotNet, descends from libyaml too): NEL, LS and PS break lines, `[?x]` holds
a mapping, `{a:}` and a tab after a `-` or alone on a line are errors; so is any tab between tokens where libyaml is missing.
"""

import codecs
import json
import re
from json.encoder import encode_basestring as _quote  # str -> JSON text, not ASCII only; in C

import yaml

from .errors import EncodeError

max_source = 1 << 20  # characters of YAML; GitHub's MaxFileSize
max_added = 10 << 20  # characters of JSON that aliases may add; after GitHub's MaxResultSize
max_events = 50_000  # parser events, those that aliases repeat included; GitHub's c_maxYamlNodes
max_depth = 500  # nested collections; libyaml itself stops at some 1,000, a workflow at 256
max_digits = 3_500  # characters of a number; Python converts 4,300 decimal digits, and hex ones grow by a fifth
max_flow = 60  # characters; json_to_yaml writes an array of scalars up to this long as [a, b]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The core schema, https://yaml.org/spec/1.2.2/#1032-tag-resolution: plain scalar -> (tag, JSON text)
PLAIN_CONSTANTS = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], ("null", "null")),
    **dict.fromkeys(["true", "True", "TRUE"], ("bool", "true")),
    **dict.fromkeys(["false", "False", "FALSE"], ("bool", "false")),
}
_number = re.compile(
    r"(?P<int>[-+]?[0-9]+)|0o(?P<oct>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<special>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
_unprintable = re.compile(
    "[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # not allowed in YAML files


def resolve_plain(text):
    """(tag, JSON text) of a plain scalar; the JSON text is "" for a number that JSON cannot hold."""
    if text in PLAIN_CONSTANTS:
        return PLAIN_CONSTANTS[text]
    match = _number.fullmatch(text) if text[0] in "0123456789+-." else None
    if match is None:
        return "str", _quote(text)
    kind = match.lastgroup
    if kind == "special" or len(text) > max_digits:
        return "float", ""
    if kind == "float":
        number = float(text)
        return "float", repr(number) if number - number == 0 else ""
    return "int", str(int(match[kind], {"int": 10, "oct": 8, "hex": 16}[kind]))


def _short(text):
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _error(where, problem):
    """EncodeError, counted by the problem without what stands in parentheses after it."""
    return EncodeError(problem, where, kind="YAML: " + problem.split(" (")[0])


def _fail(mark, problem):
    raise _error(f"line {mark.line + 1}, column {mark.column + 1}", problem)


def decode_bytes(data, cut=False):
    """The text of a file's bytes in UTF-8, or UTF-16 with a BOM. cut: half a character at the end is
    left out. Raises EncodeError, naming the line, for all other bytes."""
    has_bom = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "UTF-16" if has_bom else "UTF-8"
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, final=not cut)
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        where = f"line {line}, byte offset {e.start}"
        raise _error(where, f"this is not {encoding} ({e.reason})") from None


def yaml_to_json(source):
    """Minified JSON text, keys in order, of the one YAML document in source (str, or bytes in UTF-8 or UTF-16 with a BOM).

    Raises EncodeError, naming line and column, for what GitHub would not read or JSON cannot hold.
    """
    if isinstance(source, bytes) and len(source) <= 4 * max_source:
        source = decode_bytes(source)
    if len(source) > max_source:
        raise EncodeError(f"YAML of size {len(source):,}; the limit is {max_source:,} characters")
    if (
        source.count("%TAG") > 100
    ):  # libyaml compares every %TAG directive with all before it: 7 s for 1 MiB of them
        raise EncodeError("more than 100 %TAG directives")
    try:
        json_text = "".join(_json_pieces(LOADER(source)))
        json_text.encode()  # fails on lone surrogates, which escapes can make where libyaml is missing
        return json_text
    except EncodeError:
        raise
    except yaml.MarkedYAMLError as e:
        _fail(
            e.problem_mark,
            e.problem
            + (f" ({e.context}, line {e.context_mark.line + 1})" if e.context_mark else ""),
        )
    except (yaml.YAMLError, ValueError, OverflowError) as e:  # a character that YAML does not allow
        bad = _unprintable.search(source)
        if bad is None:
            raise EncodeError(f"a character out of range: {e}") from None
        lines = source[: bad.start()].split("\n")
        where = f"line {len(lines)}, column {len(lines[-1]) + 1}"
        raise _error(where, f"character U+{ord(bad[0]):04X} is not allowed in YAML") from None


def _json_pieces(loader):
    """The JSON text of the loader's document, as strings to be joined."""
    out = []
    stack = []  # the open collections, outermost first: (keys and height around it, anchor, start in out, n_events)
    anchors = {}  # name -> [JSON text or None, height, events, start and end in out], or its entry in stack while open
    keys = None  # of the innermost collection, if a mapping: key -> its mark
    height = 0  # levels inside the innermost collection, so far
    key_next, sep = False, ""  # is a key next, and what goes before the next key or item
    n_events = n_added = 0
    for event in iter(loader.get_event, None):
        kind, mark, n_events = type(event), event.start_mark, n_events + 1
        if n_events > max_events:
            _fail(mark, f"more than {max_events:,} parser events, aliases expanded")
        if kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            is_map = kind is yaml.MappingStartEvent
            if event.tag not in (
                None,
                "tag:yaml.org,2002:map" if is_map else "tag:yaml.org,2002:seq",
            ):
                _fail(mark, f"the tag {_short(event.tag)} is not supported here")
            if key_next:
                _fail(mark, "a mapping or sequence cannot be a key")
            if len(stack) >= max_depth:
                _fail(mark, f"nested deeper than {max_depth:,} levels")
            out.append(sep)
            stack.append((keys, height, event.anchor, len(out), n_events))
            anchors[event.anchor] = stack[-1]  # anchors[None] is never asked for
            out.append("{" if is_map else "[")
            keys, height, key_next, sep = {} if is_map else None, 0, is_map, ""
            continue
        if kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            out.append("]" if keys is None else "}")
            opened = stack.pop()
            keys, outer_height, anchor, start, n_before = opened
            if anchors[anchor] is opened:  # else it was defined anew inside
                anchors[anchor] = [None, height + 1, n_events - n_before + 1, start, len(out)]
            height, key_next, sep = max(height + 1, outer_height), keys is not None, ","
            continue
        if kind is yaml.ScalarEvent:
            text, tag = event.value, event.tag
            found, item = (
                ("str", _quote(text))
                if event.style or tag == "tag:yaml.org,2002:str"
                else resolve_plain(text)
            )
            if (
                tag
                and tag != f"tag:yaml.org,2002:{found}"
                and (found, tag) != ("int", "tag:yaml.org,2002:float")
            ):
                _fail(mark, f"the tag {_short(tag)} is not supported, or not for {_short(text)}")
            if not item:
                _fail(mark, f"{_short(text)} is not a number that JSON can hold")
            if key_next and text == "<<" and not event.style:
                _fail(mark, "GitHub does not support merge keys (<<)")
            if event.anchor:
                anchors[event.anchor] = [item, 0, 1, 0, 0]
        elif kind is yaml.AliasEvent:
            found, anchor = None, anchors.get(event.anchor)
            if type(anchor) is not list:
                _fail(
                    mark,
                    f"the alias *{event.anchor} stands {'inside' if anchor else 'before'} its anchor",
                )
            item, anchor_height, anchor_events, start, end = anchor
            if item is None:
                item = anchor[0] = "".join(out[start:end])
            n_events += anchor_events - 1
            n_added += len(item)
            height = max(height, anchor_height)
            if n_added > max_added or len(stack) + anchor_height > max_depth:
                _fail(
                    mark,
                    f"aliases expand to more than {max_added:,} characters or {max_depth:,} levels",
                )
        elif kind is yaml.DocumentStartEvent and out:
            _fail(mark, "a second document starts here; a workflow is one document")
        else:
            continue

        if key_next:
            if found != "str":
                if item[0] in "{[":
                    _fail(mark, "a mapping or sequence cannot be a key")
                value = json.loads(item)
                text = (
                    value
                    if isinstance(value, str)
                    else item
                    if isinstance(value, bool)
                    else ("" if value is None else f"{float(item):.15G}")
                )
                item = _quote(text)
            if text in keys:
                _fail(mark, f"duplicate key {_short(text)} (first on line {keys[text].line + 1})")
            out.append(f"{sep}{item}:")
            keys[text], key_next, sep = mark, False, ""
        else:
            out.append(sep + item)
            key_next, sep = keys is not None, ","
    if not out:
        raise _error("line 1, column 1", "there is no YAML document, only comments or nothing")
    return out


# A string is written without quotes unless one of these is found in it
_not_plain = re.compile(r"^(?:[,\[\]{}#&*!|>'\"%@` ]|[-?:](?: |$)|---|\.\.\.|<<$|$)|: |:$| #| $")
_not_plain_in_flow = re.compile(r"^[-?:]|[,\[\]{}]")
# Written as escapes only: what YAML cannot hold, and what some readers take for a line break or a byte order mark
_escaped = re.compile(
    "[^\t\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def _inline(value, in_flow=False):
    """A JSON scalar or empty collection as YAML on one line."""
    if not isinstance(value, str):
        return json.dumps(value)
    if "\n" in value or "\t" in value or _escaped.search(value):
        return _escaped.sub(
            lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False)
        )
    if (
        _not_plain.search(value)
        or in_flow
        and _not_plain_in_flow.search(value)
        or resolve_plain(value)[0] != "str"
    ):
        return "'" + value.replace("'", "''") + "'"
    return value


def _literal(text, indent):
    """A string of several lines as a literal block scalar; None for a string that needs escapes."""
    if "\n" not in text or not text.strip(" \t\n") or _escaped.search(text):
        return None
    header = (
        "|2" if text.lstrip("\n")[0] in " \t" else "|"
    )  # the first line would not show the indentation
    header += "+" if text.endswith("\n\n") else "" if text.endswith("\n") else "-"
    return "\n".join(
        [header]
        + [" " * indent + line if line else "" for line in text.removesuffix("\n").split("\n")]
    )


def _unique(pairs):
    if len(mapping := dict(pairs)) < len(pairs):
        raise ValueError("duplicate keys in one object")
    return mapping


def _finite(text):
    tag, number = resolve_plain(text)
    if tag == "str" or not number:
        raise ValueError(f"{_short(text)} is not a number that JSON can hold")
    return int(number) if tag == "int" else float(number)


def json_to_yaml(json_text):
    """YAML as a person would commit it; it reads back as the same document. Raises EncodeError for bad JSON."""
    try:
        document = json.loads(
            json_text,
            object_pairs_hook=_unique,
            parse_int=_finite,
            parse_float=_finite,
            parse_constant=_finite,
        )
        json.dumps(document, ensure_ascii=False).encode()  # lone surrogates have no place in a file
    except (ValueError, RecursionError) as e:
        raise EncodeError(f"JSON: {e}") from None
    out = []
    todo = [
        ("", document, 0)
    ]  # to write, next on top: what its line begins with, the value, the column of what it holds
    while todo:
        line, value, indent = todo.pop()
        if out and out[-1].endswith(
            "\n"
        ):  # the blank line is there, and more would add to a block scalar
            line = line.removeprefix("\n")
        text = None
        if isinstance(value, (dict, list)):
            if indent >= 2 * max_depth:
                raise EncodeError(f"JSON: nested deeper than {max_depth:,} levels")
            if (
                isinstance(value, list)
                and len(value) <= max_flow // 3
                and not any(
                    isinstance(item, (dict, list)) or isinstance(item, str) and "\n" in item
                    for item in value
                )
            ):
                text = f"[{', '.join([_inline(item, in_flow=True) for item in value])}]"
            if value and (text is None or len(text) > max_flow):
                if line.endswith(":"):
                    out.append(line)
                heads = (
                    ["-"] * len(value)
                    if isinstance(value, list)
                    else [  # YAML wants the `:` within 1,024 characters
                        f"{key}:" if len(key) <= 1000 else f"? {key}\n{' ' * indent}:"
                        for key in map(_inline, value)
                    ]
                )
                first = (
                    line + " " if line.endswith("-") else " " * indent
                )  # the first shares its line with a dash
                other = (
                    "\n" if isinstance(value, dict) and not line else " " * indent
                )  # blank lines at the top level
                items = value if isinstance(value, list) else value.values()
                todo += reversed(
                    [
                        ((other if i else first) + head, item, indent + 2)
                        for i, (head, item) in enumerate(zip(heads, items))
                    ]
                )
                continue
        if text is None:
            text = line and isinstance(value, str) and _literal(value, indent) or _inline(value)
        out.append(
            line if value is None and line.endswith(":") else f"{line} {text}" if line else text
        )
    return "\n".join(out) + "\n"
