"""Which token may come next so that a schema-valid workflow can still be completed: exactly those, in any order of keys.

Two parts. The first compiles the JSON schema: every value gets a normal form, for each kind of JSON (null, number, string, array, object)
a short list of alternatives without `not`, `oneOf` or `$ref`. The second walks that grammar along the linearised string (see
codec.py). Where several alternatives are still possible it follows all of them: a state is a list of threads, each of which can be
completed on its own. So a token is allowed if and only if some thread survives it.
"""
import functools
import re
from collections import OrderedDict, namedtuple
from itertools import product

import numpy as np

from . import automaton, codec
from .automaton import ANY, FAR, NONE, PHASES, both, either, negate
from .codec import ARRAY, CLOSE, CONSTANT, END, EOD, ESC, FALSE, KEY, KEY_NAME, MAX_DEPTH, NULL, NUMBER, OBJECT, PAD, TRUE, VOCAB_SIZE
from .errors import DecodeError
from .schema import SCHEMA

# === 1. the schema as a grammar ===================================================================================================
ENFORCED = {"$ref", "type", "enum", "const", "oneOf", "anyOf", "allOf", "not", "properties", "patternProperties", "additionalProperties",
            "required", "dependencies", "items", "minItems", "minProperties", "minLength", "pattern"}
ANNOTATIONS = {"$schema", "$id", "$comment", "title", "description", "default", "examples", "definitions", "deprecationMessage",
               "markdownDescription", "deprecated", "x-intellij-html-description", "x-intellij-enum-metadata"}
SCALARS = {TRUE: True, FALSE: False, NULL: None}
NUMBERS = automaton.from_regex(f"^(?:{codec.NUMBER_RE.pattern})$")
EMPTY = frozenset()
CONSTANT_WORDS, KEY_WORDS = frozenset(c.encode() for c in CONSTANT), frozenset(k.encode() for k in KEY)

# One alternative for each kind; `children` are conjunctions: frozensets of (sign, pointer into the schema), all of which must hold.
Array = namedtuple("Array", "items least")                      # items: children; least: minItems
Object = namedtuple("Object", "fields rest least require forbid")
# fields: {key: children}; rest: [(Dfa of other keys, children)], disjoint; least: minProperties; require, forbid: frozensets of keys
ANY_ALTERNATIVE = {"string": (ANY, frozenset(CONSTANT)), "array": Array(EMPTY, 0), "object": Object({}, ((ANY, EMPTY),), 0, EMPTY, EMPTY)}
KINDS = ("null", "true", "false", "number", "string", "array", "object")
_TYPES = {"boolean": ("true", "false")}


class Unsupported(ValueError):
    """The schema uses something that this compiler does not know; nothing is ever ignored silently."""


class Value:
    """What may stand in one place: `scalars` and `constants` (symbols), `number` (bool), `strings` (Dfa), `arrays` and `objects`
    (alternatives). tokens: of the shortest completion, at most; levels: of nesting that it needs at least."""

    def __init__(self):
        self.scalars, self.constants, self.number, self.strings, self.arrays, self.objects = [], EMPTY, False, NONE, [], []
        self.tokens = self.levels = FAR

    @functools.cached_property
    def symbols(self):
        """The symbols that such a value can begin with."""
        return (frozenset(self.scalars) | self.constants | {s for s, found in ((NUMBER, self.number), (ARRAY, self.arrays), (OBJECT, self.objects),
                                                            (END, self.strings.live[0])) if found})


ArrayType = namedtuple("ArrayType", "items least")              # items: Value
class ObjectType:
    """An object's grammar: clauses [(require, forbid)] of keys, of which one must hold in the end; field(name) -> Value or None."""

    def __init__(self, fields, rest, least, clauses):
        self.fields, self.rest, self.least, self.clauses = fields, rest, least, clauses
        self.asked = frozenset().union(*(r for r, _ in clauses), *(f for _, f in clauses))
        self.asked_texts = frozenset(k.encode() for k in self.asked if k not in KEY)
        self.known, self.close = {}, functools.cache(self._close)
        self.unnamed = [(dfa, v) for dfa, v in rest if dfa.accept[0]]                           # what the key "" may hold
        self.listed = frozenset(w for dfa, _ in rest if dfa.finite[0] for w in dfa.rest(0))     # keys by pattern that are just a few words

    def field(self, name):
        if name not in self.known:
            self.known[name] = self.fields[name] if name in self.fields else next(
                (value for dfa, value in self.rest if dfa.accepts(name)), None)
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
                missing = [(self._key_tokens(k) + self.field(k).tokens, self.field(k).levels) for k in require - asked]
                more = self.least - used_count - len(missing)
                if more > 0:                # any other keys: of distinct symbols, which cost no more than text
                    options = sorted((1 + v.tokens, v.levels) for k in KEY for v in [self.field(k)]
                                     if v and k not in require | forbid | asked)
                    options += [(dfa.distance[0] + 1 + v.tokens + i, v.levels) for dfa, v in self.rest for i in range(more)]
                    missing += sorted(options)[:more] if len(options) >= more else [(FAR, FAR)]
                best = min(best, (1 + sum(t for t, _ in missing), max((n for _, n in missing), default=0)))
        return best


