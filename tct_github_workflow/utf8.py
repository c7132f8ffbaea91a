"""The automata of automaton.py over the bytes of UTF-8, since tokens are made of bytes.

What it offers is the protocol of a *text automaton*, which the matcher runs strings along:

    start                   the first state; DEAD is the one from which nothing is accepted
    run(state, text)        the state after some bytes
    accepting[state]        whether the text may end here
    bytes_to_end[state]     bytes of the shortest rest that is accepted, FAR if there is none
    detour[state]           the same for a rest of at least one byte
    words_left(state)       all rests that are accepted, where these are just a few words, or None
    shape(state)            a state or less: what all of this depends on, for caches
    is_expression           whether it holds expressions, which may use names (reading.py)

An automaton is known by its identity. Here states are ints, and there may be an array of them in
the brackets; expressions.py has the other text automata.
"""

import functools

import numpy as np

from .automaton import FAR, LINE, OTHER

# Phases of a character in UTF-8. 0: between two. 1, 2, 3: so many continuation bytes to come. 4 to
# 7: after E0, ED, F0, F4, whose next byte is restricted. 8: after ESC, written as the byte EE,
# which must be followed by EF (a private-use character, see linear.py). AFTER_E2 and AFTER_E2_80:
# so LINE (E2 80 A8 and A9) begins.
AFTER_E2 = 9
AFTER_E2_80 = 10
PHASES = 11
DEAD = -1  # the state from which nothing is accepted
LEAD_PHASE = {  # first byte -> phase
    **{b: 1 for b in range(0xC2, 0xE0)},
    **{b: 2 for b in range(0xE1, 0xF0)},
    **{b: 3 for b in (0xF1, 0xF2, 0xF3)},
    0xE0: 4,
    0xED: 5,
    0xF0: 6,
    0xF4: 7,
    0xEE: 8,
    0xE2: AFTER_E2,
}
NEXT_PHASE = {  # phase -> the bytes that continue it (from, below), the phase after them
    1: (0x80, 0xC0, 0),
    2: (0x80, 0xC0, 1),
    3: (0x80, 0xC0, 2),
    4: (0xA0, 0xC0, 1),
    5: (0x80, 0xA0, 1),
    6: (0x90, 0xC0, 2),
    7: (0x80, 0x90, 2),
    8: (0xEF, 0xF0, 2),
    AFTER_E2: (0x81, 0xC0, 1),
    AFTER_E2_80: (0x80, 0xC0, 0),
}
BYTES_LEFT = np.array([0, 1, 2, 3, 2, 2, 3, 3, 3, 2, 1])  # of each phase


class ByteAutomaton:
    """A Dfa over bytes, as a text automaton: n * PHASES + phase is its state for n of the Dfa.

    table  (n * PHASES, 256) int32: the state after each byte, -1 where no accepted text continues
    """

    start = 0
    is_expression = False

    def __init__(self, dfa):
        self.dfa = dfa
        self.table = _byte_table(dfa)
        phase = np.arange(len(self.table)) % PHASES
        accept = np.repeat(dfa.accept, PHASES)
        detour = np.repeat(dfa.detour, PHASES)
        is_between = phase == 0  # two characters
        self.accepting = accept & is_between
        self.bytes_to_end = _bytes_to_end(dfa)
        self.detour = np.where(is_between, detour, self.bytes_to_end)

    def run(self, state, text):
        for byte in text:
            state = self.table.item(state, byte)
            if state == DEAD:
                return DEAD
        return state

    def follow(self, states, column):
        """The states (n,) after one byte each (n,), all at once; DEAD or a state."""
        rows = states.astype(np.int64) * 256
        return self.table.take(rows + column)

    def shape(self, state):
        return state

    def words_left(self, state):
        n, phase = divmod(state, PHASES)
        is_inside = phase != 0  # of a character
        if is_inside or not self.dfa.finite[n]:
            return None
        return self.dfa.words_from(n)


@functools.cache
def over_bytes(dfa):
    """The one ByteAutomaton of a Dfa."""
    return ByteAutomaton(dfa)


def _byte_table(dfa):
    n = len(dfa.accept)
    between = np.arange(n) * PHASES
    # the state after a whole character, DEAD where no accepted text continues with it
    is_live = dfa.live[dfa.next]
    after = np.where(is_live, dfa.next * PHASES, DEAD)
    other = after[:, OTHER]
    line = after[:, LINE]
    other_or_line = np.maximum(other, line)

    def begun(phase, target):
        """The states in a phase of characters that lead to a target, DEAD where that is."""
        states = between + phase
        return np.where(target == DEAD, DEAD, states)

    shape = (n, PHASES, 256)
    table = np.full(shape, DEAD, np.int32)
    table[:, 0, :OTHER] = after[:, :OTHER]
    for lead, phase in LEAD_PHASE.items():
        target = other_or_line if phase == AFTER_E2 else other
        table[:, 0, lead] = begun(phase, target)
    for phase, (low, high, then) in NEXT_PHASE.items():
        target = other if then == 0 else begun(then, other)
        table[:, phase, low:high] = target[:, None]
    table[:, AFTER_E2, 0x80] = begun(AFTER_E2_80, other_or_line)
    table[:, AFTER_E2_80, 0xA8:0xAA] = line[:, None]
    return table.reshape(n * PHASES, 256)


def _bytes_to_end(dfa):
    """(n * PHASES,) int: within a character, what is left of it and then the shortest rest."""
    other = dfa.next[:, OTHER]
    line = dfa.next[:, LINE]
    after_other = dfa.distance[other]
    after_either = np.minimum(after_other, dfa.distance[line])
    n = len(dfa.accept)
    distance = np.empty((n, PHASES), np.int64)
    distance[:, 0] = dfa.distance
    distance[:, 1:AFTER_E2] = after_other[:, None]
    distance[:, AFTER_E2:] = after_either[:, None]
    to_end = np.minimum(distance + BYTES_LEFT, FAR)
    return to_end.reshape(-1)


@functools.lru_cache(1 << 14)
def state_after(automaton, state, text):
    """automaton.run, remembered: the same few bytes come again and again."""
    return automaton.run(state, text)
