"""Regular languages of strings as small deterministic automata, for the patterns of a JSON schema.

The alphabet is 130 characters: ASCII one by one, LINE for U+2028 and U+2029, and OTHER for every other character beyond ASCII, which no
pattern in use tells apart (a pattern that does is refused, not approximated). Semantics are those of jsonschema-rs, which are
JavaScript's: unanchored unless ^ and $ say so, `.` is all but \\n, \\r and LINE, \\d and \\w are ASCII. `Dfa.bytes` is the same
automaton over the bytes of UTF-8, as tokens are made of bytes.
"""

import functools

import numpy as np

try:
    from re import _constants as sre_constants
    from re import _parser as sre_parser
except ImportError:  # Python 3.10
    import sre_constants
    import sre_parse as sre_parser

OTHER, LINE, SIZE = 128, 129, 130
ANY_CHARS = frozenset(range(SIZE))
FAR = 1 << 20  # "cannot be reached", in tokens

# Phases of a character in UTF-8: 0 between two; 1, 2, 3: so many continuation bytes to come; 4 to 7 after E0, ED, F0, F4, whose next
# byte is restricted; 8 after ESC, written as the byte EE, which must be followed by EF (a private-use character, see codec.py); 9 and 10
# after E2 and E2 80, with which LINE (E2 80 A8 and A9) begins.
_LEAD = {
    **{b: 1 for b in range(0xC2, 0xE0)},
    **{b: 2 for b in range(0xE1, 0xF0)},
    **{b: 3 for b in (0xF1, 0xF2, 0xF3)},
    0xE0: 4,
    0xED: 5,
    0xF0: 6,
    0xF4: 7,
    0xEE: 8,
    0xE2: 9,
}
_NEXT = {
    1: (0x80, 0xC0, 0),
    2: (0x80, 0xC0, 1),
    3: (0x80, 0xC0, 2),
    4: (0xA0, 0xC0, 1),
    5: (0x80, 0xA0, 1),
    6: (0x90, 0xC0, 2),
    7: (0x80, 0x90, 2),
    8: (0xEF, 0xF0, 2),
    9: (0x81, 0xC0, 1),
    10: (0x80, 0xC0, 0),
}
_BYTES_LEFT = np.array([0, 1, 2, 3, 2, 2, 3, 3, 3, 2, 1])
PHASES = 11


