"""What is odd in expressions that GitHub takes: the other reading of clean_syntax.py.

oddities("always().x || github.shaa == 1e9")
    -> ["what always() returns is looked into", "github has no shaa", "the number 1e9"]
"""

import functools
import re

from .clean_syntax import ANY, FILTERED, READ, SPELLINGS, TEXT, TEXT_FIRST
from .expression_parser import parse, read_tokens

PLAIN = re.compile(r"true|false|null|-?(?:0|[1-9]\d{0,8})(?:\.\d{1,9})?", re.ASCII)
LOGICAL = ("&&", "||", ",")
ORDER = ("<", "<=", ">", ">=")
EQUALITY = ("==", "!=")
N_ARGS = {"format": range(2, 256), "join": (2,)}
STATUS = ("always", "cancelled", "failure", "success")
CONDITIONS = (*STATUS, "contains", "endswith", "startswith")  # functions


@functools.lru_cache(maxsize=1 << 14)
def oddities(text):
    """list of what is odd, in words."""
    tokens = read_tokens(text)
    found = odd_words(tokens)
    text_starts = set()  # places of brackets after which no condition stands
    for i, (kind, word) in enumerate(tokens):
        if kind == "(" and i > 0 and tokens[i - 1][1].lower() in TEXT_FIRST:
            text_starts.add(i)
        is_read = i > 0 and tokens[i - 1][0] == "."
        if kind == "name" and not is_read and tokens[i + 1][0] != "(":
            value = Value(word.lower(), tokens, i + 1)
            found += value.oddities(opener_at(tokens, i))
            if value.kind in READ and value.after() == "[":
                text_starts.add(value.place)
    return [*found, *odd_structure(tokens, text_starts), *odd_calls(text)]


def odd_words(tokens):
    """Numbers, spellings, and operators that nobody uses."""
    found = []
    for i, (kind, word) in enumerate(tokens):
        if kind == "literal" and word[0] != "'" and not PLAIN.fullmatch(word):
            found.append(f"the number {word:.40}")
        if kind in ORDER:
            found.append(f"{word} of what may be text")
        is_read = i > 0 and tokens[i - 1][0] == "."
        if kind == "name" and not is_read and word != word.lower() and word not in SPELLINGS:
            found.append(f"the spelling {word:.40}")
    return found


def opener_at(tokens, place):
    """The function in whose brackets a place lies, "(" or "[" of others, or None."""
    openers = []
    for i, (kind, _) in enumerate(tokens[:place]):
        if kind in ("(", "["):
            is_call = kind == "(" and i > 0 and tokens[i - 1][0] == "name"
            openers.append(tokens[i - 1][1].lower() if is_call else kind)
        elif kind in (")", "]"):
            openers.pop()
    return openers[-1] if openers else None


class Value:
    """A context and the names that are read of it, as far as READ knows them."""

    def __init__(self, context, tokens, place):
        """place: of the token after the context."""
        self.kind = context  # of what is read in the end
        self.shown = context
        self.tokens = tokens
        self.place = place  # of the token after that
        self.missing = None  # a name that there is not
        while self.kind in READ and self.after() == "." and tokens[self.place + 1][0] == "name":
            self.read(tokens[self.place + 1][1].lower())

    def after(self):
        return self.tokens[self.place][0]

    def read(self, name):
        names = READ[self.kind]
        if name not in names and ANY not in names:
            self.missing = f"{self.shown} has no {name:.60}"
        self.kind = names.get(name, names.get(ANY))
        self.shown = f"{self.shown}.{name:.60}"
        self.place += 2

    def oddities(self, opener):
        """opener: what opener_at() says of it."""
        if self.missing:
            return [self.missing]
        after = self.after()
        if self.kind == TEXT and after in (".", "["):
            return [f"{self.shown} is text: there is nothing in it"]
        if self.kind not in READ or after in ("&&", "||"):
            return []
        if after == ".":
            return [] if self.kind in FILTERED else [f"{self.shown}.*"]
        if after == "[":
            return [] if ANY in READ[self.kind] else [f"{self.shown}[ ]"]
        is_written_out = opener == "tojson" and after == ")"
        return [] if is_written_out else [f"all of {self.shown} as a value"]


def odd_structure(tokens, text_starts):
    """Conditions where none is meant, and calls that end or go on as people's do not."""
    found = []
    openers = []  # of the brackets that are open: a function's name, "(" or "["
    compared = [False]  # in each of them and outside: may no comparison come?
    for i, (kind, word) in enumerate(tokens):
        if kind in ("(", "["):
            is_call = kind == "(" and i > 0 and tokens[i - 1][0] == "name"
            openers.append(tokens[i - 1][1] if is_call else kind)
            compared.append(i in text_starts)
            if i in text_starts and not is_text(tokens[i + 1]):
                found.append(f"{tokens[i + 1][1]:.40} where a text is meant")
        elif kind in (")", "]"):
            opener = openers.pop()
            compared.pop()
            if tokens[i - 1][0] == ",":
                found.append("a comma before )")
            is_read = kind == ")" and tokens[i + 1][0] in (".", "[")
            if is_read and opener.lower() != "fromjson":
                found.append(f"what {opener.strip('(')}() returns is looked into")
        elif kind in LOGICAL:
            compared[-1] = False
        elif kind in EQUALITY:
            if compared[-1]:
                found.append(f"{word} compares the outcome of a comparison, or makes a text of it")
            compared[-1] = True
    return found


def is_text(token):
    """Whether an operand that begins with a token is no condition and no number."""
    kind, word = token
    if kind == "literal":
        return word[0] == "'"
    return kind == "name" and word.lower() not in CONDITIONS


def odd_calls(text):
    found = []
    for call in parse(text).calls:
        taken = (0,) if call.function in STATUS else N_ARGS.get(call.function)
        if call.function == "case" or taken and call.n_args not in taken:
            found.append(f"{call.function}() with {call.n_args} arguments")
    return found
