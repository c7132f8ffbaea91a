"""What the text of every token does to a string, for all texts at once.

For a Dfa over bytes that is one walk by columns. For an expression it depends on the control, and
on the stack only where a text closes what it did not open. So the walk is made once for a control
(`Reach`), whatever the stack, and only those few texts are run for each stack.
"""

import functools
from typing import NamedTuple

import numpy as np

from .automaton import FAR
from .cache import Cache
from .expressions import ASKS, UNKNOWN, ExpressionText, State
from .token_table import token_table
from .utf8 import DEAD

_text_costs = Cache(256)
ASKED = -3  # in a walk: the stack decides
NOT_KNOWN = -2  # in a table of relative states: not computed yet


class TextCosts(NamedTuple):
    """After the text of every token, from one state of a text automaton."""

    to_end: np.ndarray  # (n_texts,) int32 bytes of the shortest rest, FAR or more if refused
    detour: np.ndarray  # (n_texts,) int32 the same as to_end for a rest of at least one byte


def text_costs(automaton, state):
    """The TextCosts from a state; read-only, as they are remembered."""
    key = (automaton, automaton.shape(state))
    make = expression_costs if isinstance(automaton, ExpressionText) else byte_costs
    return _text_costs.get(key, lambda: make(automaton, state))


def byte_costs(automaton, state):
    states = token_table().follow_texts(automaton, state)
    refused = states < 0
    to_end = automaton.bytes_to_end[states].astype(np.int32)
    detour = automaton.detour[states].astype(np.int32)
    to_end[refused] = FAR
    detour[refused] = FAR
    return TextCosts(to_end, detour)


def expression_costs(automaton, state):
    to_end = np.full(len(token_table().texts), FAR, np.int32)
    every_text().add_costs(to_end, automaton, state)
    if automaton.is_deep(state):
        for number in np.flatnonzero(to_end < FAR).tolist():
            text = token_table().texts[number]
            # without a quote nothing happens in the middle of a string
            if b"'" in text or not automaton.is_literal(state):
                to_end[number] = cost_after(automaton, state, text)
    # a constant that the text may be is plain text, which one character more continues
    return TextCosts(to_end, to_end + (to_end == 0))


def cost_after(automaton, state, text):
    after = automaton.run(state, text)
    return FAR if after == DEAD else automaton.bytes_to_end[after]


class Texts:
    """Some texts, or what is left of them from some byte on.

    numbers  (n,) places in token_table().texts
    rests    [bytes], the longest first
    """

    def __init__(self, numbers, rests):
        self.numbers = numbers
        self.rests = rests
        self.columns = columns_of(rests)
        self.reaches = {}  # by (expressions, control)

    def add_costs(self, to_end, automaton, state):
        """Writes bytes_to_end() after each of these texts into to_end (n_texts,)."""
        expressions = automaton.expressions
        key = (expressions, state.control)
        if key not in self.reaches:
            self.reaches[key] = Reach(self, expressions, state.control)
        reach = self.reaches[key]
        to_close = state.frame.to_close if state.frame else 0
        to_end[reach.numbers] = reach.to_end + to_close
        for control, numbers in reach.loose:
            to_end[numbers] = automaton.bytes_to_end[state._replace(control=control)]
        for control, byte, rests in reach.asks:
            after = expressions.step(state._replace(control=control), byte)
            if after is not None:
                rests.add_costs(to_end, automaton, after)