class Compiler:
    """schema (a dict) -> Value of a whole document, in `root`."""

    def __init__(self, schema):
        self.schema, self.values, self.active = schema, {}, set()
        self.enforced, self.beside_ref = set(), {}          # the keyword census: what counts, and what draft 7 makes void, by pointer
        self.constants = frozenset(CONSTANT)
        self.root = self.value(frozenset([(True, self.follow("#"))]))
        self.settle()

    def at(self, pointer):
        node = self.schema
        for part in pointer.split("/")[1:]:
            node = node[int(part)] if isinstance(node, list) else node[part.replace("~1", "/").replace("~0", "~")]
        return node

    def follow(self, pointer):
        """Behind every $ref; in draft 7 keywords beside a $ref do not count, and validators ignore them."""
        while isinstance(self.at(pointer), dict) and "$ref" in self.at(pointer):
            ref = self.at(pointer)["$ref"]
            if not ref.startswith("#"):
                raise Unsupported(f"{pointer}: $ref to another file: {ref}")
            self.beside_ref.update({pointer: extra} if (extra := sorted(set(self.at(pointer)) - ANNOTATIONS - {"$ref"})) else {})
            pointer = ref
        return pointer

    def children(self, *pointers, sign=True):
        """The conjunction of subschemas; `true` asks nothing."""
        found = {(sign, self.follow(p)) for p in pointers}
        return frozenset(c for c in found if self.at(c[1]) not in (True, {}) or not sign)

    # --- one schema, one kind of JSON -> alternatives -----------------------------------------------------------------------
    def meet(self, kind, a, b):
        """Both of two alternatives of one kind."""
        if kind == "string":
            return both(a[0], b[0]), a[1] & b[1]
        if kind == "array":
            return Array(a.items | b.items, max(a.least, b.least))
        if kind == "object":
            fields = {k: self.under(a, k) | self.under(b, k) for k in [*a.fields, *b.fields]}
            rest = tuple((d, x | y) for (da, x), (db, y) in product(a.rest, b.rest) for d in [both(da, db)] if d.live[0])
            return Object(fields, rest, max(a.least, b.least), a.require | b.require, a.forbid | b.forbid)
        return True

    def under(self, obj, key):
        """What an Object asks of the value of `key`; ("never", ) where it has no room for that key."""
        if key in obj.fields:
            return obj.fields[key]
        return next((children for dfa, children in obj.rest if dfa.accepts(key)), frozenset([(True, "never")]))

    def meets(self, kind, *options):
        """AND of lists of alternatives (each an OR)."""
        result = [ANY_ALTERNATIVE.get(kind, True)]
        for option in options:
            result = [m for a, b in product(result, option) for m in [self.meet(kind, a, b)] if self.possible(kind, m)]
        return result

    def possible(self, kind, a):
        if kind == "string":
            return bool(a[0].live[0] or a[1])
        if kind == "array":
            return not a.least or self.nonempty(a.items)
        if kind == "object":
            return not a.require & a.forbid and all(self.nonempty(self.under(a, k)) for k in a.require)
        return True

    def nonempty(self, children):
        if (True, "never") in children:
            return False
        if children in self.active:
            return True                                     # recursive: settled by settle()
        value = self.value(children)
        return bool(value.scalars or value.constants or value.number or value.strings.live[0] or value.arrays or value.objects)

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
            words = [w for w in words if w not in ("patternProperties", "additionalProperties", "properties")] + ["properties"]
        options = [getattr(self, "_" + {"enum": "const", "properties": "fields", "not": "negation"}.get(w, w))(kind, pointer, node, sign)
                   for w in words]
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
        if any(not (v is None or isinstance(v, (bool, str))) for v in listed) or "enum" in node and "const" in node:
            raise Unsupported(f"{pointer}: enum or const of numbers, arrays or objects")
        if kind == "string":                                # each such string is a symbol, never text
            found = frozenset(v for v in listed if isinstance(v, str))
            return [(NONE, found)] if sign else [(ANY, self.constants - found)]
        return self._all(kind, {"null": None, "true": True, "false": False}.get(kind, self) in [v for v in listed if not isinstance(v, str)], sign)

    def _pattern(self, kind, pointer, node, sign):
        return self._strings(kind, automaton.from_regex(node["pattern"]), sign)

    def _minLength(self, kind, pointer, node, sign):
        return self._strings(kind, automaton.min_length(node["minLength"]), sign)

    def _strings(self, kind, dfa, sign):
        if kind != "string":
            return self._all(kind, True, sign)
        dfa = dfa if sign else negate(dfa)
        return [(dfa, frozenset(c for c in self.constants if dfa.accepts(c)))]

    def _items(self, kind, pointer, node, sign):
        if not isinstance(node["items"], (dict, bool)):
            raise Unsupported(f"{pointer}: items as a list")
        items = self.children(pointer + "/items")
        if kind != "array" or not items:
            return self._all(kind, True, sign)
        if not sign:
            raise Unsupported(f"{pointer}: the negation of items is needed")
        return [Array(items, 0)]

    def _minItems(self, kind, pointer, node, sign):
        if kind != "array":
            return self._all(kind, True, sign)
        if not sign:
            raise Unsupported(f"{pointer}: the negation of minItems is needed")
        return [Array(EMPTY, node["minItems"])]

    def _minProperties(self, kind, pointer, node, sign):
        if kind != "object":
            return self._all(kind, True, sign)
        if not sign:
            raise Unsupported(f"{pointer}: the negation of minProperties is needed")
        return [ANY_ALTERNATIVE["object"]._replace(least=node["minProperties"])]

    def _required(self, kind, pointer, node, sign):
        if kind != "object":
            return self._all(kind, True, sign)
        top = ANY_ALTERNATIVE["object"]
        return [top._replace(require=frozenset(node["required"]))] if sign else [top._replace(forbid=frozenset([k])) for k in node["required"]]

    def _dependencies(self, kind, pointer, node, sign):
        if kind != "object":
            return self._all(kind, True, sign)
        top, options = ANY_ALTERNATIVE["object"], []
        for key, needs in node["dependencies"].items():
            if not isinstance(needs, list):
                raise Unsupported(f"{pointer}: a schema in dependencies")
            options.append([top._replace(forbid=frozenset([key])), top._replace(require=frozenset(needs))] if sign else
                           [top._replace(require=frozenset([key]), forbid=frozenset([n])) for n in needs])
        return self.meets(kind, *options) if sign else [a for option in options for a in option]

    def _fields(self, kind, pointer, node, sign):
        if kind != "object":
            return self._all(kind, True, sign)
        patterns = {p: automaton.from_regex(p) for p in node.get("patternProperties", {})}
        under = {p: self.children(f"{pointer}/patternProperties/{p.replace('~', '~0').replace('/', '~1')}") for p in patterns}
        names = {k: self.children(f"{pointer}/properties/{k.replace('~', '~0').replace('/', '~1')}") for k in node.get("properties", {})}
        if not names.keys() <= KEY.keys():
            raise Unsupported(f"{pointer}: a property without a symbol: {sorted(names.keys() - KEY.keys())}")
        extra = self.children(pointer + "/additionalProperties") if "additionalProperties" in node else EMPTY
        if not sign:
            if any(under.values()) or extra:
                raise Unsupported(f"{pointer}: the negation of additionalProperties or patternProperties is needed")
            top = ANY_ALTERNATIVE["object"]
            return [top._replace(fields={k: frozenset([(False, p)])}, require=frozenset([k]))
                    for k, children in names.items() for _, p in children]
        fields = {k: children.union(*(under[p] for p, dfa in patterns.items() if dfa.accepts(k))) for k, children in names.items()}
        rest = [(ANY, EMPTY, False)]
        for p, dfa in patterns.items():                     # every other key: the patterns that it matches, or else `extra`
            rest = [(d, c, m) for da, ca, ma in rest for d, c, m in ((both(da, dfa), ca | under[p], True), (both(da, negate(dfa)), ca, ma)) if d.live[0]]
        return [Object(fields, tuple((d, c if matched else extra) for d, c, matched in rest), 0, EMPTY, EMPTY)]

    def _allOf(self, kind, pointer, node, sign):
        options = [self.alternatives(kind, f"{pointer}/allOf/{i}", sign) for i in range(len(node["allOf"]))]
        return self.meets(kind, *options) if sign else [a for option in options for a in option]

    def _anyOf(self, kind, pointer, node, sign):
        options = [self.alternatives(kind, f"{pointer}/anyOf/{i}", sign) for i in range(len(node["anyOf"]))]
        return [a for option in options for a in option] if sign else self.meets(kind, *options)

    def _oneOf(self, kind, pointer, node, sign):
        branches = [f"{pointer}/oneOf/{i}" for i in range(len(node["oneOf"]))]
        options = [self.alternatives(kind, b, True) for b in branches]
        result = []
        if not sign:                                        # none of them, or two
            result = self.meets(kind, *(self.alternatives(kind, b, False) for b in branches))
            return result + [a for i in range(len(options)) for j in range(i) for a in self.meets(kind, options[i], options[j])]
        for i, own in enumerate(options):                   # this one and no other
            for j, b in enumerate(branches):
                if i != j and own:
                    own = [x for a in own for x in ([a] if not self.meets(kind, [a], options[j]) else
                                                    self.meets(kind, [a], self.alternatives(kind, b, False)))]
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
        found = {kind: self.meets(kind, *(self.alternatives(kind, p, sign) for sign, p in sorted(children))) for kind in KINDS}
        self.active.discard(children)
        value.scalars = [s for s, kind in ((NULL, "null"), (TRUE, "true"), (FALSE, "false")) if found[kind]]
        value.number = bool(found["number"])
        for dfa, constants in found["string"]:
            value.strings = either(value.strings, dfa)
            value.constants |= frozenset(CONSTANT[c] for c in constants)
        for a in dict.fromkeys(found["array"]):
            value.arrays.append(ArrayType(self.value(a.items), a.least))
        groups = {}                                         # alternatives that differ in required and forbidden keys alone
        for o in found["object"]:
            fields = tuple(sorted((k, c) for k, c in o.fields.items()))
            groups.setdefault((fields, o.rest, o.least), {})[o.require, o.forbid] = None
        value.strings = self.apart(value.strings, CONSTANT)
        for (fields, rest, least), clauses in groups.items():
            rest = [(self.apart(dfa, KEY), c) for dfa, c in rest]
            if any(dfa.finite.any() and not dfa.finite[0] for dfa, _ in rest):
                raise Unsupported(f"{sorted(children)}: a pattern of keys that leaves just a few endings to some beginnings")
            clauses = [c for c in clauses if not any(c != d and d[0] <= c[0] and d[1] <= c[1] for d in clauses)]
            value.objects.append(ObjectType({k: self.value(c) for k, c in fields}, [(dfa, self.value(c)) for dfa, c in rest], least, clauses))
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
            options += [(2 + a.least * a.items.tokens, 1 + a.items.levels * bool(a.least)) for a in value.arrays]
            for o in value.objects:
                o.close.cache_clear()
                tokens, levels = o.close(EMPTY, 0)
                options.append((1 + tokens, 1 + levels))
            return min((int(t) for t, _ in options), default=FAR), min((int(n) for _, n in options), default=FAR)

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


