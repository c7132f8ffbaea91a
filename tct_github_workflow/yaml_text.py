r"""YAML -> JSON text, with YAML read as GitHub reads it: the core schema of YAML 1.2.

    yaml_to_json("on: push\n")      ->  '{"on":"push"}'         (PyYAML alone: {True: "push"})

PyYAML's parser (libyaml, in C, where it is installed) finds the structure; the JSON text is written
as its events arrive: no object is built, and neither nesting nor aliases can blow up. Beyond the
core schema we do as GitHub's own reader does (actions/runner, src/Sdk/WorkflowParser,
YamlObjectReader.cs and TemplateReader.cs):
  - keys of any scalar type become strings as it prints them: `true:` is "true" (not `on`), `3.10:`
    is "3.1", `~:` is "";
  - an alias stands for the latest definition of its anchor; duplicate keys, `<<` and tags of other
    schemas are refused;
  - its limits hold, except that documents may be nested deeper than its 50 levels.
YAML 1.1 is left in the parser (GitHub's, YamlDotNet, descends from libyaml too): NEL, LS and PS
break lines, `[?x]` holds a mapping, `{a:}` and a tab after a `-` or alone on a line are errors; so
is any tab between tokens where libyaml is missing.
"""

import codecs
import json
import re
from dataclasses import dataclass
from json.encoder import encode_basestring as quote  # str -> JSON text, not ASCII only; in C

import yaml

from .errors import EncodeError

MAX_SOURCE = 1 << 20  # characters of YAML; GitHub's MaxFileSize
MAX_ADDED = 10 << 20  # characters of JSON that aliases may add; after GitHub's MaxResultSize
MAX_EVENTS = 50_000  # parser events, those that aliases repeat included; GitHub's c_maxYamlNodes
MAX_LEVELS = 500  # nested collections; libyaml itself stops at some 1,000, a workflow at 256
# characters of a number; Python converts 4,300 decimal digits, and hex ones grow by a fifth
MAX_NUMBER = 3_500
MAX_TAG_DIRECTIVES = 100  # libyaml compares each with all before it: 7 s for 1 MiB of them

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The core schema, https://yaml.org/spec/1.2.2/#1032-tag-resolution:
# plain scalar -> (kind, JSON text)
PLAIN_CONSTANTS = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], ("null", "null")),
    **dict.fromkeys(["true", "True", "TRUE"], ("bool", "true")),
    **dict.fromkeys(["false", "False", "FALSE"], ("bool", "false")),
}
PLAIN_NUMBER = re.compile(
    r"(?P<int>[-+]?[0-9]+)|0o(?P<oct>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<special>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
NUMBER_BEGINS = frozenset("0123456789+-.")
BASES = {"int": 10, "oct": 8, "hex": 16}
TAG = "tag:yaml.org,2002:"  # which `!!` stands for
STRING_TAG = TAG + "str"
# not allowed in YAML files
UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def is_string(text):
    """Whether a plain scalar is a string: resolve_plain(text)[0] == "str", sooner."""
    if text in PLAIN_CONSTANTS:
        return False
    return text[0] not in NUMBER_BEGINS or not PLAIN_NUMBER.fullmatch(text)


def resolve_plain(text):
    """(kind, JSON text) of a plain scalar; for a number that JSON cannot hold the latter is ""."""
    if text in PLAIN_CONSTANTS:
        return PLAIN_CONSTANTS[text]
    match = text[0] in NUMBER_BEGINS and PLAIN_NUMBER.fullmatch(text)
    if not match:
        return "str", quote(text)
    form = match.lastgroup
    if form == "special" or len(text) > MAX_NUMBER:
        return "float", ""
    if form == "float":
        number = float(text)
        return "float", repr(number) if number - number == 0 else ""
    return "int", str(int(match[form], BASES[form]))


def shorten(text):
    return repr(text if len(text) <= 60 else text[:57] + "...")


def error_at(where, problem):
    """EncodeError, counted by the problem without what stands in parentheses after it."""
    return EncodeError(problem, where, kind="YAML: " + problem.split(" (")[0])


def fail(mark, problem):
    raise error_at(f"line {mark.line + 1}, column {mark.column + 1}", problem)


def decode_bytes(data, cut=False):
    """The text of a file's bytes in UTF-8, or UTF-16 with a BOM.

    cut: half a character at the end is left out. Raises EncodeError, naming the line.
    """
    has_bom = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "UTF-16" if has_bom else "UTF-8"
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, final=not cut)
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        where = f"line {line}, byte offset {e.start}"
        raise error_at(where, f"this is not {encoding} ({e.reason})") from None


