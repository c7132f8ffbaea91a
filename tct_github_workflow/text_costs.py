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
from .expression_control import WORD
from .expressions import ASKS, UNKNOWN, ExpressionText, State, expressions_of
from .token_table import columns_of, token_table
from .utf8 import DEAD

_text_costs = Cache(256)
FEW = 16  # so many texts are sooner run one by one than all at once
IN_A_NAME = np.isin(np.arange(256), list(WORD))
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
    texts = token_table().texts
    to_end = np.full(len(texts), FAR, np.int32)
    every_text().add_costs(to_end, automaton, state)
    if automaton.is_deep(state):
        is_literal = automaton.is_literal(state)
        room = automaton.room(state)
        allowed = np.flatnonzero(to_end < FAR)
        for number in allowed.tolist():
            text = texts[number]
            # without a quote nothing happens in the middle of a string
            stays_inside = is_literal and b"'" not in text
            if not stays_inside and len(text) > room:
                to_end[number] = cost_after(automaton, state, text)
    # a constant that the text may be is plain text, which one character more continues
    detour = to_end + (to_end == 0)
    return TextCosts(to_end, detour)


def cost_after(automaton, state, text):
    after = automaton.run(state, text)
    if after == DEAD:
        return FAR
    return automaton.bytes_to_end[after]


class Texts:
    """Some texts, or what is left of them from some byte on.

    numbers  (n,) places in token_table().texts
    rests    [bytes], the longest first
    used     (n,) bits of the names in what is not left
    """

    def __init__(self, numbers, rests, used, columns=None):
        self.numbers = numbers
        self.rests = rests
        self.used = used
        self.columns = columns or columns_of(rests)
        self.reaches = {}  # by (Syntax, control, State.is_compared())

    def add_costs(self, to_end, automaton, state):
        """Writes bytes_to_end after each of these texts into to_end (n_texts,)."""
        if len(self.rests) <= FEW:
            self.add_one_by_one(to_end, automaton, state)
            return
        expressions = automaton.expressions
        reach = self.reach(expressions.syntax, state)
        forbidden = ~expressions.names.allowed
        left = left_of_names(expressions)
        costs = reach.to_end + left[reach.controls]
        if state.frame:
            costs += state.frame.to_close
        is_forbidden = reach.used & forbidden != 0
        costs[is_forbidden] = FAR
        to_end[reach.numbers] = costs
        for loose in reach.loose:
            after = state._replace(control=loose.control)
            allowed = loose.used & forbidden == 0
            to_end[loose.numbers[allowed]] = automaton.bytes_to_end[after]
        for asked in reach.asked:
            before = state._replace(control=asked.control, operators=asked.operators)
            after = expressions.step(before, asked.byte)
            if after is not None:
                asked.rests.add_costs(to_end, automaton, after)

    def add_one_by_one(self, to_end, automaton, state):
        forbidden = ~automaton.expressions.names.allowed
        is_allowed = self.used & forbidden == 0
        for i in np.flatnonzero(is_allowed).tolist():
            number = self.numbers[i]
            to_end[number] = cost_after(automaton, state, self.rests[i])

    def reach(self, syntax, state):
        """What these texts do from the control of a state."""
        key = (syntax, state.control, state.is_compared())
        if key not in self.reaches:
            self.reaches[key] = Reach(self, *key)
        return self.reaches[key]


class Loose(NamedTuple):
    """Texts after which the cost depends on the stack by more than what closes it."""

    control: int  # there
    numbers: np.ndarray  # (n,) of the texts
    used: np.ndarray  # (n,) bits of the names in them


class Asked(NamedTuple):
    """Texts in which the stack decides about a byte."""

    control: int  # before the byte
    operators: int  # of State, there
    byte: int
    rests: Texts  # after the byte