class Dfa:
    """next: (n, SIZE) int array, complete (a dead state is a state); accept: (n,) bool. State 0 is the start."""

    def __init__(self, table, accept):
        self.next, self.accept = np.asarray(table, np.int32), np.asarray(accept, bool)
        # distance: bytes of the shortest rest that is accepted, FAR if none; OTHER takes two bytes, LINE three
        cost = np.array([1] * OTHER + [2, 3])
        self.distance = np.where(self.accept, 0, FAR)
        for _ in range(len(self.accept)):
            shorter = np.minimum(self.distance, (self.distance[self.next] + cost).min(1))
            if (shorter == self.distance).all():
                break
            self.distance = shorter
        self.live = self.distance < FAR
        self.detour = np.minimum(
            (self.distance[self.next] + cost).min(1), FAR
        )  # the same for a rest of at least one character

    def run(self, text):
        state = 0
        for c in text:
            state = self.next[state, LINE if c in "\u2028\u2029" else min(ord(c), OTHER)]
        return state

    def accepts(self, text):
        return bool(self.accept[self.run(text)])

    @functools.cached_property
    def bytes(self):
        """(n * PHASES, 256) int array over UTF-8 bytes, -1 where no accepted text goes on so; state = n * PHASES + phase."""
        n = len(self.accept)
        table = np.full((n, PHASES, 256), -1, np.int32)
        ascii_next = np.where(self.live[self.next[:, :128]], self.next[:, :128] * PHASES, -1)
        table[:, 0, :128] = ascii_next
        beyond, line = (
            np.where(self.live[self.next[:, c]], self.next[:, c] * PHASES, -1)
            for c in (OTHER, LINE)
        )
        for lead, phase in _LEAD.items():
            table[:, 0, lead] = np.where(
                (beyond if phase < 9 else np.maximum(beyond, line)) >= 0,
                np.arange(n) * PHASES + phase,
                -1,
            )
        for phase, (low, high, then) in _NEXT.items():
            target = (
                beyond if then == 0 else np.where(beyond >= 0, np.arange(n) * PHASES + then, -1)
            )
            table[:, phase, low:high] = target[:, None]
        table[:, 9, 0x80] = np.where(np.maximum(beyond, line) >= 0, np.arange(n) * PHASES + 10, -1)
        table[:, 10, 0xA8:0xAA] = line[:, None]
        return table.reshape(n * PHASES, 256)

    @functools.cached_property
    def bytes_to_end(self):
        """(n * PHASES,) int array: bytes of the shortest accepted rest, from each state of `bytes`."""
        beyond = self.distance[self.next[:, [OTHER, LINE]]]
        inside = (
            np.where(np.arange(1, PHASES) < 9, beyond[:, :1], beyond.min(1)[:, None])
            + _BYTES_LEFT[None, 1:]
        )
        return np.concatenate([self.distance[:, None], inside], 1).reshape(-1)

    @functools.cached_property
    def finite(self):
        """(n,) bool: states from which a few words are accepted and no others."""
        finite = ~self.live
        for _ in range(len(finite)):
            now = ~self.live | (
                finite[self.next].all(1) & ~self.live[self.next[:, [OTHER, LINE]]].any(1)
            )
            if (now == finite).all():
                break
            finite = now
        return finite & self.live

    def rest(self, state):
        """All words (bytes) from a finite state."""
        words = [b""] * bool(self.accept[state])
        return words + [
            bytes([c]) + w
            for c in range(128)
            if self.live[self.next[state, c]]
            for w in self.rest(self.next[state, c])
        ]

    @functools.lru_cache(1 << 12)
    def run_bytes(self, state, text):
        """The state of `bytes` after text, -1 if no accepted text goes on so."""
        for b in text:
            state = int(self.bytes[state, b])
            if state < 0:
                return -1
        return state


def _product(a, b, accept):
    """The automaton of pairs, each state accepting if accept(a's, b's)."""
    number, table, order = {(0, 0): 0}, [], [(0, 0)]
    for p, q in order:
        row = []
        for pair in zip(a.next[p].tolist(), b.next[q].tolist()):
            if pair not in number:
                number[pair] = len(order)
                order.append(pair)
            row.append(number[pair])
        table.append(row)
    return Dfa(table, [accept(a.accept[p], b.accept[q]) for p, q in order])


ANY = Dfa([[0] * SIZE], [True])
NONE = Dfa([[0] * SIZE], [False])


@functools.cache
def both(a, b):
    if a is b or b is ANY:
        return a
    return b if a is ANY else NONE if NONE in (a, b) else _product(a, b, lambda x, y: x and y)


@functools.cache
def either(a, b):
    if a is b or b is NONE:
        return a
    return b if a is NONE else ANY if ANY in (a, b) else _product(a, b, lambda x, y: x or y)


@functools.cache
def negate(a):
    return NONE if a is ANY else ANY if a is NONE else Dfa(a.next, ~a.accept)


@functools.cache
def min_length(n):
    """Strings of at least n characters."""
    return Dfa([[min(i + 1, n)] * SIZE for i in range(n + 1)], [i == n for i in range(n + 1)])


@functools.cache
def words(listed):
    """Exactly the words of a frozenset."""
    if not all(w.isascii() for w in listed):
        raise ValueError("a name beyond ASCII in the schema is not supported")
    prefixes = sorted({w[:i] for w in listed for i in range(len(w) + 1)} | {""})
    number = {p: i for i, p in enumerate(prefixes)}
    dead = len(prefixes)
    return Dfa(
        [
            [number.get(p + chr(c), dead) if c < OTHER else dead for c in range(SIZE)]
            for p in prefixes
        ]
        + [[dead] * SIZE],
        [p in listed for p in prefixes] + [False],
    )


