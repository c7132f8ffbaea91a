"""The JSON schema as a grammar: for every value a normal form, for each kind of JSON (null, number, string, array, object) a short list
of alternatives without `not`, `oneOf` or `$ref`. matcher.py walks it. A keyword that is not known here is an error, never ignored.
"""

import functools
from collections import namedtuple
from itertools import product

from . import automaton, codec
from .automaton import ANY, FAR, NONE, both, either, negate
from .codec import ARRAY, CLOSE, CONSTANT, END, EOD, FALSE, KEY, NULL, NUMBER, OBJECT, TRUE
from .schema import SCHEMA

ENFORCED = {
    "$ref",
    "type",
    "enum",
    "const",
    "oneOf",
    "anyOf",
    "allOf",
    "not",
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "dependencies",
    "items",
    "minItems",
    "minProperties",
    "minLength",
    "pattern",
}
ANNOTATIONS = {
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "definitions",
    "deprecationMessage",
    "markdownDescription",
    "deprecated",
    "x-intellij-html-description",
    "x-intellij-enum-metadata",
}
NUMBERS = automaton.from_regex(f"^(?:{codec.NUMBER_RE.pattern})$")
EMPTY = frozenset()
CONSTANT_WORDS, KEY_WORDS = (
    frozenset(c.encode() for c in CONSTANT),
    frozenset(k.encode() for k in KEY),
)

# One alternative for each kind; `children` are conjunctions: frozensets of (sign, pointer into the schema), all of which must hold.
Array = namedtuple("Array", "items least")  # items: children; least: minItems
Object = namedtuple("Object", "fields rest least require forbid")
# fields: {key: children}; rest: [(Dfa of other keys, children)], disjoint; least: minProperties; require, forbid: frozensets of keys
ANY_OBJECT = Object({}, ((ANY, EMPTY),), 0, EMPTY, EMPTY)
ANY_ALTERNATIVE = {
    "string": (ANY, frozenset(CONSTANT)),
    "array": Array(EMPTY, 0),
    "object": ANY_OBJECT,
}
KINDS = ("null", "true", "false", "number", "string", "array", "object")
APPLIES_TO = {
    "pattern": "string",
    "minLength": "string",
    "items": "array",
    "minItems": "array",
    "minProperties": "object",
    "required": "object",
    "dependencies": "object",
    "properties": "object",
}
_TYPES = {"boolean": ("true", "false")}


class Unsupported(ValueError):
    """The schema uses something that this compiler does not know; nothing is ever ignored silently."""


class Value:
    """What may stand in one place: `scalars` and `constants` (symbols), `number` (bool), `strings` (Dfa), `arrays` and `objects`
    (alternatives). tokens: of the shortest completion, at most; levels: of nesting that it needs at least."""

    def __init__(self):
        self.scalars, self.constants, self.number, self.strings, self.arrays, self.objects = (
            [],
            EMPTY,
            False,
            NONE,
            [],
            [],
        )
        self.tokens = self.levels = FAR

    @functools.cached_property
    def symbols(self):
        """The symbols that such a value can begin with."""
        return (
            frozenset(self.scalars)
            | self.constants
            | {
                s
                for s, found in (
                    (NUMBER, self.number),
                    (ARRAY, self.arrays),
                    (OBJECT, self.objects),
                    (END, self.strings.live[0]),
                )
                if found
            }
        )


ArrayType = namedtuple("ArrayType", "items least")  # items: Value


