"""What is odd in expressions that GitHub takes: the other reading of clean_syntax.py.

oddities("always().x || github.shaa == 1e9")
    -> ["what always() returns is looked into", "github has no shaa", "the number 1e9"]
"""

import functools
import re

from .clean_syntax import (
    ANY,
    FILTERED,
    LIST_FIRST,
    READ,
    ROW,
    SPELLINGS,
    TEXT,
    TEXT_ALONE,
    TEXT_FIRST,
    has_index,
)
from .expression_parser import parse, read_tokens

PLAIN = re.compile(r"true|false|null|-?(?:0|[1-9]\d{0,8})(?:\.\d{1,9})?", re.ASCII)
LITERAL = re.compile(r"'(?:[^']|'')*'")
BLANK_BEFORE_DOT = re.compile(
    r"(?:^|[^\w.\s-])\s*matrix\s*\.\s*[\w-]+\s+\.", re.ASCII | re.IGNORECASE
)
LOGICAL = ("&&", "||", ",")
ORDER = ("<", "<=", ">", ">=")
EQUALITY = ("==", "!=")
ANY_NUMBER = range(256)  # of arguments; GitHub takes no more
N_ARGS = {"format": ANY_NUMBER[2:], "join": (2,), "case": ()}  # case is used by nobody
STATUS = ("always", "cancelled", "failure", "success")
CONDITIONS = (*STATUS, "contains", "endswith", "startswith")  # functions


@functools.lru_cache(maxsize=1 << 14)
def oddities(text):
    """list of what is odd, in words."""
    tokens = read_tokens(text)
    found = odd_words(tokens)
    if BLANK_BEFORE_DOT.search(LITERAL.sub("''", text)):
        found.append("a blank before the second dot of matrix.x.y")
    text_starts = set()  # places of brackets and commas after which no condition stands
    for i, token in enumerate(tokens):
        if token.kind == "(" and opener(tokens, i).lower() in TEXT_FIRST:
            text_starts.add(i)
        if token.kind == "," and opener_around(tokens, i) in TEXT_ALONE:
            text_starts.add(i)
        if is_context(tokens, i):
            value = Value(token.text.lower(), tokens, i + 1)
            found += value.oddities(opener_around(tokens, i))
            if value.kind in READ and value.after() == "[":
                text_starts.add(value.place)
    found += odd_lists(tokens)
    return [*found, *odd_structure(tokens, text_starts), *odd_calls(text)]


def is_context(tokens, i):
    """Whether a token is the name of a context, as of no function and nothing that is read."""
    is_name = tokens[i].kind == "name" and not is_read(tokens, i)
    return is_name and tokens[i + 1].kind != "("


def is_read(tokens, i):
    """Whether a token is read of what is before it: the sha of github.sha."""
    return i > 0 and tokens[i - 1].kind == "."


def opener(tokens, i):
    """Of an opening bracket: the name of the function whose arguments it opens, else "(" or "["."""
    kind = tokens[i].kind
    if i == 0 or kind == "[" or tokens[i - 1].kind != "name":
        return kind
    return tokens[i - 1].text


def opener_around(tokens, place):
    """The opener(), in lower case, of the brackets around a place; None where there are none."""
    openers = []
    for i, token in enumerate(tokens[:place]):
        if token.kind in ("(", "["):
            openers.append(opener(tokens, i).lower())
        elif token.kind in (")", "]"):
            openers.pop()
    return openers[-1] if openers else None


def odd_words(tokens):
    """Numbers, spellings, and operators that nobody uses."""
    found = []
    for i, (kind, word) in enumerate(tokens):
        if kind == "literal" and not is_usual(word):
            found.append(f"the number {word:.40}")
        if kind == "literal" and "}}" in word:
            found.append("a string with }} in it")
        if kind in ORDER:
            found.append(f"{word} of what may be text")
        if kind == "name" and not is_read(tokens, i) and not is_spelled_well(word):
            found.append(f"the spelling {word:.40}")
    return found


def is_usual(literal):
    """Whether a literal is text, or written as people write it."""
    return literal.startswith("'") or bool(PLAIN.fullmatch(literal))


def is_spelled_well(name):
    return name == name.lower() or name in SPELLINGS


