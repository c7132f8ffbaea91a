r"""JSON text <-> Python objects, strictly: what json lets pass but JSON has not is refused.

parse_json('{"on": "push"}')          ->  {"on": "push"}
parse_json('{"on": 1, "on": 2}')      raises EncodeError: duplicate key "on"
dump_json({"on": "push"})             ->  '{"on":"push"}'
"""

import json
import re

import orjson

from .errors import EncodeError

MAX_DEPTH = 256  # levels of nesting; real workflows stay under 12
MAX_DIGITS = 400  # of an integer; every finite float has fewer

MINIFIED = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.S)


def too_deep():
    return EncodeError(f"nested deeper than {MAX_DEPTH} levels")


def too_many_digits():
    return EncodeError(f"an integer of more than {MAX_DIGITS} digits")


def unique(pairs):
    """json's object_pairs_hook: a dict, unless a key stands twice."""
    mapping = {}
    for key, value in pairs:
        if key in mapping:
            raise EncodeError(f"duplicate key {json.dumps(key, ensure_ascii=False)}")
        mapping[key] = value
    return mapping


def refuse_constant(word):
    """json's parse_constant: NaN, Infinity, -Infinity."""
    raise EncodeError(f"{word} is not JSON: use a finite number or a string")


def finite(word):
    """json's parse_float: a float, unless it is too large for one."""
    value = float(word)
    if abs(value) == float("inf"):
        raise EncodeError(
            f"the number {word:.40} is not finite as a float: use a smaller one or a string"
        )
    return value


def parse_json(text):
    """JSON text -> objects. Raises EncodeError for what json would let pass too: duplicate keys,
    NaN, lone surrogates, 1e400; and for more than MAX_DEPTH levels."""
    if not isinstance(text, str):
        raise EncodeError(f"expected a workflow as JSON text, got {type(text).__name__}")
    try:
        raw = text.encode()
    except UnicodeEncodeError as e:
        raise EncodeError(
            f"lone surrogate U+{ord(text[e.start]):04X} at character {e.start}: not a Unicode text"
        ) from None
    try:
        obj = orjson.loads(raw)
        # If it is minified already, then there are no duplicate keys, odd numbers or escapes in it
        # either, and no more than the 254 levels that orjson writes: one comparison says it all.
        if orjson.dumps(obj) == raw:
            return obj
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass  # too deep for orjson, or wrong: json says where
    obj = parse_slowly(text)
    if text.count("{") + text.count("[") > MAX_DEPTH:
        check_depth(text)
    return obj


def parse_slowly(text):
    """parse_json by the standard library, which says where an error is."""
    try:
        obj = json.loads(
            text, object_pairs_hook=unique, parse_constant=refuse_constant, parse_float=finite
        )
        json.dumps(obj, ensure_ascii=False).encode()
    except json.JSONDecodeError as e:
        raise EncodeError(f"not JSON: line {e.lineno}, column {e.colno}: {e.msg}") from None
    except UnicodeEncodeError as e:
        raise EncodeError(
            f"lone surrogate \\u{ord(e.object[e.start]):04x} in a string: not a Unicode text"
        ) from None
    except RecursionError:
        raise too_deep() from None
    except EncodeError:
        raise
    except ValueError:  # Python converts no integer of more than 4,300 digits
        raise too_many_digits() from None
    return obj


def check_depth(text):
    """Raises EncodeError where brackets outside of strings nest deeper than MAX_DEPTH."""
    depth = 0
    for match in STRINGS_AND_BRACKETS.finditer(text):
        if match[0] in ("{", "["):
            depth += 1
        elif match[0] in ("}", "]"):
            depth -= 1
        if depth > MAX_DEPTH:
            raise too_deep()


def dump_json(obj):
    """Minified JSON text with the key order kept."""
    return MINIFIED.encode(obj)