class ObjectType:
    """An object's grammar: clauses [(require, forbid)] of keys, of which one must hold in the end; field(name) -> Value or None."""

    def __init__(self, fields, rest, least, clauses):
        self.fields, self.rest, self.least, self.clauses = fields, rest, least, clauses
        self.asked = frozenset().union(*(r for r, _ in clauses), *(f for _, f in clauses))
        self.asked_texts = frozenset(k.encode() for k in self.asked if k not in KEY)
        self.known, self.close = {}, functools.cache(self._close)
        self.unnamed = [(dfa, v) for dfa, v in rest if dfa.accept[0]]  # what the key "" may hold
        self.listed = frozenset(
            w for dfa, _ in rest if dfa.finite[0] for w in dfa.rest(0)
        )  # keys by pattern that are just a few words

    def field(self, name):
        if name not in self.known:
            self.known[name] = (
                self.fields[name]
                if name in self.fields
                else next((value for dfa, value in self.rest if dfa.accepts(name)), None)
            )
        return self.known[name]

    @functools.cached_property
    def symbols(self):
        """The symbols that may follow a field of it."""
        return frozenset(KEY[k] for k in KEY if self.field(k)) | {CLOSE, EOD, END}

    def _key_tokens(self, name):
        return 1 if name in KEY else len(name.encode()) + 1

    def _close(self, asked, used_count):
        """-> (tokens to the end of the object, levels it needs) once the keys `asked` of self.asked are there, used_count in all."""
        best = (FAR, FAR)
        for require, forbid in self.clauses:
            if not forbid & asked:
                missing = [
                    (self._key_tokens(k) + self.field(k).tokens, self.field(k).levels)
                    for k in require - asked
                ]
                more = self.least - used_count - len(missing)
                if more > 0:  # any other keys: of distinct symbols, which cost no more than text
                    options = sorted(
                        (1 + v.tokens, v.levels)
                        for k in KEY
                        for v in [self.field(k)]
                        if v and k not in require | forbid | asked
                    )
                    options += [
                        (dfa.distance[0] + 1 + v.tokens + i, v.levels)
                        for dfa, v in self.rest
                        for i in range(more)
                    ]
                    missing += sorted(options)[:more] if len(options) >= more else [(FAR, FAR)]
                best = min(
                    best, (1 + sum(t for t, _ in missing), max((n for _, n in missing), default=0))
                )
        return best


