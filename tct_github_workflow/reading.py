"""The names that expressions use, found byte by byte while a text automaton reads them.

    ${{ steps.build.outcome }}   uses ("steps", "build")
    ${{ matrix['os'] }}          uses ("matrix", "os")
    ${{ matrix[github.job] }}    uses none that is known before it runs

and by the rules "clean", too

    ${{ needs.a.outputs.b }}     uses ("needs", "a") and ("outputs", ("a", "b"))
    ${{ needs.*.result }}        uses ("needs", "*")
    ${{ matrix.x.y }}            uses ("matrix", "x.Y") and ("members", ("x", "y"))

A *reading* is a name that is begun: its context and the bytes after the dot, or from the [ on.
Right after the dot there are none yet. After needs.x one follows whether an output is read.
"""

import functools
import re

from .automaton import FAR
from .clean_names import STAR
from .clean_syntax import ITS_OUTPUTS, NEEDED_JOB
from .expression_control import NAMED_CONTEXTS
from .known_names import INDEX, PATH, READ_OF, Reading, name_in_index
from .routes import MEMBERS
from .utf8 import DEAD

ANY_CONTEXT = "|".join(NAMED_CONTEXTS).encode()
MENTION = re.compile(rb"(?i:%s)[ \t\r\n]*[.\[]" % ANY_CONTEXT)
INDEX_BEGUN = re.compile(rb"\[[ \t\r\n]*(?:'(?:[^']|'')*(?:'[ \t\r\n]*)?)?")


@functools.lru_cache(1 << 14)
def follow_names(automaton, state, reading, text):
    """-> (state after some bytes or DEAD, names used as ((context, name), ...), reading)."""
    places = places_of(automaton.expressions.syntax)
    may_go_on = reading or state.control in places.looking
    if not may_go_on and not MENTION.search(text):
        return automaton.run(state, text), (), None
    used = []
    for i in range(len(text)):
        before = state.control
        byte = text[i : i + 1]
        state = automaton.expressions.step(state, text[i])
        if state is None:
            return DEAD, (), None
        if reading:
            reading, name = read_on(reading, byte, state.control, places)
            if name:
                used.append(name)
        elif state.control in places.dots:
            reading = Reading(places.dots[state.control], b"")
        elif byte == b"[" and before in places.accessed:
            reading = Reading(places.accessed[before], b"[")
    if automaton.expressions.bytes_to_end(state) >= FAR:
        return DEAD, (), None
    return state, tuple(used), reading


def read_on(reading, byte, control, places):
    """-> (the reading after a byte or None, the name that has ended with it or None)."""
    context, begun, of = reading
    longer = reading._replace(begun=begun + byte)
    if context == PATH:
        return follow_path(of, control, places), None
    if begun.startswith(b"["):
        return read_index(longer)
    if places.properties.get(control) == context:
        return longer, None
    if begun:
        [used] = end_of_reading(reading)
        if places.dots.get(control) == "members":
            return Reading("members", b"", used[1]), (context, used[1] + MEMBERS)
        after = follow_path(used[1], control, places) if context == "needs" else None
        return after, used
    if control in places.dots:  # a blank
        return reading, None
    is_star = byte == b"*" and places.is_clean
    return None, (context, STAR) if is_star else None


def read_index(reading):
    """read_on() in an index, after a byte."""
    context, begun, _ = reading
    if INDEX_BEGUN.fullmatch(begun):
        return reading, None
    is_name = begun.endswith(b"]") and INDEX.fullmatch(begun)
    return None, (context, name_in_index(begun)) if is_name else None


def follow_path(job, control, places):
    """The reading at a control after needs.x, if an output of the job x may be read there."""
    if control in places.paths:
        return Reading(PATH, b"", job)
    is_output = places.dots.get(control) == "outputs"
    return Reading("outputs", b"", job) if is_output else None


def end_of_reading(reading):
    """The names, at most one, that are used when a text ends with a reading."""
    context, begun, of = reading
    name = begun.decode().lower()
    if context == PATH:
        return []
    return [(context, (of, name) if context in READ_OF else name)]


class Places:
    """Controls of a Syntax at which a name of a context may be read."""

    def __init__(self, syntax):
        self.properties = {}  # control in a name after a dot -> its context
        self.accessed = {}  # control right after the context: a dot or [ may come
        self.dots = {}  # control right after its dot -> the context
        self.paths = set()  # controls after needs.x, up to the dot after its outputs
        self.is_clean = syntax.is_strict
        self.begun = {}  # control in or right after the name of a context -> what is there of it
        for name, control in syntax.number.items():
            kind, *rest = name if isinstance(name, tuple) else (name,)
            self.add(control, kind, *rest)
        for control, begun in self.begun.items():
            if begun in NAMED_CONTEXTS:
                self.accessed[control] = begun
        self.looking = {*self.dots, *self.begun}

    def add(self, control, kind, of=None, *_):
        """Adds a control by its name: a kind, and mostly a context, a value or letters."""
        if kind == "name" and begins_context(of.lower()):
            self.begun[control] = of.lower()
        elif kind == "access" and of:
            self.begun[control] = of
        elif kind == "property" and of:
            self.properties[control] = of
        elif kind == "dot" and of:
            self.dots[control] = of
        elif kind == "row dot":
            self.dots[control] = "members"
        elif kind == "member":
            self.properties[control] = "members"
        elif of in (NEEDED_JOB, ITS_OUTPUTS):
            self.add_path(control, kind, of)

    def add_path(self, control, kind, of):
        """Adds a control after needs.x, or after its outputs."""
        if of == NEEDED_JOB or kind == "value":
            self.paths.add(control)
        elif kind == "value dot":
            self.dots[control] = "outputs"
        else:
            self.properties[control] = "outputs"


def begins_context(begun):
    return any(context.startswith(begun) for context in NAMED_CONTEXTS)


@functools.cache
def places_of(syntax):
    """The one Places of a Syntax."""
    return Places(syntax)
