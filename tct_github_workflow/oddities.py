"""What is odd in expressions that GitHub takes: the other reading of clean_syntax.py.

oddities("always().x || github.shaa == 1e9")
    -> ["what always() returns is looked into", "github has no shaa", "the number 1e9"]
"""

import functools
import re

from .clean_syntax import ANY, READ, SPELLINGS, TEXT
from .expression_parser import parse, read_tokens

PLAIN = re.compile(r"true|false|null|-?(?:0|[1-9]\d{0,8})(?:\.\d{1,9})?", re.ASCII)
LOGICAL = ("&&", "||", ",")
ORDER = ("<", "<=", ">", ">=")
COMPARISONS = (*ORDER, "==", "!=")
N_ARGS = {"format": range(2, 256), "join": (2,)}
STATUS = ("always", "cancelled", "failure", "success")


@functools.lru_cache(maxsize=1 << 14)
def oddities(text):
    """list of what is odd, in words."""
    tokens = read_tokens(text)
    return [*odd_values(tokens), *odd_structure(tokens), *odd_calls(text)]


def odd_values(tokens):
    found = []
    for i, (kind, word) in enumerate(tokens):
        if kind == "literal" and word[0] != "'" and not PLAIN.fullmatch(word):
            found.append(f"the number {word:.40}")
        if kind != "name" or (i > 0 and tokens[i - 1][0] == "."):
            continue
        if word != word.lower() and word not in SPELLINGS:
            found.append(f"the spelling {word:.40}")
        if tokens[i + 1][0] != "(":
            found += odd_names(word.lower(), tokens[i + 1 :])
    return found


def odd_names(context, tokens):
    """What is odd in the names that are read of a context. tokens: those after it."""
    kind = context
    shown = context
    while kind in READ and tokens[0][0] == "." and tokens[1][0] == "name":
        name = tokens[1][1].lower()
        names = READ[kind]
        if name not in names and ANY not in names:
            return [f"{shown} has no {name:.60}"]
        kind = names.get(name, names.get(ANY))
        shown = f"{shown}.{name:.60}"
        tokens = tokens[2:]
    if kind == TEXT and tokens[0][0] in (".", "["):
        return [f"{shown} is text: there is nothing in it"]
    if kind in READ and tokens[0][0] in COMPARISONS:
        return [f"all of {shown} is compared"]
    return []


def odd_structure(tokens):
    """Comparisons of comparisons, and calls that end or go on as people's do not."""
    found = []
    openers = []  # of the brackets that are open: a function's name, "(" or "["
    compared = [False]  # in each of them and outside: is this the right side of a comparison?
    for i, (kind, word) in enumerate(tokens):
        if kind in ("(", "["):
            is_call = kind == "(" and i > 0 and tokens[i - 1][0] == "name"
            openers.append(tokens[i - 1][1] if is_call else kind)
            compared.append(False)
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
        elif kind in COMPARISONS:
            if compared[-1]:
                found.append(f"{word} compares the outcome of a comparison")
            if kind in ORDER and not is_bound(tokens[i + 1]):
                found.append(f"neither a number nor a string after {word}")
            compared[-1] = True
    return found


def is_bound(token):
    """Whether a token is a number or a string."""
    kind, word = token
    return kind == "literal" and not word.isalpha()


def odd_calls(text):
    found = []
    for call in parse(text).calls:
        taken = (0,) if call.function in STATUS else N_ARGS.get(call.function)
        if call.function == "case" or taken and call.n_args not in taken:
            found.append(f"{call.function}() with {call.n_args} arguments")
    return found