def yaml_to_json(source):
    """Minified JSON text, keys in order, of the one YAML document in source.

    source: str, or bytes in UTF-8 or UTF-16 with a BOM. Raises EncodeError, naming line and column,
    for what GitHub would not read or JSON cannot hold.
    """
    if isinstance(source, bytes) and len(source) <= 4 * MAX_SOURCE:
        source = decode_bytes(source)
    if len(source) > MAX_SOURCE:
        raise EncodeError(f"YAML of size {len(source):,}; the limit is {MAX_SOURCE:,} characters")
    if source.count("%TAG") > MAX_TAG_DIRECTIVES:
        raise EncodeError(f"more than {MAX_TAG_DIRECTIVES} %TAG directives")
    try:
        json_text = json_of(LOADER(source))
        # fails on lone surrogates, which escapes can make where libyaml is missing
        json_text.encode()
        return json_text
    except EncodeError:
        raise
    except yaml.MarkedYAMLError as e:
        problem = e.problem
        if e.context_mark:
            problem += f" ({e.context}, line {e.context_mark.line + 1})"
        fail(e.problem_mark, problem)
    except (yaml.YAMLError, ValueError, OverflowError) as e:  # a character that YAML does not allow
        raise error_of_character(source, e) from None


def error_of_character(source, error):
    """EncodeError for the first character of the source that YAML does not allow."""
    bad = UNPRINTABLE.search(source)
    if bad is None:
        return EncodeError(f"a character out of range: {error}")
    lines = source[: bad.start()].split("\n")
    where = f"line {len(lines)}, column {len(lines[-1]) + 1}"
    return error_at(where, f"character U+{ord(bad[0]):04X} is not allowed in YAML")


def json_of(loader):
    """The JSON text of the loader's document."""
    writer = JsonWriter()
    handler_of = HANDLERS.get
    for event in iter(loader.get_event, None):
        writer.n_events += 1
        if writer.n_events > MAX_EVENTS:
            fail(event.start_mark, f"more than {MAX_EVENTS:,} parser events, aliases expanded")
        handle = handler_of(type(event))
        if handle:
            handle(writer, event)
    if not writer.out:
        raise error_at("line 1, column 1", "there is no YAML document, only comments or nothing")
    return "".join(writer.out)


@dataclass(slots=True)
class Collection:
    """A mapping or sequence that is still open; also the document around all of them."""

    keys: dict | None = None  # of a mapping: key -> the mark where it stands
    anchor: str | None = None
    start: int = 0  # where its JSON begins in the writer's `out`
    first_event: int = 0  # the number of its first event
    height: int = 0  # levels inside it, so far
    key_is_next: bool = False
    separator: str = ""  # what goes before the next key or item


@dataclass(slots=True)
class Anchored:
    """What an alias stands for."""

    json_text: str | None  # None: not joined yet
    height: int = 0  # levels
    n_events: int = 1
    start: int = 0  # where it stands in the writer's `out`
    end: int = 0


