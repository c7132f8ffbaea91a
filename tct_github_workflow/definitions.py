"""GitHub's own definition of a workflow, as data: what each place of a document allows.

github-workflow.definitions.json is workflow-v1.0.min.json of the npm package
@actions/workflow-parser 0.3.61 (MIT, see LICENSE.actions), byte for byte: for a newer version,
replace the file. place("workflow-root-strict") is where a document starts; what its keys and items
may be hangs from it.
"""

import functools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .expression_parser import ExpressionError, parse

FILE = Path(__file__).parent / "github-workflow.definitions.json"
ROOT = "workflow-root-strict"

# In every expression: the least and most arguments (npm package @actions/expressions, funcs.js)
FUNCTIONS = {
    "case": (3, None),
    "contains": (2, 2),
    "endswith": (2, 2),
    "format": (1, 255),
    "fromjson": (1, 1),
    "join": (1, 2),
    "startswith": (2, 2),
    "tojson": (1, 1),
}
# What the definitions have already, and GitHub switches on for some repositories only
PREVIEW_MAPPINGS = frozenset(["wait-step", "wait-all-step", "cancel-step", "parallel-step"])
PREVIEW_KEYS = frozenset(["background"])
# Read as an expression as a whole, if there is no ${{ in it
CONDITIONS = frozenset(["job-if", "step-if"])
# An expression may stand here for the whole value, but not for one of its keys
PLAIN_KEYS = frozenset(
    ["job-concurrency", "job-environment", "runs-on", "services", "workflow-concurrency"]
)
# Here it may not stand for the whole value, although the definitions would let it
PLAIN_MAPPINGS = frozenset(["job-env", "services", "step-env"])


@dataclass(frozen=True, eq=False)
class Scope:
    """What expressions at a place may use."""

    contexts: frozenset
    functions: dict  # name -> (least, most) arguments, None: any number

    @functools.lru_cache(maxsize=1 << 14)  # noqa: B019 (scopes live as long as the module)
    def read(self, text):
        """(the Expression of a text or None, [(rule, message)]: what GitHub would refuse in it)."""
        try:
            expression = parse(text)
        except ExpressionError as e:
            return None, [("expression", str(e))]
        problems = []
        for name in expression.names:
            if name.context not in self.contexts:
                there = ", ".join(sorted(self.contexts)) or "none"
                problems.append(("context", f"no context {name.context} here (there is: {there})"))
        for call in expression.calls:
            if call.function not in self.functions:
                problems.append(("context", f"no function {call.function} here"))
            elif not self.takes(call):
                problems.append(
                    ("expression", f"{call.function} does not take {call.n_args} arguments")
                )
        return expression, problems

    def takes(self, call):
        """Whether the function can be called with so many arguments."""
        least, most = self.functions[call.function]
        if call.function == "case" and call.n_args % 2 == 0:
            return False
        return call.n_args >= least and (most is None or call.n_args <= most)


@functools.cache
def scope_of(contexts):
    """The Scope of a tuple such as ("github", "always(0,0)", "hashFiles(1,255)")."""
    names = set()
    functions = dict(FUNCTIONS)
    for context in contexts:
        call = re.fullmatch(r"(\w+)\((\d+),(\d+|MAX)\)", context)
        if call is None:
            names.add(context.lower())
        else:
            most = None if call[3] == "MAX" else int(call[3])
            functions[call[1].lower()] = (int(call[2]), most)
    return Scope(frozenset(names), functions)