class Compiler:
    """schema (a dict) -> Value of a whole document, in `root`."""

    def __init__(self, schema):
        self.schema, self.values, self.active = schema, {}, set()
        self.enforced, self.beside_ref = (
            set(),
            {},
        )  # the keyword census: what counts, and what draft 7 makes void, by pointer
        self.constants = frozenset(CONSTANT)
        self.root = self.value(frozenset([(True, self.follow("#"))]))
        self.settle()

    def at(self, pointer):
        node = self.schema
        for part in pointer.split("/")[1:]:
            node = (
                node[int(part)]
                if isinstance(node, list)
                else node[part.replace("~1", "/").replace("~0", "~")]
            )
        return node

    def follow(self, pointer):
        """Behind every $ref; in draft 7 keywords beside a $ref do not count, and validators ignore them."""
        while isinstance(self.at(pointer), dict) and "$ref" in self.at(pointer):
            ref = self.at(pointer)["$ref"]
            if not ref.startswith("#"):
                raise Unsupported(f"{pointer}: $ref to another file: {ref}")
            self.beside_ref.update(
                {pointer: extra}
                if (extra := sorted(set(self.at(pointer)) - ANNOTATIONS - {"$ref"}))
                else {}
            )
            pointer = ref
        return pointer

    def children(self, pointer):
        """A subschema as a conjunction; `true` asks nothing."""
        pointer = self.follow(pointer)
        return EMPTY if self.at(pointer) in (True, {}) else frozenset([(True, pointer)])

    # --- one schema, one kind of JSON -> alternatives -----------------------------------------------------------------------
    def meet(self, kind, a, b):
        """Both of two alternatives of one kind."""
        if kind == "string":
            return both(a[0], b[0]), a[1] & b[1]
        if kind == "array":
            return Array(a.items | b.items, max(a.least, b.least))
        if kind == "object":
            fields = {k: self.under(a, k) | self.under(b, k) for k in [*a.fields, *b.fields]}
            rest = tuple(
                (d, x | y)
                for (da, x), (db, y) in product(a.rest, b.rest)
                for d in [both(da, db)]
                if d.live[0]
            )
            return Object(
                fields, rest, max(a.least, b.least), a.require | b.require, a.forbid | b.forbid
            )
        return True

    def under(self, obj, key):
        """What an Object asks of the value of `key`; ("never", ) where it has no room for that key."""
        if key in obj.fields:
            return obj.fields[key]
        return next(
            (children for dfa, children in obj.rest if dfa.accepts(key)),
            frozenset([(True, "never")]),
        )

    def meets(self, kind, *options):
        """AND of lists of alternatives (each an OR)."""
        result = [ANY_ALTERNATIVE.get(kind, True)]
        for option in options:
            result = [
                m
                for a, b in product(result, option)
                for m in [self.meet(kind, a, b)]
                if self.possible(kind, m)
            ]
        return result

    def possible(self, kind, a):
        if kind == "string":
            return bool(a[0].live[0] or a[1])
        if kind == "array":
            return not a.least or self.nonempty(a.items)
        if kind == "object":
            return not a.require & a.forbid and all(
                self.nonempty(self.under(a, k)) for k in a.require
            )
        return True

    def nonempty(self, children):
        if (True, "never") in children:
            return False
        if children in self.active:
            return True  # recursive: settled by settle()
        value = self.value(children)
        return bool(
            value.scalars
            or value.constants
            or value.number
            or value.strings.live[0]
            or value.arrays
            or value.objects
        )

    def alternatives(self, kind, pointer, sign):
        """A schema (or, sign False, its negation) restricted to one kind, as a list of alternatives: an OR."""
        pointer = self.follow(pointer)
        node = self.at(pointer)
        if isinstance(node, bool):
            return self.meets(kind) if node == sign else []
        words = [w for w in node if w not in ANNOTATIONS]
        for word in words:
            if word not in ENFORCED:
                raise Unsupported(f"{pointer}: the keyword {word!r} is not known to the matcher")
            self.enforced.add(word)
        if {"properties", "patternProperties", "additionalProperties"} & set(words):
            words = [
                w
                for w in words
                if w not in ("patternProperties", "additionalProperties", "properties")
            ] + ["properties"]
        options = []
        for w in words:
            if APPLIES_TO.get(w, kind) != kind:  # says nothing about other kinds
                options.append(self._all(kind, True, sign))
            elif not sign and w in ("items", "minItems", "minProperties"):
                raise Unsupported(f"{pointer}: the negation of {w} is needed")
            else:
                options.append(
                    getattr(
                        self,
                        "_"
                        + {"enum": "const", "properties": "fields", "not": "negation"}.get(w, w),
                    )(kind, pointer, node, sign)
                )
        return self.meets(kind, *options) if sign else [a for option in options for a in option]

    def _all(self, kind, holds, sign):
        return self.meets(kind) if holds == sign else []

    def _type(self, kind, pointer, node, sign):
        wanted = node["type"] if isinstance(node["type"], list) else [node["type"]]
        if "integer" in wanted:
            raise Unsupported(f"{pointer}: type integer")
        return self._all(kind, any(kind in _TYPES.get(t, (t,)) for t in wanted), sign)

    def _const(self, kind, pointer, node, sign):
        listed = node["enum"] if "enum" in node else [node["const"]]
        if (
            any(not (v is None or isinstance(v, (bool, str))) for v in listed)
            or "enum" in node
            and "const" in node
        ):
            raise Unsupported(f"{pointer}: enum or const of numbers, arrays or objects")
        if kind == "string":  # each such string is a symbol, never text
            found = frozenset(v for v in listed if isinstance(v, str))
            return [(NONE, found)] if sign else [(ANY, self.constants - found)]
        return self._all(
            kind,
            {"null": None, "true": True, "false": False}.get(kind, self)
            in [v for v in listed if not isinstance(v, str)],
            sign,
        )

    def _pattern(self, kind, pointer, node, sign):
        return self._strings(automaton.from_regex(node["pattern"]), sign)

    def _minLength(self, kind, pointer, node, sign):
        return self._strings(automaton.min_length(node["minLength"]), sign)

    def _strings(self, dfa, sign):
        dfa = dfa if sign else negate(dfa)
        return [(dfa, frozenset(c for c in self.constants if dfa.accepts(c)))]

    def _items(self, kind, pointer, node, sign):
        if not isinstance(node["items"], (dict, bool)):
            raise Unsupported(f"{pointer}: items as a list")
        return [Array(self.children(pointer + "/items"), 0)]

    def _minItems(self, kind, pointer, node, sign):
        return [Array(EMPTY, node["minItems"])]

    def _minProperties(self, kind, pointer, node, sign):
        return [ANY_OBJECT._replace(least=node["minProperties"])]

    def _required(self, kind, pointer, node, sign):
        if sign:
            return [ANY_OBJECT._replace(require=frozenset(node["required"]))]
        return [ANY_OBJECT._replace(forbid=frozenset([k])) for k in node["required"]]

    def _dependencies(self, kind, pointer, node, sign):
        options = []
        for key, needs in node["dependencies"].items():
            if not isinstance(needs, list):
                raise Unsupported(f"{pointer}: a schema in dependencies")
            if sign:
                options.append(
                    [
                        ANY_OBJECT._replace(forbid=frozenset([key])),
                        ANY_OBJECT._replace(require=frozenset(needs)),
                    ]
                )
            else:
                options.append(
                    [
                        ANY_OBJECT._replace(require=frozenset([key]), forbid=frozenset([n]))
                        for n in needs
                    ]
                )
        return self.meets(kind, *options) if sign else [a for option in options for a in option]

    def _fields(self, kind, pointer, node, sign):
        patterns = {p: automaton.from_regex(p) for p in node.get("patternProperties", {})}
        under = {
            p: self.children(
                f"{pointer}/patternProperties/{p.replace('~', '~0').replace('/', '~1')}"
            )
            for p in patterns
        }
        names = {
            k: self.children(f"{pointer}/properties/{k.replace('~', '~0').replace('/', '~1')}")
            for k in node.get("properties", {})
        }
        if not names.keys() <= KEY.keys():
            raise Unsupported(
                f"{pointer}: a property without a symbol: {sorted(names.keys() - KEY.keys())}"
            )
        extra = (
            self.children(pointer + "/additionalProperties")
            if "additionalProperties" in node
            else EMPTY
        )
        if not sign:
            if any(under.values()) or extra:
                raise Unsupported(
                    f"{pointer}: the negation of additionalProperties or patternProperties is needed"
                )
            return [
                ANY_OBJECT._replace(fields={k: frozenset([(False, p)])}, require=frozenset([k]))
                for k, children in names.items()
                for _, p in children
            ]
        fields = {
            k: children.union(*(under[p] for p, dfa in patterns.items() if dfa.accepts(k)))
            for k, children in names.items()
        }
        rest = [(ANY, EMPTY, False)]
        for (
            p,
            dfa,
        ) in patterns.items():  # every other key: the patterns that it matches, or else `extra`
            rest = [
                (d, c, m)
                for da, ca, ma in rest
                for d, c, m in (
                    (both(da, dfa), ca | under[p], True),
                    (both(da, negate(dfa)), ca, ma),
                )
                if d.live[0]
            ]
        return [
            Object(
                fields,
                tuple((d, c if matched else extra) for d, c, matched in rest),
                0,
                EMPTY,
                EMPTY,
            )
        ]

    def _allOf(self, kind, pointer, node, sign):
        options = [
            self.alternatives(kind, f"{pointer}/allOf/{i}", sign) for i in range(len(node["allOf"]))
        ]
        return self.meets(kind, *options) if sign else [a for option in options for a in option]

    def _anyOf(self, kind, pointer, node, sign):
        options = [
            self.alternatives(kind, f"{pointer}/anyOf/{i}", sign) for i in range(len(node["anyOf"]))
        ]
        return [a for option in options for a in option] if sign else self.meets(kind, *options)

    def _oneOf(self, kind, pointer, node, sign):
        branches = [f"{pointer}/oneOf/{i}" for i in range(len(node["oneOf"]))]
        options = [self.alternatives(kind, b, True) for b in branches]
        result = []
        if not sign:  # none of them, or two
            result = self.meets(kind, *(self.alternatives(kind, b, False) for b in branches))
            return result + [
                a
                for i in range(len(options))
                for j in range(i)
                for a in self.meets(kind, options[i], options[j])
            ]
        for i, own in enumerate(options):  # this one and no other
            for j, b in enumerate(branches):
                if i != j and own:
                    own = [
                        x
                        for a in own
                        for x in (
                            [a]
                            if not self.meets(kind, [a], options[j])
                            else self.meets(kind, [a], self.alternatives(kind, b, False))
                        )
                    ]
            result += own
        return result

    def _negation(self, kind, pointer, node, sign):
        return self.alternatives(kind, pointer + "/not", not sign)

    # --- a conjunction -> Value -----------------------------------------------------------------------------------------------
    def value(self, children):
        if children in self.values:
            return self.values[children]
        value = self.values[children] = Value()
        if (True, "never") in children:
            return value
        self.active.add(children)
        found = {
            kind: self.meets(
                kind, *(self.alternatives(kind, p, sign) for sign, p in sorted(children))
            )
            for kind in KINDS
        }
        self.active.discard(children)
        value.scalars = [
            s for s, kind in ((NULL, "null"), (TRUE, "true"), (FALSE, "false")) if found[kind]
        ]
        value.number = bool(found["number"])
        for dfa, constants in found["string"]:
            value.strings = either(value.strings, dfa)
            value.constants |= frozenset(CONSTANT[c] for c in constants)
        for a in dict.fromkeys(found["array"]):
            value.arrays.append(ArrayType(self.value(a.items), a.least))
        groups = {}  # alternatives that differ in required and forbidden keys alone
        for o in found["object"]:
            fields = tuple(sorted((k, c) for k, c in o.fields.items()))
            groups.setdefault((fields, o.rest, o.least), {})[o.require, o.forbid] = None
        value.strings = self.apart(value.strings, CONSTANT)
        for (fields, rest, least), clauses in groups.items():
            rest = [(self.apart(dfa, KEY), c) for dfa, c in rest]
            if any(dfa.finite.any() and not dfa.finite[0] for dfa, _ in rest):
                raise Unsupported(
                    f"{sorted(children)}: a pattern of keys that leaves just a few endings to some beginnings"
                )
            clauses = [
                c
                for c in clauses
                if not any(c != d and d[0] <= c[0] and d[1] <= c[1] for d in clauses)
            ]
            value.objects.append(
                ObjectType(
                    {k: self.value(c) for k, c in fields},
                    [(dfa, self.value(c)) for dfa, c in rest],
                    least,
                    clauses,
                )
            )
        return value

    def apart(self, dfa, names):
        """Text that is not one of `names`, which have symbols. Done by hand at the end of a text (see `end_text`) where text can always go
        on to something else; where only a few words are possible the automaton itself has to know."""
        return both(dfa, negate(automaton.words(frozenset(names)))) if dfa.finite.any() else dfa

    def settle(self):
        """Shortest completions as a least fixed point; what has none cannot be and is struck out."""

        def size(value):
            options = [(1, 0)] * bool(value.scalars or value.constants) + [(3, 0)] * value.number
            options += [(value.strings.distance[0] + 1, 0)] if value.strings.live[0] else []
            options += [
                (2 + a.least * a.items.tokens, 1 + a.items.levels * bool(a.least))
                for a in value.arrays
            ]
            for o in value.objects:
                o.close.cache_clear()
                tokens, levels = o.close(EMPTY, 0)
                options.append((1 + tokens, 1 + levels))
            return min((int(t) for t, _ in options), default=FAR), min(
                (int(n) for _, n in options), default=FAR
            )

        values, changed = list(self.values.values()), True
        while changed:
            changed = False
            for value in values:
                now = tuple(min(x, FAR) for x in size(value))
                changed |= now != (value.tokens, value.levels)
                value.tokens, value.levels = now
        for value in values:
            for o in value.objects:
                o.fields = {k: v if v.tokens < FAR else None for k, v in o.fields.items()}
                o.rest = [(dfa, v) for dfa, v in o.rest if v.tokens < FAR]
                o.known.clear()
            value.arrays = [a for a in value.arrays if not a.least or a.items.tokens < FAR]
            value.objects = [o for o in value.objects if o.close(EMPTY, 0)[0] < FAR]


@functools.cache
def grammar():
    return Compiler(SCHEMA)
