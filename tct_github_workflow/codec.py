"""Workflow <-> tokens: linearise the JSON, then byte-pair merges over the result.

A document becomes ONE string in which each schema key, each constant and each bracket is a single character of Unicode's
private-use area and all else is the text itself, ended by END where it ends. {"on": "push", "jobs": {"t": {"runs-on": "x"}}} is

    <on> <push> <jobs> { t END { <runs-on> x END } } EOD

The kind of everything follows from its place, so nothing is quoted, escaped or separated, and each document has exactly one such
string. Ordinary byte-level BPE runs over it (tiktoken does the merging), in pieces of `openers* text-up-to-newline closers*`: a token
may hold "next step, uses, actions/checkout@v4, end of string" at once, but at most one stretch of text.
"""

import base64
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import re
from collections import namedtuple
from decimal import Decimal
from pathlib import Path

import numpy as np
import orjson
import tiktoken

from .errors import DecodeError, EncodeError
from .schema import names, schema_hash, validator, why_invalid

VOCAB_SIZE = 8192
PAD = VOCAB_SIZE - 1
MAX_DEPTH = 256  # levels of nesting; real workflows stay under 12
MAX_DIGITS = 400  # of an integer; every finite float has fewer
VOCAB_FILE = Path(__file__).parent / "vocab.tiktoken"

# --- the alphabet: one private-use character from U+E000 on for each symbol -----------------------------------------
# Openers start a value or a field, closers end one. ESC marks a private-use character of the document itself: U+E000+k is written
# as ESC U+F000+k, so the byte 0xEE belongs to symbols alone and no text can forge one.
KEYS, CONSTANTS = names()
ESC, OBJECT, ARRAY, NUMBER = map(chr, range(0xE000, 0xE004))
KEY = {name: chr(0xE004 + i) for i, name in enumerate(KEYS)}  # {"steps": ...}
_T = 0xE004 + len(KEYS)
END, CLOSE, EOD, TRUE, FALSE, NULL = map(chr, range(_T, _T + 6))  # EOD closes the document
CONSTANT = {name: chr(_T + 6 + i) for i, name in enumerate(CONSTANTS)}
LAST = chr(_T + 5 + len(CONSTANTS))
KEY_NAME = {c: name for name, c in KEY.items()}
LITERAL = {c: name for name, c in CONSTANT.items()} | {TRUE: True, FALSE: False, NULL: None}
SYMBOLS = [chr(c) for c in range(ord(ESC), ord(LAST) + 1)]
# the bytes that UTF-8 text can hold; 0xEE leads private-use characters only
TEXT_BYTES = [b for b in range(256) if b not in (0xC0, 0xC1, 0xEE) and b < 0xF5]
_OPEN, _TEXT, _SHUT = (
    f"[{OBJECT}-{KEY[KEYS[-1]]}]",
    f"[^{OBJECT}-{LAST}\n]",
    f"(?:\n|[{END}-{LAST}]+)",
)
PIECES = f"{_OPEN}+{_TEXT}*{_SHUT}?|{_TEXT}+{_SHUT}?|{_SHUT}"  # never empty: tiktoken panics on an empty piece
NUMBER_RE = re.compile(
    r"-?(?:0|[1-9][0-9]{0,%d})|-?(?:0|[1-9][0-9]{0,16})\.[0-9]+|-?[1-9](?:\.[0-9]+)?e-[12]?[0-9]{2}"
    % (MAX_DIGITS - 1)
)

Vocab = namedtuple("Vocab", "bytes encoding ids")
# bytes: list of 8191 bytes objects, what each id stands for (symbols in UTF-8); encoding: tiktoken's, over internal ranks;
# ids: list, internal rank -> list of ids


