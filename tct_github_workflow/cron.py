"""Cron lines as GitHub's parser reads them, as an automaton: five fields, blanks between them.

A field is a list with commas of `*`, a value, or a range from one value to a higher one; each may
have a /step. GitHub's parser is JavaScript and takes some odd numbers besides (1e1, 0x5), which
are left out here: nobody writes them.
"""

import functools
from typing import NamedTuple

from .automaton import SIZE, crawl

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class Field(NamedTuple):
    low: int
    high: int
    names: tuple = ()  # for the values from low on

    def values(self):
        """{each spelling of a value: the value}."""
        spelled = {name: self.low + i for i, name in enumerate(self.names)}
        for value in range(self.low, self.high + 1):
            spelled[str(value)] = value
            spelled[f"{value:02}"] = value
        return spelled


FIELDS = (
    Field(0, 59),  # minute
    Field(0, 23),  # hour
    Field(1, 31),  # day of the month
    Field(1, 12, MONTHS),
    Field(0, 6, DAYS),
)


class State(NamedTuple):
    """Within a field: in its gap, first value, the end of its range, or its step."""

    field: int
    part: str  # "gap", "value", "star", "range", "step"
    typed: str = ""  # of a first value
    endings: frozenset = frozenset()  # what may complete the value at hand


@functools.cache
def spellings(field):
    return FIELDS[field].values()


def spelled_from(field, least):
    """The values of a field that are not below `least`."""
    return frozenset(word for word, value in spellings(field).items() if value >= least)


def steps(field):
    """Numbers that a field takes as a step."""
    return frozenset(w for w in spelled_from(field, max(1, FIELDS[field].low)) if w.isdigit())


def value_state(field):
    return State(field, "value", "", spelled_from(field, FIELDS[field].low))


def after(state, char):
    """The state after a character in lower case, or None."""
    field, part, typed, endings = state
    if part == "gap":
        return state if char == " " else after(value_state(field), char)
    if char == "*" and part == "value" and not typed:
        return State(field, "star")
    longer = frozenset(word[1:] for word in endings if word.startswith(char))
    if longer:
        return State(field, part, typed + char if part == "value" else "", longer)
    if part == "star" or "" in endings:
        return after_item(state, char)
    return None


def after_item(state, char):
    """The state after a character that ends a complete item of a list."""
    field, part, typed, _ = state
    if char == ",":
        return value_state(field)
    if char == " " and field + 1 < len(FIELDS):
        return State(field + 1, "gap")
    if char == "/" and part != "step":
        return State(field, "step", "", steps(field))
    if char == "-" and part == "value":
        return State(field, "range", "", spelled_from(field, spellings(field)[typed]))
    return None


def is_complete(state):
    if state is None or state.field + 1 < len(FIELDS):
        return False
    return state.part == "star" or "" in state.endings


@functools.cache
def cron_lines():
    """The Dfa of all cron lines."""
    signs = " *,-/0123456789"
    letters = sorted(set("".join(MONTHS + DAYS)))

    def follow(state):
        row = [None] * SIZE
        if state is None:
            return row
        for char in [*signs, *letters] if FIELDS[state.field].names else signs:
            target = after(state, char)
            row[ord(char)] = target
            row[ord(char.upper())] = target
        return row

    return crawl(value_state(0), follow, is_complete)