class Reach:
    """What texts do from one control, whatever the stack and whichever names are allowed.

    numbers   (n,) texts after which the cost is known but for what closes the stack
    to_end    (n,) int32 that cost: bytes of the shortest rest, and
    controls  (n,) the control there: if it is in a name, what is left of that comes on top
    used      (n,) bits of the names in them
    loose     [Loose], asked [Asked]: the other texts
    """

    def __init__(self, texts, syntax, control, is_compared):
        states = relative_states(syntax)
        frame = None if control in syntax.outside else UNKNOWN
        start = states.intern(State(control, frame, is_compared))
        walk = Walk(states, texts, start)
        reached = np.flatnonzero(walk.ends >= 0)
        ends = walk.ends[reached]
        self.numbers = texts.numbers[reached]
        self.used = walk.used[reached]
        self.to_end = states.to_end[ends]
        self.controls = states.controls[ends]
        self.loose = []
        for end in set(ends.tolist()):
            state = states.states[end]
            if states.is_loose(state):
                same = ends == end
                loose = Loose(states.controls[end], self.numbers[same], self.used[same])
                self.loose.append(loose)
        self.asked = [walk.asked(stops) for stops in walk.stops.values()]


class Stop(NamedTuple):
    """Where a text comes to a byte that the stack decides about."""

    index: int  # of the text
    control: int
    operators: int  # of State
    byte: int
    rest: bytes  # after the byte


class Walk:
    """All of some texts from one relative state, by columns.

    ends   (n,) the state after each text; DEAD or ASKED
    used   (n,) bits of the names in each text
    stops  {(move, operators, bit of the name that ends there): [Stop]} of those that are ASKED: the
           same happens to their stack
    """

    def __init__(self, states, texts, start):
        self.states = states
        self.texts = texts
        n = len(texts.rests)
        self.ends = np.full(n, start, np.int32)
        self.used = texts.used.copy()
        self.stops = {}
        going = self.begin(start) if texts.columns else []
        for i, column in enumerate(texts.columns):
            n_as_long = np.searchsorted(going, len(column))
            going = going[:n_as_long]
            going = self.one_byte(i, going, column[going])
            if not len(going):
                break

    def begin(self, start):
        """-> which texts begin with a byte that may come: few, within a name."""
        control = self.states.states[start].control
        moves = self.states.expressions.names.table[control]
        first_bytes = self.texts.columns[0]
        is_possible = moves[first_bytes] != DEAD
        ends = self.ends[: len(is_possible)]
        ends[~is_possible] = DEAD
        return np.flatnonzero(is_possible)

    def one_byte(self, i, going, column):
        """-> which texts are still going."""
        before = self.ends[going]
        after = self.states.after_bytes(before, column)
        names = self.states.used[before]
        if names.any():
            ended = np.where(IN_A_NAME[column], 0, names)
            self.used[going] |= ended
        self.ends[going] = after
        if (after >= 0).all():
            return going
        asked = np.flatnonzero(after == ASKED)
        for j in asked.tolist():
            number = before[j]
            self.stop(int(going[j]), i, self.states.states[number])
        return going[after >= 0]

    def stop(self, index, i, state):
        """A text has come to a byte that the stack decides about, its i-th, in a state."""
        text = self.texts.rests[index]
        byte = text[i]
        rest = text[i + 1 :]
        control = state.control
        compared = state.is_compared()
        syntax = self.states.expressions.syntax
        move = int(syntax.table[control, byte])
        stop = Stop(index, control, compared, byte, rest)
        # a name that ends here may be forbidden: then this byte is refused after it alone
        name = int(syntax.used[control])
        self.stops.setdefault((move, compared, name), []).append(stop)

    def asked(self, stops):
        """The texts that stop where the same happens to their stack, as one Asked."""
        stops = sorted(stops, key=lambda stop: len(stop.rest), reverse=True)
        indices = [stop.index for stop in stops]
        rests = [stop.rest for stop in stops]
        texts = Texts(self.texts.numbers[indices], rests, self.used[indices])
        first = stops[0]
        return Asked(first.control, first.operators, first.byte, texts)