@functools.cache
def vocab():
    """The shipped vocabulary. Its file has a line `base64 id...` per merge, most wanted first; ids stand there rather than one id where
    the merge is only a step towards longer ones and not worth an id of its own (rarely used: it is spelt by those ids)."""
    ranks = {bytes([b]): b for b in range(256)}
    for lead in sorted(
        {s.encode()[:2] for s in SYMBOLS}
    ):  # tiktoken merges pairs: symbols, too, have to grow from bytes
        ranks[lead] = len(ranks)
    units = [s.encode() for s in SYMBOLS] + [bytes([b]) for b in TEXT_BYTES]
    for unit in units:
        ranks.setdefault(unit, len(ranks))
    ids = {ranks[unit]: [i] for i, unit in enumerate(units)}
    token_bytes = {i: unit for i, unit in enumerate(units)}
    for line in VOCAB_FILE.read_bytes().splitlines():
        token, *own = line.split()
        token = base64.b64decode(token)
        ids[len(ranks)] = list(map(int, own))
        if len(own) == 1:
            token_bytes[int(own[0])] = token
        ranks[token] = len(ranks)
    encoding = tiktoken.Encoding(
        "tct_github_workflow", pat_str=PIECES, mergeable_ranks=ranks, special_tokens={}
    )
    assert sorted(token_bytes) == list(range(PAD)), (
        f"{VOCAB_FILE.name} is damaged: it has no token for some ids below {PAD}"
    )
    return Vocab(
        [token_bytes[i] for i in range(PAD)], encoding, [ids.get(r) for r in range(len(ranks))]
    )


def vocab_size():
    """8192: ids 0 to 8190 and pad_token()."""
    return VOCAB_SIZE


def pad_token():
    """8191, the one id that no workflow uses."""
    return PAD


@functools.cache
def tokenizer_hash():
    """sha256, in hex, of what ids mean: the schema, the format and the vocabulary. Data and checkpoints carry it."""
    return hashlib.sha256(
        schema_hash().encode() + PIECES.encode() + VOCAB_FILE.read_bytes()
    ).hexdigest()


# --- encode ---------------------------------------------------------------------------------------------------------------------
def _unique(pairs):
    obj = dict(pairs)
    if len(obj) < len(pairs):
        seen = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))
        raise EncodeError(f"duplicate key {json.dumps(twice, ensure_ascii=False)}")
    return obj


def _refuse_constant(word):
    raise EncodeError(f"{word} is not JSON: use a finite number or a string")


def _finite(word):
    value = float(word)
    if abs(value) == float("inf"):
        raise EncodeError(
            f"the number {word:.40} is not finite as a float: use a smaller one or a string"
        )
    return value


def parse_json(text):
    """JSON text -> objects. Raises EncodeError for what json would let pass too: duplicate keys, NaN, lone surrogates, 1e400."""
    if not isinstance(text, str):
        raise EncodeError(f"expected a workflow as JSON text, got {type(text).__name__}")
    try:
        raw = text.encode()
        obj = orjson.loads(raw)
        if (
            orjson.dumps(obj) == raw
        ):  # says it all in one go: minified, no duplicate keys, no odd numbers or escapes
            return obj
    except UnicodeEncodeError as e:
        raise EncodeError(
            f"lone surrogate U+{ord(text[e.start]):04X} at character {e.start}: not a Unicode text"
        ) from None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass  # too deep for orjson, or wrong: json says where
    try:
        obj = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
        json.dumps(obj, ensure_ascii=False).encode()
        return obj
    except json.JSONDecodeError as e:
        raise EncodeError(f"not JSON: line {e.lineno}, column {e.colno}: {e.msg}") from None
    except UnicodeEncodeError as e:
        raise EncodeError(
            f"lone surrogate \\u{ord(e.object[e.start]):04x} in a string: not a Unicode text"
        ) from None
    except RecursionError:
        raise EncodeError(f"nested deeper than {MAX_DEPTH} levels") from None
    except EncodeError:
        raise
    except ValueError:  # Python converts no integer of more than 4,300 digits
        raise EncodeError(f"an integer of more than {MAX_DIGITS} digits") from None