class Reach:
    """What texts do from one control, whatever the stack.

    numbers  (n,) texts of which the cost is known but for what closes the stack, and
    to_end   (n,) int32 that cost: bytes of the shortest rest
    loose    [(control, numbers)]: with these the cost after depends on the stack
    asks     [(control, byte, Texts)]: here the stack decides about the byte; the rests after it
    """

    def __init__(self, texts, expressions, control):
        states = relative_states(expressions)
        frame = None if control in expressions.control.outside else UNKNOWN
        start = states.intern(State(control, frame))
        ends, stops = states.follow(len(texts.rests), texts.columns, start)
        reached = np.flatnonzero(ends >= 0)
        self.numbers = texts.numbers[reached]
        self.to_end = states.to_end[ends[reached]]
        self.loose = []
        for end in set(ends[reached].tolist()):
            state = states.states[end]
            if states.is_loose(state):
                self.loose.append((state.control, texts.numbers[ends == end]))
        groups = {}  # by what the byte does to the stack
        for i, n_bytes, before in stops:
            byte = texts.rests[i][n_bytes]
            control = states.states[before].control
            move = expressions.rows[control][byte]
            groups.setdefault(move, []).append((i, n_bytes, control, byte))
        self.asks = []
        for stopped in groups.values():
            _, _, control, byte = stopped[0]
            numbers = texts.numbers[[i for i, *_ in stopped]]
            rests = [texts.rests[i][n_bytes + 1 :] for i, n_bytes, *_ in stopped]
            self.asks.append((control, byte, sorted_texts(numbers, rests)))


def columns_of(texts):
    """[(m,) uint8]: byte i of each of the m texts that have one; the longest text comes first."""
    columns = []
    for i in range(len(texts[0])):
        column = bytes(text[i] for text in texts if len(text) > i)
        columns.append(np.frombuffer(column, np.uint8))
    return columns


def sorted_texts(numbers, rests):
    order = sorted(range(len(rests)), key=lambda i: -len(rests[i]))
    return Texts(numbers[order], [rests[i] for i in order])


@functools.cache
def every_text():
    """The texts of all tokens."""
    texts = token_table().texts
    return Texts(np.arange(len(texts)), texts)


class RelativeStates:
    """States over an unknown stack, numbered as they are first met: no more than tokens can make.

    states  [State]
    table   (n, 256) int32: the number after each byte; DEAD, ASKED or NOT_KNOWN
    to_end  (n,) int32 bytes of the shortest rest, without what closes the stack
    """

    def __init__(self, expressions):
        self.expressions = expressions
        self.states = []
        self.number = {}
        self.table = np.full((256, 256), NOT_KNOWN, np.int32)
        self.to_end = np.zeros(256, np.int32)

    def intern(self, state):
        key = state.control, state.frame and state.frame.shape
        if key not in self.number:
            number = self.number[key] = len(self.states)
            self.states.append(state)
            if number == len(self.table):
                rows = np.full_like(self.table, NOT_KNOWN)
                self.table = np.concatenate([self.table, rows])
                self.to_end = np.concatenate([self.to_end, np.zeros_like(self.to_end)])
            if not self.is_loose(state):
                self.to_end[number] = min(FAR, self.expressions.bytes_to_end(state))
        return self.number[key]

    def is_loose(self, state):
        """The cost depends on the unknown stack by more than what closes it."""
        return state.frame is UNKNOWN and state.control in self.expressions.control.loose

    def follow(self, n, columns, start):
        """-> ((n,) the state after every text, [(text, its byte, state) where a stack decides])."""
        ends = np.full(n, start, np.int32)
        stops = []
        going = np.arange(len(ends))
        for i, column in enumerate(columns):
            going = going[: np.searchsorted(going, len(column))]
            before = ends[going]
            after = self.after_bytes(before, column[going])
            ends[going] = after
            for j in np.flatnonzero(after == ASKED).tolist():
                stops.append((int(going[j]), i, int(before[j])))
            going = going[after >= 0]
            if not len(going):
                break
        return ends, stops

    def after_bytes(self, states, column):
        after = self.table[states, column]
        missing = np.flatnonzero(after == NOT_KNOWN)
        if len(missing):
            for pair in set((states[missing].astype(np.int64) * 256 + column[missing]).tolist()):
                number, byte = divmod(pair, 256)
                self.table[number, byte] = self.after(number, byte)
            after = self.table[states, column]
        return after

    def after(self, number, byte):
        state = self.expressions.step(self.states[number], byte)
        if state is None:
            return DEAD
        return ASKED if state is ASKS else self.intern(state)


@functools.cache
def relative_states(expressions):
    """The one RelativeStates of some Expressions."""
    return RelativeStates(expressions)