# === 2. tokens ====================================================================================================================
# Every token is `openers* text closers*` (codec.PIECES), so all are taken apart once. Tokens with the same openers form a group, in which
# numpy handles all texts at once; the closers are few. A mask takes some hundred steps in Python, not 8191.
Group = namedtuple("Group", "plain empty bare ended constants keys")
# plain: ids of nothing but openers. empty: (ids, closers) without text. bare: (ids, texts) without closers. ended: (ids, texts, closers).
# constants, keys: (which of bare, which of ended) have the whole name of a constant or key as their text
Tables = namedtuple("Tables", "parts openers closers n_closers n_texts columns by_text deepest")
# parts: (openers, text, closers) of each id. openers, closers: tries {symbol: trie, None: Group or index}. columns: byte i of every text
# that has one, longest first. by_text: {(text, ends): ids without openers}. deepest: most closers in one token


@functools.cache
def tables():
    parts = []
    for token in codec.vocab().bytes:
        token = token.replace(ESC.encode(), b"\xee")                # no other symbol is followed by EF, and ESC always is (codec.py)
        pieces = re.fullmatch(rb"((?:\xee[\x80-\xbf]{2})*)((?:[^\xee]|\xee(?![\x80-\xbf]))*)((?:\xee[\x80-\xbf]{2})*)", token, re.S)
        before, text, behind = (pieces[1].decode(), pieces[2], pieces[3].decode())
        cut = next((i for i, s in enumerate(before) if s >= END), len(before)) if not behind and not text else len(before)
        before, behind = before[:cut], before[cut:] + behind
        assert all(s < END for s in before) and all(s >= END for s in behind), f"{token!r} is not openers, text, closers"
        parts.append((before, text, behind))
    texts = {t: i for i, t in enumerate(sorted({t for _, t, _ in parts}, key=lambda t: (-len(t), t)))}
    closers = {c: i for i, c in enumerate(dict.fromkeys(["", *(c for _, _, c in parts)]))}
    rows, by_text = {}, {}
    for token, (before, text, behind) in enumerate(parts):
        rows.setdefault(before, []).append((token, text, behind))
        if not before:
            by_text.setdefault((text, behind[:1] == END), []).append(token)

    def group(rows):
        def columns(rows, n):
            return [np.array([(i, texts[t], closers[c])[k] for i, t, c in rows], np.int64) for k in range(n)], [t for _, t, _ in rows]
        (plain,), _ = columns([r for r in rows if not r[1] and not r[2]], 1)
        (empty, _, behind), _ = columns([r for r in rows if not r[1] and r[2]], 3)
        bare, bare_texts = columns([r for r in rows if r[1] and not r[2]], 2)
        ended, ended_texts = columns([r for r in rows if r[1] and r[2]], 3)
        whole = [tuple(np.array([t in names for t in found], bool) for found in (bare_texts, ended_texts)) for names in (CONSTANT_WORDS, KEY_WORDS)]
        return Group(plain, (empty, behind), bare, ended, *whole)

    def trie(sequences):
        root = {}
        for sequence, leaf in sequences.items():
            node = root
            for symbol in sequence:
                node = node.setdefault(symbol, {})
            node[None] = leaf
        return root

    columns = [np.frombuffer(bytes(t[i] for t in texts if len(t) > i), np.uint8) for i in range(len(next(iter(texts))))]
    return Tables(parts, trie({p: group(r) for p, r in rows.items()}), trie(closers), len(closers), len(texts), columns, by_text,
                  max(c.count(CLOSE) for c in closers))