@functools.cache
def every_text():
    """The texts of all tokens."""
    table = token_table()
    n = len(table.texts)
    used = np.zeros(n, np.int64)
    return Texts(np.arange(n), table.texts, used, table.text_columns)


@functools.cache
def left_of_names(expressions):
    """(controls,) int32: bytes to the end of a name and its call; 0 outside of names."""
    syntax = expressions.syntax
    n_controls = len(syntax.rows)
    left = np.zeros(n_controls, np.int32)
    for name, control in syntax.number.items():
        if name[0] == "name":
            left[control] = expressions.names.left[control]
    return left


class RelativeStates:
    """States over an unknown stack, numbered as they are first met: no more than tokens can make.

    states    [State]
    table     (n, 256) int32: the number after each byte; DEAD, ASKED or NOT_KNOWN
    to_end    (n,) int32 bytes of the shortest rest, without what is left of a name or of the stack
    controls  (n,) the control of each
    used      (n,) the bit of the name that ends there
    """

    def __init__(self, syntax):
        # with all names
        self.expressions = expressions_of(syntax, syntax.contexts, tuple(syntax.functions))
        self.states = []
        self.number = {}
        self.table = np.full((256, 256), NOT_KNOWN, np.int32)
        self.to_end = np.zeros(256, np.int32)
        self.controls = np.zeros(256, np.int32)
        self.used = np.zeros(256, np.int64)

    def intern(self, state):
        """The number of a state."""
        frame = state.frame
        shape = frame.shape if frame else None
        key = (state.control, shape, state.is_compared())
        if key not in self.number:
            number = len(self.states)
            self.number[key] = number
            self.states.append(state)
            self.add(number, state)
        return self.number[key]

    def add(self, number, state):
        if number == len(self.table):
            self.grow()
        control = state.control
        self.controls[number] = control
        self.used[number] = self.expressions.syntax.used[control]
        if not self.is_loose(state):
            left = left_of_names(self.expressions)[control]
            self.to_end[number] = self.expressions.bytes_to_end(state) - left

    def grow(self):
        """Room for twice as many."""
        more = np.full_like(self.table, NOT_KNOWN)
        self.table = np.concatenate([self.table, more])
        self.to_end = twice_as_long(self.to_end)
        self.controls = twice_as_long(self.controls)
        self.used = twice_as_long(self.used)

    def is_loose(self, state):
        """The cost depends on the unknown stack by more than what closes it."""
        return state.frame is UNKNOWN and state.control in self.expressions.syntax.loose

    def after_bytes(self, states, column):
        """The numbers (n,) after one byte each (n,)."""
        rows = states.astype(np.int64) * 256
        places = rows + column
        after = self.table.take(places)
        is_missing = after == NOT_KNOWN
        missing = places[is_missing]
        if len(missing):
            for place in np.unique(missing).tolist():
                number, byte = divmod(place, 256)
                if self.table[number, byte] == NOT_KNOWN:
                    self.learn(number, byte)
            after = self.table.take(places)
        return after

    def learn(self, number, byte):
        """Fills in what comes after a byte, and after all others that make the same move."""
        moves = self.expressions.names.table[self.states[number].control]
        same_move = moves == moves[byte]
        after = self.after(number, byte)  # the table may grow in it
        self.table[number, same_move] = after

    def after(self, number, byte):
        """The number of the state after a byte, DEAD or ASKED."""
        state = self.expressions.step(self.states[number], byte)
        if state is None:
            return DEAD
        if state is ASKS:
            return ASKED
        return self.intern(state)


def twice_as_long(array):
    zeros = np.zeros_like(array)
    return np.append(array, zeros)


@functools.cache
def relative_states(syntax):
    """The one RelativeStates of a Syntax."""
    return RelativeStates(syntax)
