"""The linear form: a workflow <-> one string of the alphabet's symbols and plain text.

A document becomes ONE string in which each schema key, each constant and each bracket is a single
symbol and all else is the text itself, ended by END where it ends. With <name> for the symbol of a
key or constant, { [ for OBJECT and ARRAY, } for CLOSE, # for NUMBER and . for END,

    {"on": "push", "jobs": {"t": {"runs-on": "x", "timeout-minutes": 7}}}

is

    <on><push><jobs>{t.{<runs-on>x.<timeout-minutes>#7.}}<EOD>

The kind of everything follows from its place, so nothing is quoted, escaped or separated (but for
private-use characters in the text, see escape()), and each document has exactly one such string.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal

from .alphabet import (
    ARRAY,
    CLOSE,
    CONSTANT,
    END,
    EOD,
    ESC,
    FALSE,
    KEY,
    KEY_NAME,
    LAST,
    LITERAL,
    NULL,
    NUMBER,
    OBJECT,
    TRUE,
)
from .errors import DecodeError
from .json_text import MAX_DEPTH, MAX_DIGITS, too_many_digits

# Exponents stay below 300: else a model's 3 could continue to 3e-400, which is 0
NUMBER_RE = re.compile(
    r"-?(?:0|[1-9][0-9]{0,%d})|-?(?:0|[1-9][0-9]{0,16})\.[0-9]+|-?[1-9](?:\.[0-9]+)?e-[12]?[0-9]{2}"
    % (MAX_DIGITS - 1)
)
PRIVATE = re.compile("[\ue000-\uefff]")
ESCAPED = re.compile(f"{ESC}(.?)", re.S)
TEXT_THEN_SYMBOL = re.compile(f"([^{OBJECT}-{LAST}]*)([{OBJECT}-{LAST}])", re.S)
ESCAPE_SHIFT = 0x1000  # U+E000+k is written as ESC U+F000+k


def escape(value):
    """The same value with ESC U+F000+k for every private-use U+E000+k in its strings and keys."""
    if isinstance(value, str):
        return PRIVATE.sub(lambda match: ESC + chr(ord(match[0]) + ESCAPE_SHIFT), value)
    if isinstance(value, dict):
        return {escape(key): escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escape(item) for item in value]
    return value


def unescape(text):
    """The text that escape() made this of. Raises DecodeError for an ESC without its character."""

    def original(match):
        if not "\uf000" <= match[1] <= "\uffff":
            raise DecodeError("an escape without its character")
        return chr(ord(match[1]) - ESCAPE_SHIFT)

    return ESCAPED.sub(original, text) if ESC in text else text


def number_text(value):
    """An int or float as the text that stands between NUMBER and END."""
    if isinstance(value, int):
        if abs(value) >= 10**MAX_DIGITS:
            raise too_many_digits()
        return str(value)
    if abs(value) >= 1e16:
        return str(int(value))  # the same number, without an exponent
    text = repr(value)
    return format(Decimal(text), "f") if "e-3" in text else text


def number_value(text):
    """The int or float that a text which NUMBER_RE matches stands for."""
    return float(text) if "." in text or "e" in text else int(text)


def linearise(workflow):
    """The one string that stands for a workflow (a dict whose texts went through escape())."""
    out = []
    add_fields(out, workflow)
    out.append(EOD)
    return "".join(out)


def add_fields(out, mapping):
    for key, value in mapping.items():
        out.append(KEY.get(key) or key + END)
        if type(value) is str:  # most fields: without a call
            out.append(CONSTANT.get(value) or value + END)
        else:
            add_value(out, value)


def add_value(out, value):
    kind = type(value)
    if kind is dict:
        out.append(OBJECT)
        add_fields(out, value)
        out.append(CLOSE)
    elif kind is list:
        out.append(ARRAY)
        for item in value:
            add_value(out, item)
        out.append(CLOSE)
    elif kind is str:
        out.append(CONSTANT.get(value) or value + END)
    elif value is None:
        out.append(NULL)
    elif kind is bool:
        out.append(TRUE if value else FALSE)
    else:
        out.append(NUMBER + number_text(value) + END)


@dataclass(slots=True)
class Container:
    """An object or array that is still open."""

    value: dict | list
    is_object: bool
    key: str | None = None  # of an object: the key that waits for its value

    def wants_key(self):
        return self.key is None and self.is_object

    def add(self, value):
        if self.is_object:
            self.value[self.key] = value
            self.key = None
        else:
            self.value.append(value)


@dataclass(slots=True)
class Parse:
    """A linearised string, read as far as it goes: it may end anywhere."""

    workflow: dict = field(
        default_factory=dict
    )  # all values that are finished, open containers too
    containers: list = field(default_factory=list)  # the open ones, innermost last
    in_number: bool = False  # was NUMBER the last symbol
    complete: bool = False  # was EOD read
    n_values: int = 0  # how many values are finished
    n_read: int = 0  # characters read
    rest: str = ""  # after EOD: the surplus; else the unfinished text, with NUMBER if it is one's

    def __post_init__(self):
        self.containers.append(Container(self.workflow, is_object=True))

    def read(self, string):
        """Raises DecodeError, n_read telling where, if the string is no beginning of a document."""
        n_read = 0
        try:
            for text, symbol in TEXT_THEN_SYMBOL.findall(string):
                n_read += len(text) + 1
                if symbol != END and (text or self.in_number):
                    raise unended(text)
                container = self.containers[-1]
                if container.key is None and container.is_object:
                    self.take_in_key_place(container, text, symbol)
                else:
                    self.take_in_value_place(container, text, symbol)
                if self.complete:
                    break
        finally:
            self.n_read = n_read
        self.rest = (NUMBER if self.in_number else "") + string[self.n_read :]

    def take_in_key_place(self, container, text, symbol):
        """A key, by its symbol or spelled, or the end of an object or the document."""
        if symbol in KEY_NAME:
            key = KEY_NAME[symbol]
        elif symbol == END:
            key = finished_key(text)
        elif symbol == CLOSE and len(self.containers) > 1:
            self.close()
            return
        elif symbol == EOD and len(self.containers) == 1:
            self.complete = True
            return
        else:
            raise DecodeError("a value or closing bracket where a key must stand")
        if key in container.value:
            raise DecodeError(f"duplicate key {key!r}")
        container.key = key

    def take_in_value_place(self, container, text, symbol):
        """A value or the beginning of one, or the end of an array."""
        if symbol == END:
            value = self.finished_number(text) if self.in_number else finished_text(text)
        elif symbol in LITERAL:
            value = LITERAL[symbol]
        elif symbol == OBJECT:
            self.open({}, is_object=True)
            return
        elif symbol == ARRAY:
            self.open([], is_object=False)
            return
        elif symbol == CLOSE and not container.is_object:
            self.close()
            return
        elif symbol == NUMBER:
            self.in_number = True
            return
        else:
            raise DecodeError("a key or closing bracket where a value must stand")
        self.n_values += 1
        if container.is_object:  # most values: without a call
            container.value[container.key] = value
            container.key = None
        else:
            container.add(value)

    def finished_number(self, text):
        if not NUMBER_RE.fullmatch(text):
            raise DecodeError(f"{text[:40]!r} is not a number")
        self.in_number = False
        return number_value(text)

    def open(self, value, is_object):
        if len(self.containers) >= MAX_DEPTH:
            raise DecodeError(f"nested deeper than {MAX_DEPTH} levels")
        self.containers[-1].add(value)
        self.containers.append(Container(value, is_object))

    def close(self):
        self.containers.pop()
        self.n_values += 1

    def add_unfinished(self):
        """Takes the text or number at the end for a value, as if it ended here; but not a key."""
        if self.complete or not self.rest or self.containers[-1].wants_key():
            return
        if self.in_number:
            digits = NUMBER_RE.match(self.rest, 1)
            if digits:
                self.containers[-1].add(number_value(digits[0]))
        else:
            self.containers[-1].add(unescape(self.rest.removesuffix(ESC)))


def unended(text):
    """DecodeError for a symbol where a text or number should have ended."""
    if text:
        return DecodeError(f"text {text[:40]!r} is not ended before the next field")
    return DecodeError("a number without digits")


def finished_key(text):
    key = unescape(text)
    if key in KEY:
        raise DecodeError(f"key {key!r} has a symbol of its own")
    return key


def finished_text(text):
    if ESC in text:
        text = unescape(text)
    if text in CONSTANT:
        raise DecodeError(f"{text!r} has a symbol of its own")
    return text


def parse(string):
    """Linearised string -> Parse. Raises DecodeError if it is no beginning of a document."""
    parsed = Parse()
    parsed.read(string)
    return parsed