def _check_depth(text):
    """Raises EncodeError where brackets outside of strings nest deeper than MAX_DEPTH."""
    depth = 0
    for bracket in re.findall(r'"(?:[^"\\]|\\.)*"|[][{}]', text, re.S):
        depth += (bracket in "[{") - (bracket in "]}") if len(bracket) == 1 else 0
        if depth > MAX_DEPTH:
            raise EncodeError(f"nested deeper than {MAX_DEPTH} levels")


def _number(value):
    if isinstance(value, float):
        text = (
            repr(value) if abs(value) < 1e16 else str(int(value))
        )  # the same number, without an exponent
        if "e-3" in text:  # no such exponents, or a model's 3 could go on to 3e-400, which is 0
            text = format(Decimal(text), "f")
    else:
        text = str(value) if abs(value) < 10**MAX_DIGITS else ""
    if not text:
        raise EncodeError(f"an integer of more than {MAX_DIGITS} digits")
    return NUMBER + text + END


def linearise(workflow):
    """The one string that stands for a workflow (a dict), as the head of this file describes."""
    out = []
    add, key_get, constant_get = out.append, KEY.get, CONSTANT.get

    def value(v):
        kind = type(v)
        if kind is str:
            add(constant_get(v) or v + END)
        elif kind is dict:
            add(OBJECT)
            fields(v)
            add(CLOSE)
        elif kind is list:
            add(ARRAY)
            for item in v:
                value(item)
            add(CLOSE)
        elif kind is bool:
            add(TRUE if v else FALSE)
        else:
            add(NULL if v is None else _number(v))

    def fields(obj):
        for k, v in obj.items():
            add(key_get(k) or k + END)
            if type(v) is str:  # most fields: without a call
                add(constant_get(v) or v + END)
            else:
                value(v)

    fields(workflow)
    add(EOD)
    return "".join(out)


_PRIVATE = re.compile("[\ue000-\uefff]")
_ESCAPED = re.compile(f"{ESC}(.?)", re.S)


def _escape(v):
    """The same value with ESC U+F000+k for every private-use U+E000+k in its strings and keys."""
    if isinstance(v, str):
        return _PRIVATE.sub(lambda m: ESC + chr(ord(m[0]) + 0x1000), v)
    if isinstance(v, dict):
        return {_escape(k): _escape(x) for k, x in v.items()}
    return [_escape(x) for x in v] if isinstance(v, list) else v


def _misplaced(offset, message):
    error = DecodeError(message)
    error.offset = offset
    return error


def _unescape(text, offset=0):
    def one(m):
        if not "\uf000" <= m[1] <= "\uffff":
            raise _misplaced(offset, "an escape without its character")
        return chr(ord(m[1]) - 0x1000)

    return _ESCAPED.sub(one, text) if ESC in text else text


def load_workflow(json_str):
    """A valid workflow as a dict. Raises EncodeError with the JSON path and what the schema wants there."""
    workflow = parse_json(json_str)
    if json_str.count("{") + json_str.count("[") > MAX_DEPTH:
        _check_depth(json_str)
    if not validator.is_valid(workflow):
        raise EncodeError(why_invalid(workflow))
    return workflow


_split = re.compile(PIECES).findall


def _merge(piece):
    _, encoding, ids = vocab()
    return [i for rank in encoding.encode_ordinary(piece) for i in ids[rank]]


# Most pieces (a whole step with its action, a line of a script) come again and again: 70% of them in a first pass over a corpus.
_piece_ids = functools.lru_cache(1 << 16)(_merge)


def encode_symbols(string):
    """A linearised string -> ids."""
    out = []
    for piece in _split(string):
        out += (
            _piece_ids(piece) if len(piece) < 256 else _merge(piece)
        )  # long ones would only fill the memory
    return out