class JsonWriter:
    """Writes JSON as the events of a YAML parser arrive."""

    def __init__(self):
        self.out = []  # strings, to be joined
        self.stack = [Collection()]  # the document, then the open collections, innermost last
        self.anchors = {}  # name -> Anchored, or Collection while it is open
        self.n_events = 0
        self.n_added = 0  # characters, by aliases

    def start_document(self, event):
        if self.out:
            fail(event.start_mark, "a second document starts here; a workflow is one document")

    def start_mapping(self, event):
        self.start_collection(event, TAG + "map", "{", {})

    def start_sequence(self, event):
        self.start_collection(event, TAG + "seq", "[", None)

    def start_collection(self, event, tag, bracket, keys):
        if event.tag not in (None, tag):
            fail(event.start_mark, f"the tag {shorten(event.tag)} is not supported here")
        outer = self.stack[-1]
        if outer.key_is_next:
            fail(event.start_mark, "a mapping or sequence cannot be a key")
        if len(self.stack) > MAX_LEVELS:
            fail(event.start_mark, f"nested deeper than {MAX_LEVELS:,} levels")
        self.out.append(outer.separator)
        collection = Collection(keys, event.anchor, len(self.out), self.n_events)
        collection.key_is_next = keys is not None
        self.stack.append(collection)
        if event.anchor:
            self.anchors[event.anchor] = collection
        self.out.append(bracket)

    def end_collection(self, event):
        closed = self.stack.pop()
        self.out.append("]" if closed.keys is None else "}")
        height = closed.height + 1
        # else it has none, or it was defined anew inside
        if self.anchors.get(closed.anchor) is closed:
            n_events = self.n_events - closed.first_event + 1
            self.anchors[closed.anchor] = Anchored(
                None, height, n_events, closed.start, len(self.out)
            )
        outer = self.stack[-1]
        if height > outer.height:
            outer.height = height
        outer.key_is_next = outer.keys is not None
        outer.separator = ","

    def scalar(self, event):
        text = event.value
        tag = event.tag
        if event.style or tag == STRING_TAG:
            kind = "str"
            json_text = quote(text)
        else:
            kind, json_text = resolve_plain(text)
        if tag:
            check_tag(event, kind)
        if not json_text:
            fail(event.start_mark, f"{shorten(text)} is not a number that JSON can hold")
        if event.anchor:
            self.anchors[event.anchor] = Anchored(json_text)
        collection = self.stack[-1]
        if not collection.key_is_next:
            self.out.append(collection.separator + json_text)
            collection.separator = ","
            collection.key_is_next = collection.keys is not None
            return
        if text == "<<" and not event.style:
            fail(event.start_mark, "GitHub does not support merge keys (<<)")
        if kind != "str":
            text = key_text(json_text, event.start_mark)
            json_text = quote(text)
        self.write_key(collection, text, json_text, event.start_mark)

    def alias(self, event):
        anchored = self.anchors.get(event.anchor)
        if not isinstance(anchored, Anchored):
            place = "inside" if anchored else "before"
            fail(event.start_mark, f"the alias *{event.anchor} stands {place} its anchor")
        if anchored.json_text is None:
            anchored.json_text = "".join(self.out[anchored.start : anchored.end])
        self.n_events += anchored.n_events - 1
        self.n_added += len(anchored.json_text)
        collection = self.stack[-1]
        collection.height = max(collection.height, anchored.height)
        is_too_deep = len(self.stack) - 1 + anchored.height > MAX_LEVELS
        if self.n_added > MAX_ADDED or is_too_deep:
            fail(
                event.start_mark,
                f"aliases expand to more than {MAX_ADDED:,} characters or {MAX_LEVELS:,} levels",
            )
        if collection.key_is_next:
            key = key_text(anchored.json_text, event.start_mark)
            self.write_key(collection, key, quote(key), event.start_mark)
        else:
            self.write_value(collection, anchored.json_text)

    def write_value(self, collection, json_text):
        self.out.append(collection.separator + json_text)
        collection.separator = ","
        if collection.keys is not None:
            collection.key_is_next = True

    def write_key(self, collection, key, json_text, mark):
        if key in collection.keys:
            line = collection.keys[key].line + 1
            fail(mark, f"duplicate key {shorten(key)} (first on line {line})")
        self.out.append(f"{collection.separator}{json_text}:")
        collection.keys[key] = mark
        collection.key_is_next = False
        collection.separator = ""


HANDLERS = {
    yaml.DocumentStartEvent: JsonWriter.start_document,
    yaml.MappingStartEvent: JsonWriter.start_mapping,
    yaml.SequenceStartEvent: JsonWriter.start_sequence,
    yaml.MappingEndEvent: JsonWriter.end_collection,
    yaml.SequenceEndEvent: JsonWriter.end_collection,
    yaml.ScalarEvent: JsonWriter.scalar,
    yaml.AliasEvent: JsonWriter.alias,
}


def check_tag(event, kind):
    """Raises EncodeError for a scalar's tag that is not its own kind's; an int may be a float."""
    allowed = [TAG + kind]
    if kind == "int":
        allowed.append(TAG + "float")
    if event.tag not in allowed:
        tag = shorten(event.tag)
        text = shorten(event.value)
        fail(event.start_mark, f"the tag {tag} is not supported, or not for {text}")


def key_text(json_text, mark):
    """A key that is no string, as GitHub prints it: null as "", 3.10 as "3.1"."""
    if json_text[0] in "{[":
        fail(mark, "a mapping or sequence cannot be a key")
    value = json.loads(json_text)
    if isinstance(value, str):  # by an alias
        return value
    if isinstance(value, bool):
        return json_text
    return "" if value is None else f"{float(json_text):.15G}"
