r"""JSON text -> YAML as a person would commit it, which reads back as the same document.

json_to_yaml('{"on":"push","jobs":{"t":{"steps":[{"run":"a\nb\n"}]}}}')  ->

on: push

jobs:
  t:
    steps:
      - run: |
          a
          b
"""

import json
import re
from typing import NamedTuple

from .errors import EncodeError
from .yaml_text import MAX_LEVELS, is_string, resolve_plain, shorten

LONGEST_FLOW = 60  # characters; an array of scalars up to this long is written as [a, b]
LONGEST_KEY = 1000  # characters; YAML wants the `:` within 1,024

# A string is written without quotes unless one of these is found in it
NOT_PLAIN = re.compile(r"^(?:[,\[\]{}#&*!|>'\"%@` ]|[-?:](?: |$)|---|\.\.\.|<<$|$)|: |:$| #| $")
NOT_PLAIN_IN_FLOW = re.compile(r"^[-?:]|[,\[\]{}]")
# Written as escapes only: what YAML cannot hold, and what some readers take for a line break or a
# byte order mark
ESCAPED = re.compile(
    "[^\t\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


class Task(NamedTuple):
    """A value that is still to be written."""

    lead: str  # what its line begins with: indentation, dashes, the key and its colon
    value: object
    indent: int  # the column of what it holds


def json_to_yaml(json_text):
    """YAML as a person would commit it; it reads back as the same document.

    Raises EncodeError for what is no JSON.
    """
    lines = []
    todo = [Task("", parse(json_text), 0)]  # next on top
    while todo:
        lead, value, indent = todo.pop()
        # the blank line is there, and more would add to a block scalar
        if lines and lines[-1].endswith("\n"):
            lead = lead.removeprefix("\n")
        text = None
        if isinstance(value, (dict, list)):
            if indent >= 2 * MAX_LEVELS:
                raise EncodeError(f"JSON: nested deeper than {MAX_LEVELS:,} levels")
            text = on_one_line(value)
            if text is None:
                if lead.endswith(":"):
                    lines.append(lead)
                todo += reversed(entries(lead, value, indent))
                continue
        elif lead and isinstance(value, str):
            text = literal(value, indent)
        elif value is None and lead.endswith(":"):
            lines.append(lead)
            continue
        if text is None:
            text = inline(value)
        lines.append(f"{lead} {text}" if lead else text)
    return "\n".join(lines) + "\n"


def parse(json_text):
    try:
        document = json.loads(
            json_text,
            object_pairs_hook=unique,
            parse_int=finite,
            parse_float=finite,
            parse_constant=finite,
        )
        json.dumps(document, ensure_ascii=False).encode()  # lone surrogates have no place in a file
    except (ValueError, RecursionError) as e:
        raise EncodeError(f"JSON: {e}") from None
    return document


def unique(pairs):
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("duplicate keys in one object")
    return mapping


def finite(text):
    """A number as YAML would read it."""
    kind, number = resolve_plain(text)
    if kind == "str" or not number:
        raise ValueError(f"{shorten(text)} is not a number that JSON can hold")
    return int(number) if kind == "int" else float(number)


def on_one_line(collection):
    """A collection that is empty, or a short list of scalars, as YAML; None for all others."""
    if not collection:
        return inline(collection)
    # an item takes three characters at least, with its comma and blank
    if isinstance(collection, dict) or len(collection) > LONGEST_FLOW // 3:
        return None
    for item in collection:
        is_long = "\n" in item if isinstance(item, str) else isinstance(item, (dict, list))
        if is_long:
            return None
    text = f"[{', '.join([inline(item, in_flow=True) for item in collection])}]"
    return text if len(text) <= LONGEST_FLOW else None


def entries(lead, collection, indent):
    """The tasks for what a collection holds, each on lines of its own."""
    if isinstance(collection, dict):
        heads = [key_head(inline(key), indent) for key in collection]
        values = collection.values()
        is_root = not lead
    else:
        heads = ["-"] * len(collection)
        values = collection
        is_root = False
    before = "\n" if is_root else " " * indent  # blank lines at the top level
    leads = [before + head for head in heads]
    # the first shares its line with a dash
    leads[0] = (lead + " " if lead.endswith("-") else " " * indent) + heads[0]
    return [Task(lead, value, indent + 2) for lead, value in zip(leads, values, strict=True)]


def key_head(key, indent):
    return f"{key}:" if len(key) <= LONGEST_KEY else f"? {key}\n{' ' * indent}:"


def inline(value, in_flow=False):
    """A JSON scalar or empty collection as YAML on one line."""
    if not isinstance(value, str):
        return json.dumps(value)
    if needs_escapes(value):
        quoted = json.dumps(value, ensure_ascii=False)
        return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
    is_plain = is_string(value) and not NOT_PLAIN.search(value)
    if in_flow and NOT_PLAIN_IN_FLOW.search(value):
        is_plain = False
    return value if is_plain else "'" + value.replace("'", "''") + "'"


def needs_escapes(text):
    """Whether a string on one line has to be in double quotes."""
    if text.isascii() and text.isprintable():  # as most are
        return False
    has_white_space = "\n" in text or "\t" in text
    return has_white_space or bool(ESCAPED.search(text))


def literal(text, indent):
    """A string of several lines as a literal block scalar; None for a string that needs escapes."""
    if "\n" not in text:
        return None
    if not text.strip(" \t\n") or ESCAPED.search(text):
        return None
    # the first line would not show the indentation if it began with a blank itself
    header = "|2" if text.lstrip("\n")[0] in " \t" else "|"
    if text.endswith("\n\n"):
        header += "+"
    elif not text.endswith("\n"):
        header += "-"
    lines = [header]
    for line in text.removesuffix("\n").split("\n"):
        lines.append(" " * indent + line if line else "")
    return "\n".join(lines)