def _charset(op, arg, pattern):
    """Characters that one regex item stands for, as a set of 0..129."""
    name = str(op)
    if name == "LITERAL" and arg < 128:
        return frozenset([arg])
    if name == "NOT_LITERAL" and arg < 128:
        return ANY_CHARS - {arg}
    if name == "ANY":
        return ANY_CHARS - {10, 13, LINE}
    if name == "RANGE" and (arg[1] < 128 or arg[0] <= 128 and arg[1] == 0x10FFFF):
        return frozenset(range(arg[0], min(arg[1], LINE) + 1))
    if name == "CATEGORY":
        kind = str(arg).rpartition("_")[2]
        digits, word = (
            set(map(ord, "0123456789")),
            {c for c in range(128) if chr(c).isalnum() or c == 95},
        )
        chars = {"DIGIT": digits, "WORD": word, "SPACE": set(b" \t\n\r\f\v")}[kind]
        if kind != "SPACE":  # \s holds some characters beyond ASCII: not told apart here
            return ANY_CHARS - chars if "NOT" in str(arg) else frozenset(chars)
    if name == "IN":
        negated = str(arg[0][0]) == "NEGATE"
        chars = frozenset().union(*(_charset(o, a, pattern) for o, a in arg[negated:]))
        return ANY_CHARS - chars if negated else chars
    raise ValueError(f"pattern {pattern!r}: {name} {arg!r} is not supported")


@functools.cache
def from_regex(pattern):
    """Automaton of the strings in which `pattern` is found. Raises ValueError for what it does not know (look-around, back references,
    anchors elsewhere than at the ends, characters beyond ASCII)."""
    edges, silent = [], []  # per NFA state: [(charset, target)], [target]

    def state():
        edges.append([])
        silent.append([])
        return len(edges) - 1

    def build(items, start):
        """Adds `items` behind the state `start`, returns the last state."""
        for op, arg in items:
            name = str(op)
            if name == "SUBPATTERN":
                start = build(arg[3], start)
            elif name == "BRANCH":
                end = state()
                for branch in arg[1]:
                    silent[build(branch, start)].append(end)
                start = end
            elif name in ("MAX_REPEAT", "MIN_REPEAT"):
                low, high, body = arg
                for _ in range(low):
                    start = build(body, start)
                if high == sre_constants.MAXREPEAT:
                    loop = state()
                    silent[start].append(loop)
                    silent[build(body, loop)].append(loop)
                    start = loop
                else:
                    end = state()
                    for _ in range(high - low):
                        silent[start].append(end)
                        start = build(body, start)
                    silent[start].append(end)
                    start = end
            else:
                target = state()
                edges[start].append((_charset(op, arg, pattern), target))
                start = target
        return start

    items = list(sre_parser.parse(pattern))
    anchored = [
        bool(items) and str(items[i][0]) == "AT" and str(items[i][1]) == at
        for i, at in ((0, "AT_BEGINNING"), (-1, "AT_END"))
    ]
    first = state()
    if not anchored[0]:
        edges[first].append((ANY_CHARS, first))
    last = build(items[anchored[0] : len(items) - anchored[1]], first)
    if not anchored[1]:
        edges[last].append((ANY_CHARS, last))

    def closure(states):
        todo, seen = list(states), set(states)
        while todo:
            for t in silent[todo.pop()]:
                if t not in seen:
                    seen.add(t)
                    todo.append(t)
        return frozenset(seen)

    # characters that every edge treats alike share one column of the subset construction
    alike = {}
    for c in range(SIZE):
        alike.setdefault(
            tuple(c in chars for state_edges in edges for chars, _ in state_edges), []
        ).append(c)
    order = [closure([first])]
    number, table = {order[0]: 0}, []
    for subset in order:
        row = [0] * SIZE
        for chars in alike.values():
            target = closure([t for s in subset for cs, t in edges[s] if chars[0] in cs])
            if target not in number:
                number[target] = len(order)
                order.append(target)
            for c in chars:
                row[c] = number[target]
        table.append(row)
    return Dfa(table, [last in subset for subset in order])
