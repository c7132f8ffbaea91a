"""Kinds of texts with expressions, and where such a text stands outside of its expressions."""

from dataclasses import dataclass

OPENING = "${{"
SHORTEST = len("${{1}}")
SHORTEST_JSON = len("${{fromJSON('')}}")


@dataclass(frozen=True)
class Situation:
    """Where a text stands outside its expressions."""

    then: str  # the situation after a character of text; None: there may be none
    left: int  # bytes of the shortest rest
    first: bool = False  # an expression that opens here is the first thing of the text
    opens: bool = True  # an expression may open here
    shortest: int = SHORTEST  # bytes of an expression that opens here, its braces included


MAX_GROUP = 400  # characters of a group's name

# Of each kind of text with expressions. new: nothing so far; without: no expression so far;
# short: the same, and not longer than it may be; within: there is one, or it does not matter;
# hollow: nothing but ${{ 'a string' }}, to GitHub no expression.
#   text   any text          some   the same, not empty
#   traced the same as text, but it is known whether there is an expression in it
#   group  1 to MAX_GROUP characters, or any text with an expression in it
#   has    any text with an expression in it          whole  nothing but expressions
#   one    a single expression
#   json   the same, and all of it fromJSON(...): see clean_syntax.py
SITUATIONS = {
    "text": {"new": Situation("new", 0)},
    "some": {
        "new": Situation("within", 1, first=True),
        "within": Situation("within", 0),
        "hollow": Situation("within", 1),
    },
    "traced": {
        "new": Situation("without", 0, first=True),
        "without": Situation("without", 0),
        "within": Situation("within", 0),
        "hollow": Situation("within", 0),
    },
    "group": {
        "new": Situation("short", 1, first=True),
        "short": Situation("short", 0),
        "without": Situation("without", SHORTEST),
        "within": Situation("within", 0),
        "hollow": Situation("within", 1),
    },
    "has": {
        "new": Situation("without", SHORTEST, first=True),
        "without": Situation("without", SHORTEST),
        "within": Situation("within", 0),
        "hollow": Situation("within", 1),
    },
    "whole": {
        "new": Situation(None, SHORTEST, first=True),
        "within": Situation(None, 0),
        "hollow": Situation(None, SHORTEST),
    },
    "one": {
        "new": Situation(None, SHORTEST, first=True),
        "within": Situation(None, 0, opens=False),
    },
    "json": {
        "new": Situation(None, SHORTEST_JSON, shortest=SHORTEST_JSON),
        "within": Situation(None, 0, opens=False),
    },
}
KINDS = (*SITUATIONS, "bare")  # bare: an expression without ${{ and }}, or nothing
SIZES = ("empty", "full", "long")  # of a string: none, 1 to MAX_GROUP characters, or more
# bytes after a string that is the whole expression so far, by its size, up to a complete text
# (a comparison `<1`, another character), besides the braces; where it is text as any other, nothing
HOLLOW_COST = {
    ("some", "empty"): 1,
    ("traced", "empty"): 0,
    ("traced", "full"): 0,
    ("group", "empty"): 1,
    ("group", "long"): 1,
    ("has", "empty"): 1,
    ("has", "full"): 1,
    ("whole", "empty"): 2,
    ("whole", "full"): 2,
    ("one", "empty"): 2,
    ("one", "full"): 2,
}


def longer_than_allowed(name):
    """The name of the control instead of one at which a text is too long, None if it never is."""
    kind, situation, *rest = name if isinstance(name, tuple) else (name, None)
    if kind == "character":
        longer = longer_than_allowed(*rest)
        return longer and (kind, situation, longer)
    if kind == "group" and situation in ("new", "short"):
        return kind, "without", *rest
    return ("hollow", "literal", "long") if name == ("hollow", "literal", "full") else None