def encode(json_str):
    """Token ids of one workflow given as JSON text; the last id closes it.

    Raises EncodeError (a ValueError) that names the JSON path and what the schema wants there; every schema-valid workflow within
    MAX_DEPTH and MAX_DIGITS encodes, nothing else does."""
    workflow = load_workflow(json_str)
    if _PRIVATE.search(json_str) or "\\u" in json_str:
        workflow = _escape(workflow)
    return encode_symbols(linearise(workflow))


def _encode_one(json_str):
    try:
        return np.array(encode(json_str), np.uint16)
    except EncodeError as e:
        return e


def encode_batch(json_strs, errors="raise"):
    """Many workflows on all cores -> list of uint16 arrays (n_tokens,), in order.

    errors="raise": the first bad document raises its EncodeError, named by index; "return": the EncodeError stands in its place.
    Short batches, and systems without fork, use one core."""
    json_strs = list(json_strs)
    vocab()  # before forking: the workers share it
    if len(json_strs) < 2000 or "fork" not in multiprocessing.get_all_start_methods():
        results = list(map(_encode_one, json_strs))
    else:
        with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
            results = pool.map(_encode_one, json_strs, chunksize=256)
    if errors == "raise":
        for i, result in enumerate(results):
            if isinstance(result, EncodeError):
                raise EncodeError(f"document {i}: {result}")
    return results


# --- decode ---------------------------------------------------------------------------------------------------------------------
def token_bytes(tokens):
    """list of ids -> list of bytes. Raises DecodeError at the first id that is none."""
    table, out = vocab().bytes, []
    for i, token in enumerate(tokens):
        try:
            if token < 0:
                raise IndexError
            out.append(table[token])
        except (IndexError, TypeError, ValueError):
            what = (
                "the pad token"
                if token == PAD
                else f"not an id of this vocabulary (0 to {PAD - 1})"
            )
            raise DecodeError(f"token {i}: {token!r} is {what}") from None
    return out


_PARTS = re.compile(f"([^{OBJECT}-{LAST}]*)([{OBJECT}-{LAST}])", re.S)


def read(pieces, string):
    """parse(string), whose errors name the token (of `pieces`, as bytes) in which they are."""
    try:
        return parse(string)
    except DecodeError as e:
        read_bytes, sizes = len(string[: e.offset].encode()), itertools.accumulate(map(len, pieces))
        raise DecodeError(
            f"token {next((i for i, n in enumerate(sizes) if n >= read_bytes), 0)}: {e}"
        ) from None


def parse(string):
    """Linearised string -> (workflow, complete, number of values finished, unfinished text, stack).

    Raises DecodeError, with its offset, where the string is no beginning of a document. `stack` holds the open containers, innermost last, as
    [container, key that waits for its value or None]; a string ends early without complaint (complete is False)."""
    root, values, done, number = {}, 0, 0, False
    stack = [[root, None]]
    for text, symbol in _PARTS.findall(string):
        done += len(text) + 1
        container, key = frame = stack[-1]
        is_object = type(container) is dict
        if text and symbol != END:
            raise _misplaced(done, f"text {text[:40]!r} is not ended before the next field")
        if number and symbol != END:
            raise _misplaced(done, "a number without digits")
        if is_object and key is None:  # a key, or the end of the object
            if symbol == END:
                name = _unescape(text, done)
                if name in KEY:
                    raise _misplaced(done, f"key {name!r} has a symbol of its own")
            elif symbol in KEY_NAME:
                name = KEY_NAME[symbol]
            elif symbol == CLOSE and len(stack) > 1:
                stack.pop()
                values += 1
                continue
            elif symbol == EOD and len(stack) == 1:
                return root, True, values, string[done:], stack
            else:
                raise _misplaced(done, "a value or closing bracket where a key must stand")
            if name in container:
                raise _misplaced(done, f"duplicate key {name!r}")
            frame[1] = name
            continue
        if symbol == CLOSE and not is_object:
            stack.pop()
            values += 1
            continue
        opened = None
        if symbol == END:
            if number:
                if not NUMBER_RE.fullmatch(text):
                    raise _misplaced(done, f"{text[:40]!r} is not a number")
                value = float(text) if "." in text or "e" in text else int(text)
            else:
                value = _unescape(text, done)
                if value in CONSTANT:
                    raise _misplaced(done, f"{value!r} has a symbol of its own")
            number = False
        elif symbol == NUMBER:
            number = True
            continue
        elif symbol == OBJECT or symbol == ARRAY:
            value = opened = {} if symbol == OBJECT else []
            if len(stack) >= MAX_DEPTH:
                raise _misplaced(done, f"nested deeper than {MAX_DEPTH} levels")
        elif symbol in LITERAL:
            value = LITERAL[symbol]
        else:
            raise _misplaced(done, "a key or closing bracket where a value must stand")
        if is_object:
            container[key] = value
            frame[1] = None
        else:
            container.append(value)
        if opened is not None:
            stack.append([opened, None])
        else:
            values += 1
    return root, False, values, (NUMBER if number else "") + string[done:], stack


