"""The JSON schema -> the grammar that the matcher walks.

Each keyword has a method that gives, for one kind of JSON, the alternatives which it leaves; a
schema is the AND of its keywords. A keyword that is not known here is an error, never ignored.
"""

import functools
from dataclasses import replace

from . import automaton
from .alphabet import CONSTANT, FALSE, KEY, NULL, TRUE
from .alternatives import (
    EMPTY,
    KINDS,
    NEVER,
    Array,
    Object,
    OtherKeys,
    Strings,
    anything,
    meet,
    union,
)
from .automaton import ANY, NONE, both, either, negate
from .cron import cron_lines
from .equal_values import merge_equal
from .grammar import ArrayType, Clause, ObjectType, Value, join_alternatives
from .grammar import OtherKeys as GrammarKeys
from .routes import JOBS, add_routes
from .rules import expression_text, schema_of

ANNOTATIONS = {  # keywords that say nothing about what is valid
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
FIELD_KEYWORDS = ("properties", "patternProperties", "additionalProperties", "exprKeys")
OPENING = automaton.from_regex(r"\$\{\{")  # of an expression


class Unsupported(ValueError):
    """The schema uses something that this compiler does not know: nothing is ever ignored."""


def _escape(key):
    """A key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


class Compiler:
    """schema (a dict) -> the Value of a whole document, in `root`.

    In the methods of keywords, `kind` is one of KINDS; `pointer` and `node` are the place of the
    schema and what stands there; `sign` is False where its negation is wanted.
    """

    def __init__(self, schema, ignore_case=False):
        """ignore_case: keys of an object differ by more than case."""
        self.schema = schema
        self.nodes = {}  # pointer -> subschema
        self.known = {}  # what alternatives() returned
        self.fold = str.upper if ignore_case else str
        self.values = {}  # conjunction -> Value
        self.active = set()  # conjunctions that are being compiled
        # the keyword census: what counts, and what draft 7 makes void, by pointer
        self.enforced = set()
        self.beside_ref = {}
        self.constants = frozenset(CONSTANT)
        whole = frozenset([(True, self.follow("#"))])
        self.root = self.value(whole)
        self.settle()
        add_routes(self.root)

    # --- pointers ---------------------------------------------------------------------------------
    def at(self, pointer):
        """The subschema at a JSON pointer."""
        if pointer not in self.nodes:
            self.nodes[pointer] = self.find(pointer)
        return self.nodes[pointer]

    def find(self, pointer):
        node = self.schema
        for part in pointer.split("/")[1:]:
            if isinstance(node, list):
                node = node[int(part)]
            else:
                key = part.replace("~1", "/").replace("~0", "~")
                node = node[key]
        return node

    def follow(self, pointer):
        """Where a chain of $ref ends. In draft 7 keywords beside a $ref do not count."""
        while True:
            node = self.at(pointer)
            if not isinstance(node, dict) or "$ref" not in node:
                return pointer
            if not node["$ref"].startswith("#"):
                raise Unsupported(f"{pointer}: $ref to another file: {node['$ref']}")
            void = sorted(set(node) - ANNOTATIONS - {"$ref"})
            if void:
                self.beside_ref[pointer] = void
            pointer = node["$ref"]

    def children(self, pointer):
        """A subschema as a conjunction; `true` asks nothing."""
        pointer = self.follow(pointer)
        if self.at(pointer) in (True, {}):
            return EMPTY
        return frozenset([(True, pointer)])

    def branches(self, pointer, word):
        """Pointers to the schemas that a keyword lists."""
        n_branches = len(self.at(pointer)[word])
        return [f"{pointer}/{word}/{i}" for i in range(n_branches)]

    # --- a schema -> alternatives -----------------------------------------------------------------
    def meets(self, kind, options):
        """AND of lists of alternatives."""
        return meet(options, kind, self.nonempty)

    def nonempty(self, children):
        """Whether some value can meet a conjunction."""
        if NEVER in children:
            return False
        if children in self.active:
            return True  # recursive: settled by settle()
        return self.value(children).can_be()

    def alternatives(self, kind, pointer, sign):
        """What a schema (or, sign False, its negation) leaves of one kind: a list, an OR."""
        key = (kind, pointer, sign)
        if key not in self.known:
            target = self.follow(pointer)
            self.known[key] = self.read(kind, target, sign)
        return self.known[key]

    def read(self, kind, pointer, sign):
        node = self.at(pointer)
        if isinstance(node, bool):
            return self.all_or_none(kind, node == sign)
        options = []
        for word in self.keywords(pointer, node):
            applies_to, method = KEYWORDS[word]
            if applies_to in (kind, "every kind"):
                options.append(method(self, kind, pointer, node, sign))
            else:  # it allows all values of this kind
                options.append(self.all_or_none(kind, sign))
        return self.meets(kind, options) if sign else union(options)

    def keywords(self, pointer, node):
        """The keywords of a schema that count; those on fields are read together, as one."""
        words = [word for word in node if word not in ANNOTATIONS]
        for word in words:
            if word not in KEYWORDS:
                raise Unsupported(f"{pointer}: the keyword {word!r} is not known to the matcher")
            self.enforced.add(word)
        if any(word in FIELD_KEYWORDS for word in words):
            words = [word for word in words if word not in FIELD_KEYWORDS]
            words.append("properties")
        return words

    def all_or_none(self, kind, holds):
        return anything(kind) if holds else []

    # --- keywords for every kind ------------------------------------------------------------------
    def type(self, kind, pointer, node, sign):
        wanted = node["type"]
        if not isinstance(wanted, list):
            wanted = [wanted]
        if "integer" in wanted:
            raise Unsupported(f"{pointer}: type integer")
        type_name = "boolean" if kind in ("true", "false") else kind
        return self.all_or_none(kind, (type_name in wanted) == sign)

    def const(self, kind, pointer, node, sign):
        return self.listed(kind, pointer, [node["const"]], sign)

    def enum(self, kind, pointer, node, sign):
        return self.listed(kind, pointer, node["enum"], sign)

    def listed(self, kind, pointer, listed, sign):
        """These values and no others."""
        literal_types = (bool, str, type(None))
        if not all(isinstance(value, literal_types) for value in listed):
            raise Unsupported(f"{pointer}: enum or const of numbers, arrays or objects")
        strings = frozenset(value for value in listed if isinstance(value, str))
        if kind == "string":  # each such string is a symbol, never text
            if sign:
                return [Strings(NONE, strings)]
            return [Strings(ANY, self.constants - strings)]
        literals = {"null": None, "true": True, "false": False}
        others = [value for value in listed if not isinstance(value, str)]
        is_listed = kind in literals and literals[kind] in others
        return self.all_or_none(kind, is_listed == sign)

    def all_of(self, kind, pointer, node, sign):
        branches = self.branches(pointer, "allOf")
        options = [self.alternatives(kind, branch, sign) for branch in branches]
        return self.meets(kind, options) if sign else union(options)

    def any_of(self, kind, pointer, node, sign):
        branches = self.branches(pointer, "anyOf")
        options = [self.alternatives(kind, branch, sign) for branch in branches]
        return union(options) if sign else self.meets(kind, options)

    def one_of(self, kind, pointer, node, sign):
        branches = self.branches(pointer, "oneOf")
        options = [self.alternatives(kind, branch, True) for branch in branches]
        if not sign:
            return self.none_or_two(kind, branches, options)
        result = []
        for i, kept in enumerate(options):
            for j, branch in enumerate(branches):
                if i != j:
                    kept = self.outside(kind, kept, options[j], branch)
            result += kept
        return result

    def none_or_two(self, kind, branches, options):
        """What fits none of the branches, or two."""
        negated = [self.alternatives(kind, branch, False) for branch in branches]
        result = self.meets(kind, negated)
        for i, option in enumerate(options):
            for other in options[:i]:
                result += self.meets(kind, [option, other])
        return result

    def outside(self, kind, alternatives, other, branch):
        """These alternatives, less what the other branch allows too."""
        kept = []
        for alternative in alternatives:
            if self.meets(kind, [[alternative], other]):  # they overlap
                negated = self.alternatives(kind, branch, False)
                kept += self.meets(kind, [[alternative], negated])
            else:
                kept.append(alternative)
        return kept

    def negation(self, kind, pointer, node, sign):
        return self.alternatives(kind, pointer + "/not", not sign)

    def role(self, kind, pointer, node, sign):
        """Not of JSON Schema: rules of names.py apply to the keys of an object, or to a string."""
        self.refuse_negation(pointer, "role", sign)
        if kind == "object" and node["role"] == JOBS:
            return [Object(role=JOBS)]
        if kind == "string" and node["role"] != JOBS:
            return [Strings(role=node["role"])]
        return anything(kind)

    # --- keywords for strings ---------------------------------------------------------------------
    def pattern(self, kind, pointer, node, sign):
        dfa = automaton.from_regex(node["pattern"])
        return self.strings(dfa, sign)

    def min_length(self, kind, pointer, node, sign):
        dfa = automaton.min_length(node["minLength"])
        return self.strings(dfa, sign)

    def strings(self, dfa, sign):
        dfa = dfa if sign else negate(dfa)
        constants = frozenset(filter(dfa.accepts, self.constants))
        return [Strings(dfa, constants)]

    def expr(self, kind, pointer, node, sign):
        """A string with expressions; a constant is one where the text of it would be."""
        self.refuse_negation(pointer, "expr", sign)
        text = expression_text(**node["expr"])
        constants = frozenset(c for c in self.constants if text.accepts(c))
        return [Strings(ANY, constants, text)]

    def cron(self, kind, pointer, node, sign):
        return self.strings(cron_lines(), sign)

    # --- keywords for arrays ----------------------------------------------------------------------
    def items(self, kind, pointer, node, sign):
        if not isinstance(node["items"], (dict, bool)):
            raise Unsupported(f"{pointer}: items as a list")
        self.refuse_negation(pointer, "items", sign)
        return [Array(items=self.children(pointer + "/items"))]

    def min_items(self, kind, pointer, node, sign):
        self.refuse_negation(pointer, "minItems", sign)
        return [Array(least=node["minItems"])]

    def refuse_negation(self, pointer, words, sign):
        if not sign:
            raise Unsupported(f"{pointer}: the negation of {words} is needed")

    # --- keywords for objects ---------------------------------------------------------------------
    def min_properties(self, kind, pointer, node, sign):
        self.refuse_negation(pointer, "minProperties", sign)
        return [Object(least=node["minProperties"])]

    def required(self, kind, pointer, node, sign):
        keys = node["required"]
        if sign:
            return [Object(require=frozenset(keys))]
        return [Object(forbid=frozenset([key])) for key in keys]

    def dependencies(self, kind, pointer, node, sign):
        options = []
        for key, needed in node["dependencies"].items():
            if not isinstance(needed, list):
                raise Unsupported(f"{pointer}: a schema in dependencies")
            key = frozenset([key])
            if sign:
                without = Object(forbid=key)
                with_all = Object(require=frozenset(needed))
                options.append([without, with_all])
            else:
                with_key = Object(require=key)
                options.append([replace(with_key, forbid=frozenset([n])) for n in needed])
        return self.meets(kind, options) if sign else union(options)

    def fields(self, kind, pointer, node, sign):
        """properties, patternProperties and additionalProperties."""
        names = {}
        for key in node.get("properties", {}):
            if key not in KEY:
                raise Unsupported(f"{pointer}: a property without a symbol: {key!r}")
            names[key] = self.children(f"{pointer}/properties/{_escape(key)}")
        patterns = {}
        for pattern in node.get("patternProperties", {}):
            children = self.children(f"{pointer}/patternProperties/{_escape(pattern)}")
            patterns[pattern] = children
        extra = EMPTY
        if "additionalProperties" in node:
            extra = self.children(pointer + "/additionalProperties")
        if not sign:
            if any(patterns.values()) or extra:
                words = "additionalProperties or patternProperties"
                self.refuse_negation(pointer, words, sign)
            return self.some_field_differs(names)
        fields = []
        for key, children in names.items():
            asked = self.with_patterns(key, children, patterns)
            fields.append((key, asked))
        text = expression_text(**node["exprKeys"]) if "exprKeys" in node else None
        others = self.other_keys(patterns, extra, text)
        return [Object(tuple(fields), others)]

    def some_field_differs(self, names):
        """Objects in which one of these fields is there and is not as its schema says."""
        result = []
        for key, children in names.items():
            for _, pointer in children:
                differs = frozenset([(False, pointer)])
                fields = ((key, differs),)
                result.append(Object(fields, require=frozenset([key])))
        return result

    def with_patterns(self, key, children, patterns):
        """children, and what the patterns that match this key ask besides."""
        for pattern, asked in patterns.items():
            if automaton.from_regex(pattern).accepts(key):
                children = children | asked
        return children

    def other_keys(self, patterns, extra, text):
        """All keys in classes: by the patterns that they match, or else by `extra`.

        text: what those with an expression must match, or None.
        """
        parts = [OtherKeys(ANY, EMPTY)]
        if text:
            plain = OtherKeys(negate(OPENING), EMPTY)
            parts = [plain, OtherKeys(OPENING, EMPTY, expressions=text)]
        for pattern, asked in patterns.items():
            matching = automaton.from_regex(pattern)
            divided = []  # every class of keys so far, split by whether this pattern matches
            for part in parts:
                inside = both(part.names, matching)
                outside = both(part.names, negate(matching))
                children = part.children | asked
                divided.append(replace(part, names=inside, children=children, matched=True))
                divided.append(replace(part, names=outside))
            parts = [part for part in divided if part.names.live[0]]
        keys = []
        for part in parts:
            if not part.matched:
                part = replace(part, children=extra)
            keys.append(part)
        return tuple(keys)

    # --- a conjunction -> Value -------------------------------------------------------------------
    def value(self, children):
        """The Value of a conjunction, made once."""
        if children in self.values:
            return self.values[children]
        value = self.values[children] = Value()
        if NEVER in children:
            return value
        self.active.add(children)
        found = {}
        schemas = sorted(children)
        for kind in KINDS:
            options = [self.alternatives(kind, pointer, sign) for sign, pointer in schemas]
            found[kind] = self.meets(kind, options)
        self.active.discard(children)
        literals = {NULL: "null", TRUE: "true", FALSE: "false"}
        value.scalars = [symbol for symbol, kind in literals.items() if found[kind]]
        value.number = bool(found["number"])
        for strings in found["string"]:
            self.add_strings(value, strings)
        value.strings = apart(value.strings, CONSTANT)
        for array in dict.fromkeys(found["array"]):
            items = self.value(array.items)
            value.arrays.append(ArrayType(items, array.least))
        for group in clauses_by_rest(found["object"]).items():
            value.objects.append(self.object_type(*group, children))
        return value

    def add_strings(self, value, strings):
        """Allows these strings, too, in a Value."""
        value.constants |= frozenset(CONSTANT[c] for c in strings.constants)
        value.role = value.role or strings.role
        text = strings.expressions
        if text is None:
            value.strings = either(value.strings, strings.others)
        elif strings.others.live[0] and text not in value.expressions:
            if not text.implies(strings.others):
                raise Unsupported(f"expressions of the kind {text.kind!r} and a pattern besides")
            value.expressions.append(text)

    def object_type(self, obj, clauses, children):
        """The ObjectType of alternatives that differ in their clauses alone."""
        others = []
        for other in obj.others:
            names = apart(other.names, KEY)
            if names.finite.any() and not names.finite[0]:
                what = "a pattern of keys that leaves just a few endings to some beginnings"
                raise Unsupported(f"{sorted(children)}: {what}")
            if other.expressions and not other.expressions.implies(names):
                raise Unsupported(f"{sorted(children)}: a pattern of keys with expressions")
            value = self.value(other.children)
            others.append(GrammarKeys(names, value, other.expressions))
        needed = needed_clauses(clauses)
        fields = {key: self.value(asked) for key, asked in obj.fields}
        return ObjectType(fields, others, needed, self.fold, obj.role)

    def settle(self):
        """Shortest completions as a least fixed point; what has none cannot be: struck out."""
        values = list(self.values.values())
        changed = True
        while changed:
            changed = False
            for value in values:
                size = value.size()
                changed |= size != (value.tokens, value.levels)
                value.tokens, value.levels = size
        for value in values:
            for obj in value.objects:
                obj.strike_out_impossible()
            value.arrays = list(filter(ArrayType.can_end, value.arrays))
            value.objects = list(filter(ObjectType.can_end, value.objects))
        merged = merge_equal(values)
        self.values = {children: merged[value] for children, value in self.values.items()}
        self.root = merged[self.root]
        for value in set(self.values.values()):
            value.objects = join_alternatives(value.objects)


def clauses_by_rest(objects):
    """{Object without what a Clause says: [Clause]}: alternatives that differ in that alone."""
    groups = {}
    for obj in objects:
        fields = tuple(sorted(obj.fields))
        rest = replace(obj, fields=fields, require=EMPTY, forbid=EMPTY, least=0)
        clause = Clause(obj.require, obj.forbid, obj.least)
        clauses = groups.setdefault(rest, [])
        if clause not in clauses:
            clauses.append(clause)
    return groups


def needed_clauses(clauses):
    """Those clauses that imply no other one: these add nothing."""
    needed = []
    for clause in clauses:
        others = [other for other in clauses if other != clause]
        if not any(map(clause.implies, others)):
            needed.append(clause)
    return needed


def apart(dfa, names):
    """Text that is not one of `names`, which have symbols.

    Where text can always go on to something else, the matcher sees to that when a text ends; where
    only a few words are possible the automaton itself has to know.
    """
    if not dfa.finite.any():
        return dfa
    listed = automaton.words(frozenset(names))
    return both(dfa, negate(listed))


# keyword -> (the kind of JSON that it says something about, its method)
KEYWORDS = {
    "type": ("every kind", Compiler.type),
    "enum": ("every kind", Compiler.enum),
    "const": ("every kind", Compiler.const),
    "allOf": ("every kind", Compiler.all_of),
    "anyOf": ("every kind", Compiler.any_of),
    "oneOf": ("every kind", Compiler.one_of),
    "not": ("every kind", Compiler.negation),
    "pattern": ("string", Compiler.pattern),
    "minLength": ("string", Compiler.min_length),
    "expr": ("string", Compiler.expr),
    "cron": ("string", Compiler.cron),
    "role": ("every kind", Compiler.role),
    "items": ("array", Compiler.items),
    "minItems": ("array", Compiler.min_items),
    "minProperties": ("object", Compiler.min_properties),
    "required": ("object", Compiler.required),
    "dependencies": ("object", Compiler.dependencies),
    "properties": ("object", Compiler.fields),
    "patternProperties": ("object", Compiler.fields),
    "additionalProperties": ("object", Compiler.fields),
    "exprKeys": ("object", Compiler.fields),
}


@functools.cache
def grammar(rules="schema"):
    """The grammar of workflows under some rules (see rules.py)."""
    if rules == "references":
        return grammar("github")  # the same, but for what the matcher does with names
    return Compiler(schema_of(rules), ignore_case=rules != "schema")
