"""Regular languages of strings as small deterministic automata, for the patterns of a JSON schema.

The alphabet is 130 characters: ASCII one by one, LINE for U+2028 and U+2029, and OTHER for every
other character beyond ASCII, which no pattern in use tells apart (a pattern that does is refused,
not approximated). Semantics are those of jsonschema-rs, which are JavaScript's: unanchored unless
^ and $ say so, `.` is all but \\n, \\r and LINE, \\d and \\w are ASCII.
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
DIGIT_CHARS = frozenset(b"0123456789")
WORD_CHARS = frozenset(c for c in range(128) if chr(c).isalnum() or chr(c) == "_")
# bytes of UTF-8 that a character takes: OTHER two at least, LINE three
CHAR_BYTES = np.array([1] * OTHER + [2, 3])
KNOWN_TEXTS = 1 << 10  # of which an automaton remembers whether it accepts them
FAR = 1 << 20  # "cannot be reached", in tokens


class Dfa:
    """A complete deterministic automaton: the dead state is a state, too. State 0 is the start.

    next      (n, SIZE) int32: the state after each character
    accept    (n,) bool
    distance  (n,) int: bytes of the shortest rest that is accepted, FAR if there is none
    detour    (n,) int: the same for a rest of at least one character
    live      (n,) bool: some rest is accepted
    """

    def __init__(self, table, accept):
        self.accepts = functools.lru_cache(KNOWN_TEXTS)(self._accepts)
        self.next = np.asarray(table, np.int32)
        self.accept = np.asarray(accept, bool)
        self.distance = np.where(self.accept, 0, FAR)
        for settled in range(len(self.accept)):  # so far in bytes every distance is known
            rest = np.flatnonzero(self.distance > settled)
            shorter = np.minimum(self.distance[rest], self._through_next(rest))
            if (shorter == self.distance[rest]).all():
                break
            self.distance[rest] = shorter
        self.live = self.distance < FAR
        self.detour = np.minimum(self._through_next(slice(None)), FAR)

    def _through_next(self, states):
        return (self.distance[self.next[states]] + CHAR_BYTES).min(1)

    def run(self, text):
        """The state after a str."""
        state = 0
        for c in text:
            char = LINE if c in "\u2028\u2029" else min(ord(c), OTHER)
            state = self.next[state, char]
        return state

    def _accepts(self, text):
        """Whether a str is accepted. (Called as `accepts`.)"""
        return bool(self.accept[self.run(text)])

    @functools.cached_property
    def finite(self):
        """(n,) bool: states from which a few words are accepted and no others."""
        beyond_ascii = self.live[self.next[:, [OTHER, LINE]]].any(1)
        finite = ~self.live
        for _ in range(len(finite)):
            more = ~self.live | (finite[self.next].all(1) & ~beyond_ascii)
            if (more == finite).all():
                break
            finite = more
        return finite & self.live

    def words_from(self, state):
        """All words (bytes) that are accepted from a finite state."""
        found = [b""] if self.accept[state] else []
        after = self.next[state, :OTHER]
        for char in np.flatnonzero(self.live[after]).tolist():
            words = self.words_from(after[char])
            found += [bytes([char]) + word for word in words]
        return found


def crawl(initial, follow, accept):
    """The Dfa of all states that can be reached from `initial`, which may be any hashable things.

    follow(state): the SIZE states after it, one for each character; accept(state): bool. (As in
    greenery: the subset construction is this loop with a `follow` and an `accept`.)
    """
    number = {initial: 0}
    states = [initial]
    table = []
    for state in states:
        targets = follow(state)
        for target in dict.fromkeys(targets):  # each once, in order: they are few
            if target not in number:
                number[target] = len(states)
                states.append(target)
        table.append([number[target] for target in targets])
    return Dfa(table, [accept(state) for state in states])


ANY = Dfa([[0] * SIZE], [True])
NONE = Dfa([[0] * SIZE], [False])


def _product(a, b, accept, needs_both):
    """The automaton of pairs of states, accepting where accept(a's, b's) says so.

    needs_both: a pair in which one is dead is dead; all these pairs are one state.
    """
    n_b = len(b.accept)
    number = np.full(len(a.accept) * n_b, -1, np.int32)  # of each pair (i, j), by i * n_b + j
    dead = _dead_pair(a, b) if needs_both else None
    rows = []
    pairs = []
    found = np.array([0])
    n_found = 0
    while len(found):  # breadth first
        number[found] = np.arange(n_found, n_found + len(found))
        n_found += len(found)
        pairs.append(found)
        i, j = np.divmod(found, n_b)
        after_a = a.next[i].astype(np.int64)
        after_b = b.next[j]
        after = after_a * n_b + after_b
        if dead is not None:
            after[~(a.live[after_a] & b.live[after_b])] = dead
        rows.append(after)
        targets = np.unique(after)
        found = targets[number[targets] < 0]
    i, j = np.divmod(np.concatenate(pairs), n_b)
    table = number[np.concatenate(rows)]
    return Dfa(table, accept(a.accept[i], b.accept[j]))


def _dead_pair(a, b):
    """Some pair of states in which one is dead and stays so, or None."""
    for dead in np.flatnonzero(~a.live):
        return int(dead) * len(b.accept)
    for dead in np.flatnonzero(~b.live):
        return int(dead)
    return None


@functools.cache
def both(a, b):
    """Strings that a and b accept."""
    if a is NONE or b is NONE:
        return NONE
    if a is b or b is ANY:
        return a
    if a is ANY:
        return b
    return _product(a, b, np.logical_and, needs_both=True)


@functools.cache
def either(a, b):
    """Strings that a or b accepts."""
    if a is ANY or b is ANY:
        return ANY
    if a is b or b is NONE:
        return a
    if a is NONE:
        return b
    return _product(a, b, np.logical_or, needs_both=False)


@functools.cache
def negate(a):
    """Strings that a does not accept."""
    if a is ANY:
        return NONE
    if a is NONE:
        return ANY
    return Dfa(a.next, ~a.accept)


@functools.cache
def min_length(n):
    """Strings of at least n characters."""

    def follow(length):
        return [min(length + 1, n)] * SIZE

    return crawl(0, follow, lambda length: length == n)


@functools.cache
def words(listed):
    """Exactly the words of a frozenset."""
    if not all(word.isascii() for word in listed):
        raise ValueError("a name beyond ASCII in the schema is not supported")
    begun = {""}  # all beginnings of a word
    for word in listed:
        begun.update(word[:n] for n in range(1, len(word) + 1))
    number = {prefix: i for i, prefix in enumerate(sorted(begun))}
    dead = len(number)
    table = np.full((dead + 1, SIZE), dead, np.int32)
    for prefix in begun - {""}:
        table[number[prefix[:-1]], ord(prefix[-1])] = number[prefix]
    return Dfa(table, [prefix in listed for prefix in number] + [False])


# --- regular expressions -------------------------------------------------------------------------
def _category(arg):
    name = str(arg).removeprefix("CATEGORY_")
    if name == "SPACE":  # its opposite holds some characters beyond ASCII but not all: not known
        return frozenset(b" \t\n\r\f\v")
    chars = {"DIGIT": DIGIT_CHARS, "WORD": WORD_CHARS}[name.removeprefix("NOT_")]
    return ANY_CHARS - chars if name.startswith("NOT_") else chars


def _in(items):
    first, _ = items[0]
    is_negated = str(first) == "NEGATE"
    if is_negated:
        items = items[1:]
    chars = frozenset().union(*(_charset(op, arg) for op, arg in items))
    return ANY_CHARS - chars if is_negated else chars


def _range(arg):
    first, last = arg
    if last >= OTHER and not (first <= OTHER and last == 0x10FFFF):
        raise KeyError(arg)
    return frozenset(range(first, min(last, LINE) + 1))


def _ascii(code):
    if code >= OTHER:
        raise KeyError(code)
    return frozenset([code])


_CHARSETS = {  # the kinds of regex items that stand for one character
    "LITERAL": _ascii,
    "NOT_LITERAL": lambda arg: ANY_CHARS - _ascii(arg),
    "ANY": lambda arg: ANY_CHARS - {ord("\n"), ord("\r"), LINE},
    "RANGE": _range,
    "CATEGORY": _category,
    "IN": _in,
}


def _charset(op, arg):
    """Characters that one regex item stands for, as a set of 0..129. KeyError: not known."""
    return _CHARSETS[str(op)](arg)


class _Nfa:
    """A pattern as states with edges on characters and silent edges (Thompson's construction)."""

    def __init__(self, pattern):
        self.pattern = pattern
        self.edges = []  # of each state: [(set of characters, target)]
        self.silent = []  # of each state: [target]
        items = list(sre_parser.parse(pattern))
        starts_at_begin = bool(items) and self._is_anchor(items[0], "AT_BEGINNING")
        stops_at_end = bool(items) and self._is_anchor(items[-1], "AT_END")
        self.first = self.new_state()
        if not starts_at_begin:
            self.edges[self.first].append((ANY_CHARS, self.first))
        self.last = self.add(items[starts_at_begin : len(items) - stops_at_end], self.first)
        if not stops_at_end:
            self.edges[self.last].append((ANY_CHARS, self.last))

    @staticmethod
    def _is_anchor(item, where):
        op, arg = item
        return str(op) == "AT" and str(arg) == where

    def new_state(self):
        self.edges.append([])
        self.silent.append([])
        return len(self.edges) - 1

    def add(self, items, start):
        """Adds `items` after the state `start`; returns the state after them."""
        for op, arg in items:
            name = str(op)
            if name == "SUBPATTERN":
                start = self.add(arg[3], start)
            elif name == "BRANCH":
                start = self.add_branches(arg[1], start)
            elif name in ("MAX_REPEAT", "MIN_REPEAT"):
                start = self.add_repeat(*arg, start)
            else:
                start = self.add_charset(op, arg, start)
        return start

    def add_charset(self, op, arg, start):
        try:
            chars = _charset(op, arg)
        except KeyError:
            raise ValueError(f"pattern {self.pattern!r}: {op} {arg!r} is not supported") from None
        target = self.new_state()
        self.edges[start].append((chars, target))
        return target

    def add_branches(self, branches, start):
        end = self.new_state()
        for branch in branches:
            self.silent[self.add(branch, start)].append(end)
        return end

    def add_repeat(self, low, high, body, start):
        for _ in range(low):
            start = self.add(body, start)
        if high == sre_constants.MAXREPEAT:
            loop = self.new_state()
            self.silent[start].append(loop)
            self.silent[self.add(body, loop)].append(loop)
            return loop
        end = self.new_state()
        for _ in range(high - low):
            self.silent[start].append(end)
            start = self.add(body, start)
        self.silent[start].append(end)
        return end

    def closure(self, states):
        """These states and all that silent edges lead to."""
        todo = list(states)
        seen = set(states)
        while todo:
            for target in self.silent[todo.pop()]:
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return frozenset(seen)

    def after(self, subset, char):
        """The subset of states after a character."""
        targets = []
        for state in subset:
            targets += [target for chars, target in self.edges[state] if char in chars]
        return self.closure(targets)

    def alike(self):
        """Lists of characters that every edge treats alike: one step serves all of a list."""
        charsets = set()
        for edges in self.edges:
            charsets.update(chars for chars, _ in edges)
        classes = {}
        for c in range(SIZE):
            memberships = tuple(c in chars for chars in charsets)
            classes.setdefault(memberships, []).append(c)
        return list(classes.values())


@functools.cache
def from_regex(pattern):
    """Automaton of the strings in which `pattern` is found.

    Raises ValueError for what it does not know: look-around, back references, anchors elsewhere
    than at the ends, characters beyond ASCII.
    """
    nfa = _Nfa(pattern)
    classes = nfa.alike()

    def follow(subset):
        targets = [None] * SIZE
        for chars in classes:
            target = nfa.after(subset, chars[0])
            for c in chars:
                targets[c] = target
        return targets

    return crawl(nfa.closure([nfa.first]), follow, lambda subset: nfa.last in subset)