def dump_json(obj):
    """Minified JSON text with the key order kept."""
    return json.dumps(obj, ensure_ascii=False, separators=(",", ":"))


def decode(tokens):
    """-> (json_str, consumed, total): the workflow that the ids begin with, how many of them it took, how many there are.

    consumed < total means surplus ids after the workflow. Whatever is returned validates. Raises DecodeError for every other list."""
    tokens = list(tokens)
    pieces = token_bytes(tokens)
    eod = EOD.encode()
    consumed = next((i for i, piece in enumerate(pieces, 1) if piece.endswith(eod)), 0)
    if not consumed:
        raise DecodeError(
            f"incomplete: {len(tokens)} tokens and none of them closes the workflow (decode_prefix reads such a beginning)"
        )
    try:
        string = b"".join(pieces[:consumed]).decode()
    except UnicodeDecodeError as e:
        raise DecodeError(f"invalid UTF-8 in a string, at byte {e.start}") from None
    workflow, complete, _, _, _ = read(pieces, string)
    assert complete, "a document ends at its EOD"
    if not validator.is_valid(workflow):
        raise DecodeError(f"not a valid workflow: {why_invalid(workflow)}")
    return dump_json(workflow), consumed, len(tokens)


def decode_prefix(tokens):
    """-> (json_str, fields_decoded, is_complete) for the beginning of a sequence, cut anywhere.

    json_str is always JSON: an unfinished string or number ends where the tokens do, open brackets are closed, a key without a
    value is left out. fields_decoded counts finished values. Raises DecodeError for what no beginning can be."""
    pieces = token_bytes(list(tokens))
    eod = EOD.encode()
    end = next((i for i, piece in enumerate(pieces, 1) if piece.endswith(eod)), len(pieces))
    raw = b"".join(pieces[:end])
    try:
        string = raw.decode()
    except UnicodeDecodeError as e:
        if e.reason != "unexpected end of data":
            raise DecodeError(f"invalid UTF-8 in a string, at byte {e.start}") from None
        string = raw[: e.start].decode()  # half a character at the end
    workflow, complete, fields, rest, stack = read(pieces, string)
    container, key = stack[-1]
    if rest and not complete and (key is not None or type(container) is list):
        if rest[0] == NUMBER:
            found = NUMBER_RE.match(rest, 1)
            value = (
                None
                if not found
                else float(found[0])
                if "." in found[0] or "e" in found[0]
                else int(found[0])
            )
        else:
            value = _unescape(rest[:-1] if rest[-1] == ESC else rest)
        if value is not None and type(container) is dict:
            container[key] = value
        elif value is not None:
            container.append(value)
    return dump_json(workflow), fields, complete


def extract_window(tokens, start, end):
    """[start, *tokens[start:end]]: a slice behind its own position, as the model's windows are laid out. 0 <= start <= end."""
    if not 0 <= start <= end:
        raise ValueError(f"a window needs 0 <= start <= end, got start={start}, end={end}")
    return [start, *tokens[start:end]]