class Value:
    """A context and the names that are read of it, as far as READ knows them."""

    def __init__(self, context, tokens, place):
        """place: of the token after the context."""
        self.kind = context  # of what is read in the end
        self.shown = context
        self.tokens = tokens
        self.place = place  # of the token after that
        self.missing = None  # a name that there is not
        while self.kind in READ and self.after() == ".":
            name = tokens[self.place + 1]
            if name.kind != "name":  # .*
                break
            self.read(name.text.lower())
        if self.kind == ROW and self.after() == "." and tokens[self.place + 1].kind == "name":
            self.place += 2
            self.kind = TEXT

    def after(self):
        """The kind of the token after it."""
        return self.tokens[self.place].kind

    def read(self, name):
        names = READ[self.kind]
        is_there = name in names or ANY in names
        if not is_there or self.kind == "vars" and "-" in name:
            self.missing = f"{self.shown} has no {name:.60}"
        self.kind = names.get(name, names.get(ANY))
        self.shown = f"{self.shown}.{name:.60}"
        self.place += 2

    def oddities(self, opener):
        """opener: what opener_around() says of it."""
        if self.missing:
            return [self.missing]
        after = self.after()
        if self.kind in (ROW, TEXT) and after in (".", "["):
            return [f"{self.shown} is text: there is nothing in it"]
        if self.kind not in READ or after in ("&&", "||"):
            return []
        if after == ".":
            return [] if self.kind in FILTERED else [f"{self.shown}.*"]
        if after == "[":
            return [] if has_index(self.kind) else [f"{self.shown}[ ]"]
        is_written_out = opener == "tojson" and after == ")"
        return [] if is_written_out else [f"all of {self.shown} as a value"]


def odd_lists(tokens):
    """What .* makes where no list is meant."""
    found = []
    for i, token in enumerate(tokens):
        if token.kind != "*":
            continue
        if tokens[i - 1].kind == "[":
            found.append("[*]")
        place = i + 1  # of what comes after all that is read of it
        while tokens[place].kind == "." and tokens[place + 1].kind == "name":
            place += 2
        after = tokens[place].kind
        around = opener_around(tokens, i)
        is_list = around in LIST_FIRST and after == "," and n_commas_around(tokens, i) == 0
        is_written_out = around == "tojson" and after == ")"
        if not (is_list or is_written_out or after in ("&&", "||")):
            found.append("a list as a value")
    return found


def n_commas_around(tokens, place):
    """How many commas stand before a place in the brackets around it."""
    counts = [0]
    for token in tokens[:place]:
        if token.kind in ("(", "["):
            counts.append(0)
        elif token.kind in (")", "]"):
            counts.pop()
        counts[-1] += token.kind == ","
    return counts[-1]


def odd_structure(tokens, text_starts):
    """Conditions where none is meant, and calls that end or go on as people's do not."""
    found = []
    openers = []  # of the brackets that are open: a function's name, "(" or "["
    in_text = [False]  # in each of them and outside: is a text meant?
    compared = [False]  # and may no comparison come?
    for i, (kind, word) in enumerate(tokens):
        if i in text_starts and not is_text(tokens[i + 1]):
            found.append(f"{tokens[i + 1].text:.40} where a text is meant")
        if kind in ("(", "["):
            openers.append(opener(tokens, i))
            in_text.append(i in text_starts)
            compared.append(in_text[-1])
        elif kind in (")", "]"):
            found += odd_ends(tokens, i, openers.pop().strip("("))
            compared.pop()
            in_text.pop()
        elif kind in LOGICAL:
            if kind == ",":
                in_text[-1] = i in text_starts
            compared[-1] = in_text[-1]
        elif kind in EQUALITY:
            if compared[-1]:
                found.append(f"{word} compares the outcome of a comparison, or makes a text of it")
            compared[-1] = True
    return found


def odd_ends(tokens, i, function):
    """What is odd about a closing bracket. function: that it ends a call of, "" or "[" if none."""
    found = []
    if tokens[i - 1].kind == ",":
        found.append("a comma before )")
    is_looked_into = tokens[i].kind == ")" and tokens[i + 1].kind in (".", "[")
    if is_looked_into and function.lower() != "fromjson":
        found.append(f"what {function}() returns is looked into")
    return found


def is_text(token):
    """Whether an operand that begins with a token is no condition and no number."""
    if token.kind == "literal":
        return token.text.startswith("'")
    return token.kind == "name" and token.text.lower() not in CONDITIONS


def odd_calls(text):
    found = []
    for call in parse(text).calls:
        if call.n_args not in usual_n_args(call.function):
            found.append(f"{call.function}() with {call.n_args} arguments")
    return found


def usual_n_args(function):
    """The numbers of arguments that people give to a function."""
    if function in STATUS:
        return (0,)
    return N_ARGS.get(function, ANY_NUMBER)
