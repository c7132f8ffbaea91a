"""What a schema allows, for one kind of JSON at a time, in a normal form: a list of alternatives.

A list is an OR. For null, true, false and number an alternative says nothing (`True`); for strings,
arrays and objects it is one of the records below. An AND of two alternatives is one alternative
again, so that any schema comes down to a list: the reason for a normal form (hypothesis-jsonschema
has the same one) is that what follows never needs to look at the rest of the schema.
"""

from dataclasses import dataclass

from .alphabet import CONSTANT
from .automaton import ANY, Dfa, both
from .expressions import ExpressionText

KINDS = ("null", "true", "false", "number", "string", "array", "object")
EMPTY = frozenset()
# A conjunction is a frozenset of (sign, pointer into the schema): all these schemas must hold, or
# (sign False) must not. Nothing meets this one:
NEVER = (True, "never")


@dataclass(frozen=True)
class Strings:
    """Strings: constants, which have symbols, and others."""

    others: Dfa = ANY  # of the strings that are no constant
    constants: frozenset = frozenset(CONSTANT)  # the constants among them
    expressions: ExpressionText = None  # what the others must match besides, with expressions
    role: str = None  # where rules of names.py apply

    def meet(self, other):
        assert None in (self.expressions, other.expressions), "expressions of two places in one"
        return Strings(
            both(self.others, other.others),
            self.constants & other.constants,
            self.expressions or other.expressions,
            self.role or other.role,
        )

    def is_possible(self, nonempty):
        return bool(self.others.live[0] or self.constants)


@dataclass(frozen=True)
class Array:
    """Arrays."""

    items: frozenset = EMPTY  # conjunction that each item must meet
    least: int = 0  # minItems

    def meet(self, other):
        return Array(self.items | other.items, max(self.least, other.least))

    def is_possible(self, nonempty):
        return not self.least or nonempty(self.items)


@dataclass(frozen=True)
class OtherKeys:
    """A class of keys that are not listed, by pattern."""

    names: Dfa  # the keys
    children: frozenset  # conjunction that their values must meet
    matched: bool = False  # by a pattern; else additionalProperties counts
    expressions: ExpressionText = None  # what these keys must match besides, with expressions


@dataclass(frozen=True)
class Object:
    """Objects."""

    fields: tuple = ()  # (key, conjunction) of each key that is listed
    others: tuple = (OtherKeys(ANY, EMPTY),)  # all other keys, in disjoint classes
    least: int = 0  # minProperties
    require: frozenset = EMPTY  # keys that must be there
    forbid: frozenset = EMPTY  # keys that must not
    role: str = None  # where rules of names.py apply to its keys

    def under(self, key):
        """The conjunction that the value of a key must meet."""
        for name, children in self.fields:
            if name == key:
                return children
        for other in self.others:
            if other.names.accepts(key):
                return other.children
        return frozenset([NEVER])

    def meet(self, other):
        keys = dict.fromkeys([key for key, _ in self.fields + other.fields])
        others = []
        for a in self.others:
            for b in other.others:
                names = both(a.names, b.names)
                text = a.expressions or b.expressions
                if names.live[0]:
                    others.append(OtherKeys(names, a.children | b.children, expressions=text))
        return Object(
            tuple((key, self.under(key) | other.under(key)) for key in keys),
            tuple(others),
            max(self.least, other.least),
            self.require | other.require,
            self.forbid | other.forbid,
            self.role or other.role,
        )

    def is_possible(self, nonempty):
        if self.require & self.forbid:
            return False
        return all(nonempty(self.under(key)) for key in self.require)


_ANYTHING = {"string": Strings(), "array": Array(), "object": Object()}


def anything(kind):
    """All values of a kind."""
    return [_ANYTHING.get(kind, True)]


def union(options):
    """OR of lists of alternatives."""
    result = []
    for option in options:
        result += option
    return result


def meet(options, kind, nonempty):
    """AND of lists of alternatives. nonempty(conjunction): whether some value can meet it."""
    result = anything(kind)
    for option in options:
        result = _meet_two(result, option, nonempty)
    return result


def _meet_two(left, right, nonempty):
    met = []
    for a in left:
        for b in right:
            both_hold = a is True or a.meet(b)
            if both_hold is True or both_hold.is_possible(nonempty):
                met.append(both_hold)
    return met