@functools.lru_cache(256)
def text_ends(dfa, state):
    """(n_texts,) state of dfa.bytes behind every text from `state`, -1 where no accepted text goes on so."""
    ends = np.full(tables().n_texts, state, np.int32)
    for column in tables().columns:
        here = ends[:len(column)]
        here[:] = np.where(here >= 0, dfa.bytes[here, column], -1)
    return ends


# === 3. threads ===================================================================================================================
class Frame:
    """An open object or array. Immutable: a new field or item makes a new one. used: keys that are symbols; texts: the other keys, as
    bytes; total: tokens that close it and all around it."""
    __slots__ = "type", "used", "texts", "count", "parent", "depth", "closable", "total", "levels", "tail"

    def __init__(self, type, parent, used=EMPTY, texts=EMPTY, count=0):
        self.type, self.parent, self.used, self.texts, self.count = type, parent, used, texts, count
        self.depth = parent.depth + 1 if parent else 1
        if isinstance(type, ArrayType):
            missing = max(0, type.least - count)
            tokens, self.levels = 1 + missing * type.items.tokens, type.items.levels * bool(missing)
            self.tail = type.items, min(count, type.least)          # all that closers can meet, besides closable and total
        else:
            tokens, self.levels = type.close(used & type.asked, min(count, type.least))
            self.tail = (type, used & type.asked, min(count, type.least)) if type.unnamed and b"" not in texts else None
        self.closable = tokens == 1
        self.total = tokens + (parent.total if parent else 0)

    def fits(self):
        """Can be completed at all: some clause is left, and nesting stays within what decode reads."""
        return self.total < FAR and self.depth + self.levels <= MAX_DEPTH

    def item(self):
        """This array with one item more; how many there are matters up to minItems only."""
        return self if self.count >= self.type.least else Frame(self.type, self.parent, count=self.count + 1)

    def field(self, name, text=None):
        """This object with one key more."""
        used = self.used if text is not None and name not in self.type.asked else self.used | {name}
        return Frame(self.type, self.parent, used, self.texts if text is None else self.texts | {text}, self.count + 1)


