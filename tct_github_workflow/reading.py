"""The names that expressions use, found byte by byte while a text automaton reads them.

    ${{ steps.build.outcome }}   uses ("steps", "build")
    ${{ matrix['os'] }}          uses ("matrix", "os")
    ${{ matrix[github.job] }}    uses none that is known before it runs

A *reading* is a name that is begun: its context and the bytes after the dot, or from the [ on.
Right after the dot there are none yet.
"""

import functools
import re

from .automaton import FAR
from .expression_control import NAMED_CONTEXTS
from .known_names import INDEX, name_in_index
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
            reading = (places.dots[state.control], b"")
        elif byte == b"[" and before in places.accessed:
            reading = (places.accessed[before], b"[")
    if automaton.expressions.bytes_to_end(state) >= FAR:
        return DEAD, (), None
    return state, tuple(used), reading


def read_on(reading, byte, control, places):
    """-> (the reading after a byte or None, the name that has ended with it or None)."""
    context, begun = reading
    if not begun.startswith(b"["):
        if places.properties.get(control) == context:
            return (context, begun + byte), None
        if begun:
            return None, (context, begun.decode().lower())
        return (reading if control in places.dots else None), None  # a blank, or *
    begun += byte
    if INDEX_BEGUN.fullmatch(begun):
        return (context, begun), None
    is_name = byte == b"]" and INDEX.fullmatch(begun)
    return None, (context, name_in_index(begun)) if is_name else None


def end_of_reading(reading):
    """The names, at most one, that are used when a text ends with a reading."""
    context, begun = reading
    return [(context, begun.decode().lower())]


class Places:
    """Controls of a Syntax at which a name of a context may be read."""

    def __init__(self, syntax):
        self.properties = {}  # control in a name after a dot -> its context
        self.accessed = {}  # control right after the context: a dot or [ may come
        self.dots = {}  # control right after its dot -> the context
        self.begun = {}  # control in or right after the name of a context -> what is there of it
        for name, control in syntax.number.items():
            kind, *rest = name if isinstance(name, tuple) else (name,)
            if kind == "property" and rest[0]:
                self.properties[control] = rest[0]
            if kind == "dot" and rest[0]:
                self.dots[control] = rest[0]
            if kind == "access" and rest[0]:
                self.begun[control] = rest[0]
            if kind == "name":
                begun = rest[0].lower()
                if begins_context(begun):
                    self.begun[control] = begun
        for control, begun in self.begun.items():
            if begun in NAMED_CONTEXTS:
                self.accessed[control] = begun
        self.looking = {*self.dots, *self.begun}


def begins_context(begun):
    return any(context.startswith(begun) for context in NAMED_CONTEXTS)


@functools.cache
def places_of(syntax):
    """The one Places of a Syntax."""
    return Places(syntax)