@dataclass(eq=False)
class Place:
    """What GitHub allows at one place of a workflow."""

    name: str  # of the definition
    contexts: tuple
    types: set = field(default_factory=set)  # Python's types of the scalars it takes
    words: Optional[set] = None  # the only strings, if it takes no others
    may_be_empty: bool = False  # whether the empty string (or null) is one of the strings
    items: Optional["Place"] = None  # of a sequence, if it may be one
    # Of a mapping, if it may be one: what each key leads to, and which of the kinds of mapping
    # that the place allows (a step that runs, a step that uses) have that key, as bits
    properties: Optional[dict] = None  # key -> (Place, bits)
    required: list = field(default_factory=list)  # for each kind of mapping its required keys
    others: Optional["Place"] = None  # of keys besides properties, if there may be any
    may_have_empty_key: bool = False

    def __post_init__(self):
        self.scope = scope_of(self.contexts)
        self.allows_expressions = bool(self.contexts)
        self.is_condition = self.name in CONDITIONS
        self.has_plain_keys = self.name in PLAIN_KEYS
        self.is_plain_mapping = self.name in PLAIN_MAPPINGS

    @functools.cached_property
    def is_free_text(self):
        """Whether any text that is not empty may stand here, as it is."""
        return str in self.types and self.words is None and not self.is_condition

    def takes_text(self, text):
        if str not in self.types or (self.words is not None and text not in self.words):
            return False
        return bool(text) or self.may_be_empty

    @functools.cached_property
    def kinds(self):
        """The bits of all kinds of mapping that may stand here."""
        return (1 << len(self.required)) - 1

    @functools.cached_property
    def others_as_property(self):
        """What `properties` would have for each other key; Place None if there is none."""
        return (self.others, self.kinds)

    @functools.cached_property
    def needs_keys(self):
        """Whether a mapping here cannot do without some key."""
        return any(self.required)

    @functools.cache  # noqa: B019 (places live as long as the module)
    def of_computed_keys(self):
        """The Place of the value of a key that is an expression."""
        if self.others is not None and not self.properties:
            return self.others
        return place("any", self.contexts)

    def describe(self):
        """What a value may be, in words."""
        kinds = []
        if self.words is not None:
            kinds.append("one of " + ", ".join(sorted(self.words)))
        elif str in self.types:
            kinds.append("text" if self.may_be_empty else "text that is not empty")
        elif bool in self.types:
            kinds.append("true or false")
        elif int in self.types:
            kinds.append("a number")
        if self.items is not None:
            kinds.append("a list")
        if self.properties is not None:
            kinds.append("a mapping")
        return " or ".join(kinds) or "nothing"


@functools.cache
def definitions():
    """name -> definition, those built in included."""
    built_in = {name: {name: {}} for name in ("null", "boolean", "number", "string")}
    built_in["sequence"] = {"sequence": {"item-type": "any"}}
    built_in["mapping"] = {"mapping": {"loose-key-type": "string", "loose-value-type": "any"}}
    built_in["any"] = {"one-of": ["null", "boolean", "number", "string", "sequence", "mapping"]}
    return built_in | json.loads(FILE.read_bytes())["definitions"]


def place(name, inherited=()):
    """The Place of a definition where expressions may use the inherited contexts and its own."""
    own = definitions()[name].get("context", [])
    return place_in(name, tuple(dict.fromkeys([*inherited, *own])))


PLACES = {}  # (name, contexts) -> Place; definitions refer to one another, in circles too


def place_in(name, contexts):
    key = (name, contexts)
    if key not in PLACES:
        PLACES[key] = Place(name, contexts)
        for alternative in alternatives(name):
            add_alternative(PLACES[key], alternative)
    return PLACES[key]


def alternatives(name):
    """The definitions that a definition stands for, each of a single kind."""
    definition = definitions()[name]
    if "one-of" not in definition:
        return [definition]
    found = []
    for other in definition["one-of"]:
        if other not in PREVIEW_MAPPINGS:
            found += alternatives(other)
    return found


def add_alternative(at, definition):
    """Lets a place be what the definition, of a single kind, describes."""
    if "null" in definition:
        at.types.add(type(None))
    elif "boolean" in definition:
        at.types.add(bool)
    elif "number" in definition:
        at.types.update((int, float))
    elif "string" in definition:
        add_string(at, definition["string"])
    elif "allowed-values" in definition:
        at.types.add(str)
        at.words = (at.words or set()) | set(definition["allowed-values"])
    elif "sequence" in definition:
        at.items = place(definition["sequence"]["item-type"], at.contexts)
    else:
        add_mapping(at, definition["mapping"])


def add_string(at, string):
    at.types.add(str)
    if string.get("constant"):
        at.words = (at.words or set()) | {string["constant"]}
        return
    # Other scalars are taken as the strings that YAML has for them; null is the empty one.
    at.types.update((bool, int, float))
    if not string.get("require-non-empty"):
        at.may_be_empty = True
        at.types.add(type(None))


def add_mapping(at, mapping):
    bit = 1 << len(at.required)
    at.properties = at.properties or {}
    required = []
    for key, definition in mapping.get("properties", {}).items():
        if isinstance(definition, str):
            definition = {"type": definition}
        if definition.get("required"):
            required.append(key)
        if key not in PREVIEW_KEYS:
            _, bits = at.properties.get(key, (None, 0))
            at.properties[key] = (place(definition["type"], at.contexts), bits | bit)
    at.required.append(required)
    if "loose-key-type" in mapping:
        at.others = place(mapping["loose-value-type"], at.contexts)
        keys = definitions()[mapping["loose-key-type"]]
        at.may_have_empty_key = not keys["string"].get("require-non-empty")