# One way of reading the tokens so far. mode BETWEEN: behind a finished field or item; VALUE: before a value, of type `value`; TEXT,
# DIGITS, NAME: inside a string, a number, a key that is text (`value` then is the type behind it); DONE. dfa, state: of that text;
# text: its bytes so far (None for a string that can no longer become a constant). `frame` counts the field or item as there.
Thread = namedtuple("Thread", "frame mode value dfa state text", defaults=(None, None, 0, b""))
BETWEEN, VALUE, TEXT, DIGITS, NAME, DONE = range(6)
CONSTANT_STARTS = {c[:i] for c in CONSTANT_WORDS for i in range(len(c) + 1)}


def start_value(frame, value, symbol):
    """Threads behind the first symbol of a value of that type."""
    if symbol in value.scalars or symbol in value.constants:
        return [Thread(frame, BETWEEN)]
    if symbol == NUMBER:
        return [Thread(frame, DIGITS, None, NUMBERS)] if value.number else []
    if symbol == OBJECT or symbol == ARRAY:
        opened = [Frame(t, frame) for t in (value.objects if symbol == OBJECT else value.arrays)]
        return [Thread(f, BETWEEN) for f in opened if f.fits()]
    return []


def step(thread, symbol):
    """Threads behind one symbol."""
    frame, mode = thread.frame, thread.mode
    if mode == VALUE and symbol != END:
        return start_value(frame, thread.value, symbol)
    if mode == BETWEEN:
        if symbol == CLOSE or symbol == EOD:
            if not frame.closable or (symbol == EOD) != (frame.parent is None):
                return []
            return [Thread(frame.parent, BETWEEN if symbol == CLOSE else DONE)]
        if isinstance(frame.type, ArrayType) and symbol != END:
            value = frame.type.items
            return start_value(frame.item(), value, symbol) if frame.depth + value.levels <= MAX_DEPTH else []
        if symbol in KEY_NAME:
            return field(frame, KEY_NAME[symbol])
    return [t for start in text_starts(thread) for t in end_text(start)] if symbol == END else []


