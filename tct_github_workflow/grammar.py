"""What the matcher walks: for each place in a workflow a Value, which says what may stand there.

compiler.py makes these of the JSON schema. Nothing is left to be looked up in the schema: no
`not`, `oneOf` or `$ref`, just what a value can be and, of an object, which keys it can hold.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .alphabet import ARRAY, CLOSE, END, EOD, KEY, NUMBER, OBJECT
from .automaton import FAR, NONE, Dfa
from .expressions import ExpressionText
from .utf8 import over_bytes

EMPTY = frozenset()
KNOWN_KEYS = 1 << 10  # of which an object remembers what comes after them


class Value:
    """What may stand in one place."""

    def __init__(self):
        self.scalars = []  # of NULL, TRUE, FALSE those that may stand here
        self.constants = EMPTY  # symbols of strings that have one
        self.number = False  # whether a number may stand here
        self.strings = NONE  # Dfa of the other strings
        self.expressions = []  # [ExpressionText] of those that may hold expressions
        self.arrays = []  # [ArrayType], alternatives
        self.objects = []  # [ObjectType], alternatives
        self.role = None  # of its strings, where rules of names.py apply to them
        self.routes = {}  # context -> tokens, if it leads to the names of that (see routes.py)
        self.kinds = []  # of a row of a matrix: [(Value, kinds)], alternatives (see routes.py)
        self.tokens = FAR  # of the shortest completion, at most
        self.levels = FAR  # of nesting that it needs at least

    def can_be(self):
        """Whether anything at all may stand here."""
        is_literal = self.scalars or self.number
        is_string = self.constants or self.strings.live[0] or self.expressions
        is_nested = self.arrays or self.objects
        return bool(is_literal or is_string or is_nested)

    @functools.cached_property
    def texts(self):
        """Text automata, any one of which a string may follow."""
        plain = [over_bytes(self.strings)] if self.strings.live[0] else []
        return plain + self.expressions

    @functools.cached_property
    def symbols(self):
        """The symbols that such a value can begin with; END alone is the empty string."""
        found = {*self.scalars, *self.constants}
        for symbol, possible in (
            (NUMBER, self.number),
            (ARRAY, self.arrays),
            (OBJECT, self.objects),
            (END, self.texts),
        ):
            if possible:
                found.add(symbol)
        return frozenset(found)

    def size(self):
        """-> (tokens, levels) of the shortest completion, by those of its parts."""
        options = []
        if self.scalars or self.constants and not self.role:
            options.append((1, 0))  # names.py counts the tokens of a name: it need not be free
        if self.number:
            options.append((3, 0))
        for text in self.texts:
            tokens = int(text.bytes_to_end[text.start]) + 1
            options.append((tokens, 0))
        for array in self.arrays:
            tokens = 2 + array.least * array.items.tokens
            levels = 1 + array.items.levels if array.least else 1
            options.append((tokens, levels))
        for obj in self.objects:
            obj.close.cache_clear()
            tokens, levels = obj.close(EMPTY, 0)
            options.append((1 + tokens, 1 + levels))
        tokens = min((tokens for tokens, _ in options), default=FAR)
        levels = min((levels for _, levels in options), default=FAR)
        return min(tokens, FAR), min(levels, FAR)


@dataclass(eq=False)
class ArrayType:
    """An array."""

    items: Value  # what each item may be
    least: int  # minItems
    routes: dict = field(default_factory=dict)  # as in ObjectType
    role = None

    def can_end(self):
        """Whether some value can be all that must come in it."""
        return not self.least or self.items.tokens < FAR


@dataclass(eq=False)
class OtherKeys:
    """A class of keys that are known by a pattern, not by name."""

    names: Dfa  # of the keys
    value: Value  # what stands after them
    expressions: ExpressionText = None  # what they must match, where they hold expressions

    @functools.cached_property
    def text(self):
        return self.expressions or over_bytes(self.names)

    def accepts(self, name):
        keys = self.expressions or self.names
        return keys.accepts(name)

    def parts(self):
        """All that makes it what it is."""
        return self.names, self.value, self.expressions

    @functools.cached_property
    def few(self):
        """All these keys (bytes) where they are just a few words, else none."""
        if not self.names.finite[0]:
            return EMPTY
        return frozenset(self.names.words_from(0))


@dataclass(frozen=True)
class Clause:
    """A condition on the keys of an object."""

    require: frozenset  # keys that must be there
    forbid: frozenset  # keys that must not
    least: int  # how many there must be

    def implies(self, other):
        has_all = other.require <= self.require and other.forbid <= self.forbid
        return has_all and other.least <= self.least


@dataclass(eq=False)
class ObjectType:
    """An object."""

    fields: dict  # {key: Value or None where the key cannot be}
    others: list  # [OtherKeys], disjoint: all keys that are not in fields
    clauses: list  # [Clause], of which one must hold in the end
    fold: Callable = str  # str or str.upper: keys that are equal after it are the same
    role: str = None  # where rules of names.py apply to its keys
    # context -> [(folded key, None for any; tokens)] that lead to its names (see routes.py)
    routes: dict = field(default_factory=dict)
    sources: dict = None  # of a whole workflow: context -> routes.Source

    def __post_init__(self):
        self.close = functools.cache(self._close)
        self.asked_so_far = functools.cache(self._asked_so_far)
        self._alike = {}  # what is left of the clauses -> keys after which it is
        self.field = functools.lru_cache(KNOWN_KEYS)(self._field)

    @property
    def has_rules(self):
        """Whether it is of GitHub's rules, not of the schema alone."""
        return self.fold is not str

    @functools.cached_property
    def least(self):
        """From so many keys on their number does not matter."""
        return max(clause.least for clause in self.clauses)

    @functools.cached_property
    def asked(self):
        """Keys on which a clause depends."""
        keys = [clause.require | clause.forbid for clause in self.clauses]
        return frozenset().union(*keys)

    def _asked_so_far(self, asked):
        """Keys that do to the clauses what some of self.asked do, few in all: for caches.

        (Called as `asked_so_far`.)
        """
        if self.least:
            return asked  # which of them are there matters, too
        left = []
        for clause in self.clauses:
            is_possible = not clause.forbid & asked
            left.append(clause.require - asked if is_possible else None)
        return self._alike.setdefault(tuple(left), asked)

    @functools.cached_property
    def asked_texts(self):
        """Those of them without a symbol, folded."""
        return frozenset(self.fold(key) for key in self.asked if key not in KEY)

    def strike_out_impossible(self):
        """Drops the fields that no value can complete, once that is known."""
        self.fields = {k: v if v.tokens < FAR else None for k, v in self.fields.items()}
        self.others = [other for other in self.others if other.value.tokens < FAR]
        self.field.cache_clear()

    def _field(self, name):
        """The Value after a key, None where the key cannot be. (Called as `field`.)"""
        if name in self.fields:
            return self.fields[name]
        for other in self.others:
            if other.accepts(name):
                return other.value
        return None

    @functools.cached_property
    def symbols(self):
        """The symbols that may follow a field of it."""
        keys = frozenset(KEY[name] for name in KEY if self.field(name))
        return keys | {CLOSE, EOD, END}

    @functools.cached_property
    def fixed_keys(self):
        """Keys, folded, that change what else may come: the few of a class, ""."""
        few = EMPTY.union(*(other.few for other in self.others))
        names = {"", *(word.decode() for word in few)}
        return frozenset(map(self.fold, names))

    @functools.cached_property
    def route_keys(self):
        """Keys, folded, that change which routes are left, and whether a step can have an id."""
        keys = {self.fold("id")}
        for routes in self.routes.values():
            keys.update(key for key, _ in routes)
        return frozenset(keys)

    @functools.cached_property
    def allows_empty_key(self):
        return any(other.names.accept[0] for other in self.others)

    def can_end(self):
        """Whether it can be completed."""
        tokens, _ = self.close(EMPTY, 0)
        return tokens < FAR

    def differs_in_keys_alone(self, other):
        """Whether wherever both this and another ObjectType have a key, the same comes after it."""
        if self.apart_from_fields() != other.apart_from_fields():
            return False
        for key in {**self.fields, **other.fields}:
            values = {self.field(key), other.field(key)}
            if len(values - {None}) > 1:
                return False
        return True

    def apart_from_fields(self):
        """All that makes it what it is besides its fields and clauses."""
        others = [keys.parts() for keys in self.others]
        return self.fold, self.role, others

    def joined(self, other):
        """The one ObjectType for two alternatives that differ in their keys alone."""
        fields = {}
        for key in {**self.fields, **other.fields}:
            fields[key] = self.field(key) or other.field(key)
        clauses = self.clauses_among(fields) + other.clauses_among(fields)
        return ObjectType(fields, self.others, clauses, self.fold, self.role)

    def clauses_among(self, fields):
        """Its clauses, which forbid those of some fields, too, that it does not have."""
        there = [key for key, value in fields.items() if value]
        absent = frozenset(key for key in there if not self.field(key))
        return [replace(clause, forbid=clause.forbid | absent) for clause in self.clauses]

    def _key_tokens(self, name):
        return 1 if name in KEY else len(name.encode()) + 1

    def _close(self, asked, n_used):
        """-> (tokens to the end of the object, levels that it needs).

        asked: those keys of self.asked that are there; n_used: how many keys there are in all.
        (Called as `close`.)
        """
        best = (FAR, FAR)
        for clause in self.clauses:
            if not clause.forbid & asked:
                best = min(best, self._close_by(clause, asked, n_used))
        return best

    def _close_by(self, clause, asked, n_used):
        missing = []  # (tokens, levels) of each field that must still come
        for name in clause.require - asked:
            value = self.field(name)
            tokens = self._key_tokens(name) + value.tokens
            missing.append((tokens, value.levels))
        n_more = clause.least - n_used - len(missing)
        if n_more > 0:
            missing += self._cheapest_fields(n_more, clause.require | clause.forbid | asked)
        tokens = sum(tokens for tokens, _ in missing)
        return 1 + tokens, max((levels for _, levels in missing), default=0)

    def _cheapest_fields(self, n, apart_from):
        """(tokens, levels) of the n cheapest fields: of distinct symbols, or of distinct texts."""
        options = []
        for name in KEY:
            value = self.field(name)
            if value and name not in apart_from:
                options.append((1 + value.tokens, value.levels))
        for other in self.others:
            tokens = int(other.text.bytes_to_end[other.text.start]) + 1 + other.value.tokens
            options += [(tokens + i, other.value.levels) for i in range(n)]
        return sorted(options)[:n] if len(options) >= n else [(FAR, FAR)]


def join_alternatives(objects):
    """[ObjectType], as few as possible: each is a thread more for the matcher to follow."""
    joined = []
    for obj in objects:
        for i, other in enumerate(joined):
            if obj.differs_in_keys_alone(other):
                joined[i] = other.joined(obj)
                break
        else:
            joined.append(obj)
    return joined