def field(frame, name, value=None, text=None):
    """Threads behind a key."""
    value = value or frame.type.field(name)
    if not value or name in frame.used or frame.depth + value.levels > MAX_DEPTH:
        return []
    frame = frame.field(name, text)
    return [Thread(frame, VALUE, value)] if frame.fits() else []


def symbols(thread):
    """Symbols that step may take, and few others."""
    if thread.mode == BETWEEN:
        array = isinstance(thread.frame.type, ArrayType)
        return thread.frame.type.items.symbols | {CLOSE} if array else thread.frame.type.symbols
    return thread.value.symbols if thread.mode == VALUE else {END}


def text_starts(thread):
    """Threads inside a text, where a text may stand or go on."""
    frame, mode, value = thread.frame, thread.mode, thread.value
    if mode in (TEXT, DIGITS, NAME):
        return [thread]
    if mode == BETWEEN and not isinstance(frame.type, ArrayType):
        return [Thread(frame, NAME, v, dfa) for dfa, v in frame.type.rest if dfa.live[0] and frame.depth + v.levels <= MAX_DEPTH]
    if mode == BETWEEN:
        frame, value = frame.item(), frame.type.items
    return [Thread(frame, TEXT, None, value.strings)] if value and value.strings.live[0] else []


def run_text(thread, text):
    """Threads behind some bytes of text."""
    found = []
    for t in text_starts(thread):
        state = t.dfa.run_bytes(t.state, text)
        if state >= 0:
            whole = t.text + text if t.text is not None else None
            if t.mode == NAME and state % PHASES == 0 and t.dfa.finite[state // PHASES] and not any(
                    end_name(t, whole + w) for w in t.dfa.rest(state // PHASES)):
                continue                                            # every key that this can become is taken
            found.append(t._replace(state=state, text=whole if t.mode == NAME or whole in CONSTANT_STARTS else None))
    return found


def end_text(thread):
    """Threads behind the END of a text: none where it is not accepted, has a symbol of its own or repeats a key."""
    frame, mode, value, dfa, state, text = thread
    if state % PHASES or not dfa.accept[state // PHASES]:
        return []
    if mode == NAME:
        return end_name(thread, text)
    return [] if mode == TEXT and text in CONSTANT_WORDS else [Thread(frame, BETWEEN)]


def end_name(thread, text):
    """Threads behind a whole key spelt as text."""
    if text in KEY_WORDS or text in thread.frame.texts:
        return []
    return field(thread.frame, codec._unescape(text.replace(b"\xee", ESC.encode()).decode()), thread.value, text)


def tokens_to_end(thread):
    """Tokens that complete the workflow from here: the shortest way spelt in symbols and bytes, each of which is a token."""
    frame, mode, value, dfa, state, text = thread
    if mode == DONE:
        return 0
    if mode == BETWEEN or mode == VALUE:
        return frame.total + (value.tokens if value else 0)
    taken = text in CONSTANT_WORDS if mode == TEXT else mode == NAME and (text in KEY_WORDS or text in frame.texts)
    rest = dfa.detour[state // PHASES] if taken and not state % PHASES else dfa.bytes_to_end[state]
    return int(rest) + 1 + frame.total + (value.tokens if value else 0)


# === 4. masks =====================================================================================================================
def surroundings(frame):
    """-> (all that closers of one token can meet in this frame and around it, with costs from `base` on, base)."""
    chain = []
    for _ in range(tables().deepest + 1):
        chain.append((frame.closable, frame.total, frame.tail, frame.depth))
        base, frame = frame.total, frame.parent
        if frame is None:
            break
    return tuple((closable, total - base, tail, depth == 1) for closable, total, tail, depth in chain), base


_closing, CLOSING = OrderedDict(), 2048         # -> (n_closers,) costs


def remember(cache, limit, key, make):
    """cache[key], made if it is not there; the least recently used one leaves."""
    if key in cache:
        cache.move_to_end(key)
    else:
        cache[key] = make()
        if len(cache) > limit:
            cache.popitem(last=False)
    return cache[key]


def closing_costs(thread, ended):
    """(n_closers,) tokens_to_end behind every run of closers, FAR if refused. ended: the thread is behind the END that each begins with."""
    around, base = surroundings(thread.frame)

    def make():
        costs = np.full(tables().n_closers, FAR)

        def walk(threads, trie):
            if None in trie:
                costs[trie[None]] = min(map(tokens_to_end, threads)) - base
            for symbol in trie.keys() & frozenset().union(*map(symbols, threads)):
                behind = [t for thread in threads for t in step(thread, symbol)]
                if behind:
                    walk(behind, trie[symbol])

        walk([thread], tables().closers[END] if ended else tables().closers)
        return costs

    return remember(_closing, CLOSING, (ended, thread.mode, thread.value, around), make) + base


def add_group(costs, group, thread):
    """costs (8192,) of the ids in a group, from the thread behind their openers."""
    def lower(ids, values):
        costs[ids] = np.minimum(costs[ids], values)

    if len(group.plain):
        lower(group.plain, tokens_to_end(thread))
    if len(group.empty[0]):
        ended = thread.mode in (TEXT, DIGITS, NAME)
        for t in end_text(thread) if ended else [thread]:
            lower(group.empty[0], closing_costs(t, ended)[group.empty[1]])
    for t in text_starts(thread) if len(group.bare[0]) or len(group.ended[0]) else ():
        dfa, ends, names = t.dfa, text_ends(t.dfa, t.state), None
        if not t.text and t.mode != DIGITS:                         # a whole name is no text: longer by a detour, never ended
            names = group.keys if t.mode == NAME else group.constants if t.text is not None else None
        ids, texts = group.bare
        state = ends[texts]
        values = np.where(state >= 0, dfa.bytes_to_end[state] + (1 + t.frame.total + (t.value.tokens if t.value else 0)), FAR)
        if names:
            values[names[0]] += np.where(values[names[0]] < FAR, dfa.detour[state[names[0]] // PHASES], 0)
        if t.mode == NAME and dfa.finite[0]:                        # only a few keys are possible: some may be taken
            for i in np.flatnonzero(values < FAR):
                values[i] = min(map(tokens_to_end, run_text(t, tables().parts[ids[i]][1])), default=FAR)
        lower(ids, values)
        ids, texts, closers = group.ended
        state = ends[texts]
        accepted = (state >= 0) & (state % PHASES == 0) & dfa.accept[state // PHASES]
        if names:
            accepted &= ~names[1]
        if accepted.any():
            for behind in field(t.frame, "\0", t.value, b"\0") if t.mode == NAME else [Thread(t.frame, BETWEEN)]:
                lower(ids, np.where(accepted, closing_costs(behind, True)[closers], FAR))


_masks, MASKS = OrderedDict(), 512              # -> (8192,) costs; 32 KiB each


def thread_costs(thread):
    """(8192,) int32, and what to add to it: tokens_to_end behind each id, FAR or more for refused ids. Read-only.

    Cached by all that matters: the place, the keys used so far, and of the frames around it, as deep as one token can close, whether
    they may be closed and what they cost."""
    frame, mode, value, dfa, state, text = thread
    around, base = surroundings(frame)
    place = (frame.type, frame.used, min(frame.count, frame.type.least), frame.texts and frame.texts & frame.type.listed) if mode == BETWEEN else None

    def make():
        costs = np.full(VOCAB_SIZE, FAR)

        def walk(threads, trie):
            for t in threads if None in trie else ():
                add_group(costs, trie[None], t)
            for symbol in trie.keys() & frozenset().union(*map(symbols, threads)):
                behind = [n for t in threads for n in step(t, symbol)]
                if behind:
                    walk(behind, trie[symbol])

        if mode in (TEXT, DIGITS, NAME):        # with a text that is no name; what it really is comes below
            walk([thread._replace(text=None if mode == TEXT else b"\0")], {None: tables().openers[None]})
        else:
            walk([thread], tables().openers)
        return np.where(costs < FAR, costs - base, FAR).astype(np.int32)

    deep = max(0, frame.depth - MAX_DEPTH + 32)
    costs = remember(_masks, MASKS, (mode, value, dfa, state, place, around, deep), make)
    # what the text so far, or the keys of just this object, rule out besides
    taken = []
    if mode == TEXT and text:
        taken = [w[len(text):] for w in CONSTANT_WORDS if w.startswith(text)]
    elif mode == NAME:
        taken = [w[len(text):] for w in KEY_WORDS | frame.texts | frame.type.asked_texts if w.startswith(text)]
    elif mode == BETWEEN and not isinstance(frame.type, ArrayType):
        taken = frame.texts | frame.type.asked_texts
    if taken:
        costs = costs.copy()
        for word in taken:
            for token in tables().by_text.get((word, True), []) + tables().by_text.get((word, False), []):
                costs[token] = min((tokens_to_end(t) - base for t in advance([thread], token)), default=FAR)
        if mode == NAME and dfa.finite[0]:
            for token in np.flatnonzero(costs < FAR):
                costs[token] = min((tokens_to_end(t) - base for t in advance([thread], token)), default=FAR)
    return costs, base


def advance(threads, token):
    """Threads behind a token: openers, text, closers."""
    openers, text, closers = tables().parts[token]
    for symbol in openers:
        threads = [n for t in threads for n in step(t, symbol)]
    if text:
        threads = [n for t in threads for n in run_text(t, text)]
    for symbol in closers:
        threads = [n for t in threads for n in step(t, symbol)]
    return threads


class Matcher:
    """Where a workflow stands after some tokens, and what may follow. Names follow XGrammar's GrammarMatcher.

    `tokens_left`, where given, is how many tokens may still come, the next one included: then only those are allowed behind which the
    workflow can be completed within the rest, spelt in symbols and bytes if need be (a bound that min_tokens() gives and that a budget
    which starts at min_tokens() or more never breaks)."""

    def __init__(self, prefix=()):
        """At the start of a workflow, or behind the ids `prefix`. Raises DecodeError where no valid workflow begins so."""
        self.threads = [Thread(Frame(t, None), BETWEEN) for t in grammar().root.objects]
        for i, token in enumerate(prefix):
            if not self.accept_token(token):
                raise DecodeError(f"token {i}: no valid workflow goes on with {token!r} here")

    def accept_token(self, token, tokens_left=None):
        """Takes the token, or returns False and stays where it was."""
        if not 0 <= token < PAD:
            return False
        threads = advance(self.threads, token)
        if tokens_left is not None:
            threads = [t for t in threads if tokens_to_end(t) < tokens_left]
        if threads:
            self.threads = threads
        return bool(threads)

    def next_token_mask(self, out=None, tokens_left=None):
        """(8192,) bool array, or the row `out` filled: True for exactly the ids that accept_token would take."""
        out = np.zeros(VOCAB_SIZE, bool) if out is None else out
        out[:] = False
        for t in self.threads:
            if t.mode != DONE:
                costs, base = thread_costs(t)
                out |= costs < (FAR if tokens_left is None else max(0, min(FAR, tokens_left - base)))
        return out

    def is_terminated(self):
        """The workflow is complete: nothing may follow."""
        return self.threads[0].mode == DONE

    def min_tokens(self):
        """That many tokens are enough to complete the workflow; 0 when it is complete."""
        return min(map(tokens_to_end, self.threads))

    def fork(self):
        """An independent copy, at once: states are shared and never change."""
        copy = object.__new__(Matcher)
        copy.threads = self.threads
        return copy
