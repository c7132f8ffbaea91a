"""Which token may come next so that a schema-valid workflow can still be completed: exactly those, in any order of keys.

The matcher walks the grammar of grammar.py along the linearised string of codec.py. Where several alternatives are still possible it
follows all of them: a state is a list of threads, each of which can be completed on its own. So a token is allowed if and only if
some thread survives it.
"""

import functools
import re
from collections import OrderedDict, namedtuple

import numpy as np

from . import codec
from .automaton import FAR, PHASES
from .codec import (
    ARRAY,
    CLOSE,
    END,
    EOD,
    ESC,
    KEY,
    KEY_NAME,
    MAX_DEPTH,
    NUMBER,
    OBJECT,
    PAD,
    VOCAB_SIZE,
)
from .errors import DecodeError
from .grammar import CONSTANT_WORDS, EMPTY, KEY_WORDS, NUMBERS, ArrayType, grammar

# === 1. tokens ====================================================================================================================
# Every token is `openers* text closers*` (codec.PIECES), so all are taken apart once. Tokens with the same openers form a group, in which
# numpy handles all texts at once; the closers are few. A mask takes some hundred steps in Python, not 8191.
Group = namedtuple("Group", "rows plain empty bare ended closers n_closers constants keys")
# rows: [(id, text, closers)], of which the rest is made. plain: ids of nothing but openers. empty: (ids, closers) without text. bare: (ids, texts) without closers. ended: (ids, texts, closers).
# closers: a trie of the group's n_closers sequences of closers. constants, keys: (which of bare, which of ended) have the whole name of a
# constant or key as their text
Tables = namedtuple("Tables", "parts openers group n_texts columns by_text by_opener deepest")
# parts: (openers, text, closers) of each id. openers: a trie; group: makes a Group of rows. A trie is {symbol: trie, None: Group or index, "": [(rest of a sequence, its
# Group or index)]}. columns: byte i of every text that has one, longest first. by_text: {(text, ends): ids without openers}. by_opener:
# {symbol: ids that begin with it}. deepest: most closers in one token


@functools.cache
def tables():
    parts = []
    for token in codec.vocab().bytes:
        token = token.replace(
            ESC.encode(), b"\xee"
        )  # no other symbol is followed by EF, and ESC always is (codec.py)
        pieces = re.fullmatch(
            rb"((?:\xee[\x80-\xbf]{2})*)((?:[^\xee]|\xee(?![\x80-\xbf]))*)((?:\xee[\x80-\xbf]{2})*)",
            token,
            re.S,
        )
        before, text, behind = (pieces[1].decode(), pieces[2], pieces[3].decode())
        cut = (
            next((i for i, s in enumerate(before) if s >= END), len(before))
            if not behind and not text
            else len(before)
        )
        before, behind = before[:cut], before[cut:] + behind
        assert all(s < END for s in before) and all(s >= END for s in behind), (
            f"{token!r} is not openers, text, closers"
        )
        parts.append((before, text, behind))
    texts = {
        t: i for i, t in enumerate(sorted({t for _, t, _ in parts}, key=lambda t: (-len(t), t)))
    }
    rows, by_text, by_opener = {}, {}, {k: [] for k in KEY_NAME}
    for token, (before, text, behind) in enumerate(parts):
        rows.setdefault(before, []).append((token, text, behind))
        by_opener.get(before[:1], []).append(token)
        if not before:
            by_text.setdefault((text, behind[:1] == END), []).append(token)

    def group(rows):
        closers = {c: i for i, c in enumerate(dict.fromkeys(c for _, _, c in rows))}

        def columns(rows, n):
            return [
                np.array([(i, texts[t], closers[c])[k] for i, t, c in rows], np.int64)
                for k in range(n)
            ], [t for _, t, _ in rows]

        (plain,), _ = columns([r for r in rows if not r[1] and not r[2]], 1)
        (empty, _, behind), _ = columns([r for r in rows if not r[1] and r[2]], 3)
        bare, bare_texts = columns([r for r in rows if r[1] and not r[2]], 2)
        ended, ended_texts = columns([r for r in rows if r[1] and r[2]], 3)
        whole = [
            tuple(
                np.array([t in names for t in found], bool) for found in (bare_texts, ended_texts)
            )
            for names in (CONSTANT_WORDS, KEY_WORDS)
        ]
        return Group(rows, plain, (empty, behind), bare, ended, trie(closers), len(closers), *whole)

    def trie(sequences):
        root = {}
        for sequence, leaf in sequences.items():
            node = root
            for i, symbol in enumerate(sequence, 1):
                node = node.setdefault(symbol, {"": []})
                node[""].append((sequence[i:], leaf))
            node[None] = leaf
        return root

    columns = [
        np.frombuffer(bytes(t[i] for t in texts if len(t) > i), np.uint8)
        for i in range(len(next(iter(texts))))
    ]
    return Tables(
        parts,
        trie({p: group(r) for p, r in rows.items()}),
        group,
        len(texts),
        columns,
        by_text,
        by_opener,
        max(c.count(CLOSE) for _, _, c in parts),
    )


@functools.lru_cache(256)
def text_ends(dfa, state):
    """(n_texts,) state of dfa.bytes behind every text from `state`, -1 where no accepted text goes on so."""
    ends = np.full(tables().n_texts, state, np.int32)
    for column in tables().columns:
        here = ends[: len(column)]
        here[:] = np.where(here >= 0, dfa.bytes[here, column], -1)
    return ends


# === 2. threads ===================================================================================================================
class Frame:
    """An open object or array. Immutable: a new field or item makes a new one. used: keys that are symbols; texts: the other keys, as
    bytes; total: tokens that close it and all around it."""

    __slots__ = (
        "type",
        "used",
        "texts",
        "count",
        "parent",
        "depth",
        "closable",
        "total",
        "levels",
        "tail",
        "next",
    )

    def __init__(self, type, parent, used=EMPTY, texts=EMPTY, count=0):
        self.type, self.parent, self.used, self.texts, self.count = type, parent, used, texts, count
        self.depth, self.next = parent.depth + 1 if parent else 1, None
        if isinstance(type, ArrayType):
            missing = max(0, type.least - count)
            tokens, self.levels = 1 + missing * type.items.tokens, type.items.levels * bool(missing)
            self.tail = (
                type.items,
                min(count, type.least),
            )  # all that closers can meet, besides closable and total
        else:
            tokens, self.levels = type.close(used & type.asked, min(count, type.least))
            self.tail = (
                (type, used & type.asked, min(count, type.least))
                if type.unnamed and b"" not in texts
                else None
            )
        self.closable = tokens == 1
        self.total = tokens + (parent.total if parent else 0)

    def fits(self):
        """Can be completed at all: some clause is left, and nesting stays within what decode reads."""
        return self.total < FAR and self.depth + self.levels <= MAX_DEPTH

    def item(self):
        """This array with one item more; how many there are matters up to minItems only."""
        if self.next is None:
            self.next = (
                self
                if self.count >= self.type.least
                else Frame(self.type, self.parent, count=self.count + 1)
            )
        return self.next

    def field(self, name, text=None):
        """This object with one key more."""
        used = self.used if text is not None and name not in self.type.asked else self.used | {name}
        return Frame(
            self.type,
            self.parent,
            used,
            self.texts if text is None else self.texts | {text},
            self.count + 1,
        )


# One way of reading the tokens so far. mode BETWEEN: behind a finished field or item; VALUE: before a value, of type `value`; TEXT,
# DIGITS, NAME: inside a string, a number, a key that is text (`value` then is the type behind it); DONE. dfa, state: of that text;
# text: its bytes so far (None for a string that can no longer become a constant). `frame` counts the field or item as there.
Thread = namedtuple("Thread", "frame mode value dfa state text", defaults=(None, None, 0, b""))
BETWEEN, VALUE, TEXT, DIGITS, NAME, DONE = range(6)
CONSTANT_STARTS, KEY_STARTS = (
    {w[:i] for w in words for i in range(len(w) + 1)} for words in (CONSTANT_WORDS, KEY_WORDS)
)


def start_value(frame, value, symbol):
    """Threads behind the first symbol of a value of that type."""
    if symbol in value.scalars or symbol in value.constants:
        return [Thread(frame, BETWEEN)]
    if symbol == NUMBER:
        return [Thread(frame, DIGITS, None, NUMBERS)] if value.number else []
    if symbol == OBJECT or symbol == ARRAY:
        opened = [Frame(t, frame) for t in (value.objects if symbol == OBJECT else value.arrays)]
        return [Thread(f, BETWEEN) for f in opened if f.fits()]
    return []


def step(thread, symbol):
    """Threads behind one symbol."""
    frame, mode = thread.frame, thread.mode
    if mode == VALUE and symbol != END:
        return start_value(frame, thread.value, symbol)
    if mode == BETWEEN:
        if symbol == CLOSE or symbol == EOD:
            if not frame.closable or (symbol == EOD) != (frame.parent is None):
                return []
            return [Thread(frame.parent, BETWEEN if symbol == CLOSE else DONE)]
        if isinstance(frame.type, ArrayType) and symbol != END:
            value = frame.type.items
            return (
                start_value(frame.item(), value, symbol)
                if frame.depth + value.levels <= MAX_DEPTH
                else []
            )
        if symbol in KEY_NAME:
            return field(frame, KEY_NAME[symbol])
    return [t for start in text_starts(thread) for t in end_text(start)] if symbol == END else []


def steps(threads, symbols):
    """Threads behind some symbols, one after the other."""
    for symbol in symbols:
        threads = [n for t in threads for n in step(t, symbol)]
    return threads


def field(frame, name, value=None, text=None):
    """Threads behind a key."""
    value = value or frame.type.field(name)
    if not value or name in frame.used or frame.depth + value.levels > MAX_DEPTH:
        return []
    frame = frame.field(name, text)
    return [Thread(frame, VALUE, value)] if frame.fits() else []


def symbols(thread):
    """Symbols that step may take, and few others."""
    if thread.mode == BETWEEN:
        array = isinstance(thread.frame.type, ArrayType)
        return thread.frame.type.items.symbols | {CLOSE} if array else thread.frame.type.symbols
    return thread.value.symbols if thread.mode == VALUE else {END}


def text_starts(thread):
    """Threads inside a text, where a text may stand or go on."""
    frame, mode, value = thread.frame, thread.mode, thread.value
    if mode in (TEXT, DIGITS, NAME):
        return [thread]
    if mode == BETWEEN and not isinstance(frame.type, ArrayType):
        return [
            Thread(frame, NAME, v, dfa)
            for dfa, v in frame.type.rest
            if dfa.live[0] and frame.depth + v.levels <= MAX_DEPTH
        ]
    if mode == BETWEEN:
        frame, value = frame.item(), frame.type.items
    return [Thread(frame, TEXT, None, value.strings)] if value and value.strings.live[0] else []


def run_text(thread, text):
    """Threads behind some bytes of text."""
    found = []
    for t in text_starts(thread):
        state = t.dfa.run_bytes(t.state, text)
        if state >= 0:
            whole = t.text + text if t.text is not None else None
            if (
                t.mode == NAME
                and state % PHASES == 0
                and t.dfa.finite[state // PHASES]
                and not any(end_name(t, whole + w) for w in t.dfa.rest(state // PHASES))
            ):
                continue  # every key that this can become is taken
            found.append(
                t._replace(
                    state=state, text=whole if t.mode == NAME or whole in CONSTANT_STARTS else None
                )
            )
    return found


def end_text(thread):
    """Threads behind the END of a text: none where it is not accepted, has a symbol of its own or repeats a key."""
    frame, mode, value, dfa, state, text = thread
    if state % PHASES or not dfa.accept[state // PHASES]:
        return []
    if mode == NAME:
        return end_name(thread, text)
    return [] if mode == TEXT and text in CONSTANT_WORDS else [Thread(frame, BETWEEN)]


def end_name(thread, text):
    """Threads behind a whole key spelt as text."""
    if text in KEY_WORDS or text in thread.frame.texts:
        return []
    return field(
        thread.frame,
        codec._unescape(text.replace(b"\xee", ESC.encode()).decode()),
        thread.value,
        text,
    )


def tokens_to_end(thread):
    """Tokens that complete the workflow from here: the shortest way spelt in symbols and bytes, each of which is a token."""
    frame, mode, value, dfa, state, text = thread
    if mode == DONE:
        return 0
    if mode == BETWEEN or mode == VALUE:
        return frame.total + (value.tokens if value else 0)
    taken = (
        text in CONSTANT_WORDS
        if mode == TEXT
        else mode == NAME and (text in KEY_WORDS or text in frame.texts)
    )
    rest = dfa.detour[state // PHASES] if taken and not state % PHASES else dfa.bytes_to_end[state]
    return int(rest) + 1 + frame.total + (value.tokens if value else 0)


# === 3. masks =====================================================================================================================
def surroundings(frame):
    """-> (all that closers of one token can meet in this frame and around it, with costs from `base` on, base)."""
    chain = []
    for _ in range(tables().deepest + 1):
        chain.append((frame.closable, frame.total, frame.tail, frame.depth))
        base, frame = frame.total, frame.parent
        if frame is None:
            break
    return tuple(
        (closable, total - base, tail, depth == 1) for closable, total, tail, depth in chain
    ), base


_closing, CLOSING = OrderedDict(), 1 << 14  # -> (n_closers,) costs


def remember(cache, limit, key, make):
    """cache[key], made if it is not there; the least recently used one leaves."""
    if key in cache:
        cache.move_to_end(key)
    else:
        cache[key] = make()
        if len(cache) > limit:
            cache.popitem(last=False)
    return cache[key]


def closing_costs(thread, group, ended):
    """(n_closers,) tokens_to_end behind every sequence of a group's closers, FAR if refused. ended: the thread is behind their first END."""
    around, base = surroundings(thread.frame)

    def make():
        costs = np.full(group.n_closers, FAR)

        def cost(threads):
            return min(map(tokens_to_end, threads)) - base if threads else FAR

        def walk(threads, trie):
            if None in trie:
                costs[trie[None]] = cost(threads)
            known = {}
            for symbol in trie.keys() & frozenset().union(*map(symbols, threads)):
                after = steps(threads, symbol)
                if (
                    after and symbol > EOD
                ):  # a whole value, of which there are many: what comes behind them is the same
                    place = tuple(t.frame for t in after)
                    for rest, index in trie[symbol][""]:
                        if (place, rest) not in known:
                            known[place, rest] = cost(steps(after, rest))
                        costs[index] = known[place, rest]
                elif after:
                    walk(after, trie[symbol])

        walk([thread], group.closers.get(END, {}) if ended else group.closers)
        return costs

    return (
        remember(_closing, CLOSING, (id(group), ended, thread.mode, thread.value, around), make)
        + base
    )


def add_group(costs, group, thread):
    """costs (8192,) of the ids in a group, from the thread behind their openers."""

    def lower(ids, values):
        costs[ids] = np.minimum(costs[ids], values)

    if len(group.plain):
        lower(group.plain, tokens_to_end(thread))
    if len(group.empty[0]):
        ended = thread.mode in (TEXT, DIGITS, NAME)
        for t in end_text(thread) if ended else [thread]:
            lower(group.empty[0], closing_costs(t, group, ended)[group.empty[1]])
    for t in text_starts(thread) if len(group.bare[0]) or len(group.ended[0]) else ():
        dfa, ends, names = t.dfa, text_ends(t.dfa, t.state), None
        if (
            not t.text and t.mode != DIGITS
        ):  # a whole name is no text: longer by a detour, never ended
            names = (
                group.keys if t.mode == NAME else group.constants if t.text is not None else None
            )
        ids, texts = group.bare
        state = ends[texts]
        values = np.where(
            state >= 0,
            dfa.bytes_to_end[state] + (1 + t.frame.total + (t.value.tokens if t.value else 0)),
            FAR,
        )
        if names:
            values[names[0]] += np.where(
                values[names[0]] < FAR, dfa.detour[state[names[0]] // PHASES], 0
            )
        if t.mode == NAME and dfa.finite[0]:  # only a few keys are possible: some may be taken
            for i in np.flatnonzero(values < FAR):
                values[i] = min(
                    map(tokens_to_end, run_text(t, tables().parts[ids[i]][1])), default=FAR
                )
        lower(ids, values)
        ids, texts, closers = group.ended
        state = ends[texts]
        accepted = (state >= 0) & (state % PHASES == 0) & dfa.accept[state // PHASES]
        if names:
            accepted &= ~names[1]
        if accepted.any():
            for behind in (
                field(t.frame, "\0", t.value, b"\0")
                if t.mode == NAME
                else [Thread(t.frame, BETWEEN)]
            ):
                lower(ids, np.where(accepted, closing_costs(behind, group, True)[closers], FAR))


def merged(tries):
    """One trie for several: what it holds at a place is a Group of all their tokens there."""
    groups = [t[None] for t in tries if None in t]
    whole = {None: tables().group([row for g in groups for row in g.rows])} if groups else {}
    for symbol in frozenset().union(*tries) - {None, ""}:
        inner = [t[symbol] for t in tries if symbol in t]
        whole[symbol] = inner[0] if len(inner) == 1 else merged(inner)
    return whole


_branches = {}  # -> what branches() returns; never dropped, as tries are known by their id


def branches(threads, trie):
    """[(symbol, trie behind it)] that the threads may take. Keys of an object with values of one type, on which nothing else depends, count as one:
    what comes behind them is the same, so their tries are merged behind any one of them."""
    fields = [
        t.frame.type
        for t in threads
        if t.mode == BETWEEN and not isinstance(t.frame.type, ArrayType)
    ]
    allowed = frozenset().union(*map(symbols, threads)).intersection(trie)
    place = id(trie), *fields, allowed
    if place not in _branches:
        alike = {}
        for symbol in allowed:
            name = KEY_NAME.get(symbol)
            kind = (
                tuple(f.field(name) for f in fields)
                if name and not any(name in f.asked for f in fields)
                else symbol
            )
            alike.setdefault(kind, []).append(symbol)
        _branches[place] = [
            (found[0], trie[found[0]] if len(found) == 1 else merged([trie[s] for s in found]))
            for found in alike.values()
        ]
    return _branches[place]


_masks, MASKS = OrderedDict(), 512  # -> (8192,) costs; 32 KiB each


def thread_costs(thread):
    """(8192,) int32, and what to add to it: tokens_to_end behind each id, FAR or more for refused ids. Read-only.

    Cached by all that matters: the place, those used keys that something else depends on, and of the frames around it, as deep as one
    token can close, whether they may be closed and what they cost."""
    frame, mode, value, dfa, state, text = thread
    around, base = surroundings(frame)
    fields, place = mode == BETWEEN and not isinstance(frame.type, ArrayType), None
    if fields:  # of the keys so far only these in what is cached; the others are struck out below
        core = frame.used & frame.type.asked, frame.texts & (frame.type.listed | {b""}), frame.count
        place = (frame.type, *core[:2], min(frame.count, frame.type.least))
    elif mode == BETWEEN:
        place = frame.type, min(frame.count, frame.type.least)

    def make():
        costs = np.full(VOCAB_SIZE, FAR)

        def walk(threads, trie):
            for t in threads if None in trie else ():
                add_group(costs, trie[None], t)
            for symbol, rest in branches(threads, trie):
                behind = steps(threads, symbol)
                if behind:
                    walk(behind, rest)

        if mode in (
            TEXT,
            DIGITS,
            NAME,
        ):  # with a text that is no name; what it really is comes below
            walk(
                [thread._replace(text=None if mode == TEXT else b"\0")],
                {None: tables().openers[None]},
            )
        else:
            walk(
                [
                    thread._replace(frame=Frame(frame.type, frame.parent, *core))
                    if fields
                    else thread
                ],
                tables().openers,
            )
        return np.where(costs < FAR, costs - base, FAR).astype(np.int32)

    deep = max(0, frame.depth - MAX_DEPTH + 32)
    costs = remember(_masks, MASKS, (mode, value, dfa, state, place, around, deep), make)
    # what the text so far, or the keys of just this object, rule out besides
    taken = []
    if mode == TEXT and text:
        taken = [w[len(text) :] for w in CONSTANT_WORDS if w.startswith(text)]
    elif mode == NAME:
        names = frame.texts | frame.type.asked_texts
        taken = [
            w[len(text) :]
            for w in (KEY_WORDS | names if text in KEY_STARTS else names)
            if w.startswith(text)
        ]
    elif fields:
        taken = frame.texts | frame.type.asked_texts
    used = frame.used - core[0] if fields else ()
    if taken or used:
        costs = costs.copy()
        for name in used:
            costs[tables().by_opener[KEY[name]]] = FAR
        for word in taken:
            for token in tables().by_text.get((word, True), []) + tables().by_text.get(
                (word, False), []
            ):
                costs[token] = min(
                    (tokens_to_end(t) - base for t in advance([thread], token)), default=FAR
                )
        if mode == NAME and dfa.finite[0]:
            for token in np.flatnonzero(costs < FAR):
                costs[token] = min(
                    (tokens_to_end(t) - base for t in advance([thread], token)), default=FAR
                )
    return costs, base


def advance(threads, token):
    """Threads behind a token: openers, text, closers."""
    openers, text, closers = tables().parts[token]
    threads = steps(threads, openers)
    if text:
        threads = [n for t in threads for n in run_text(t, text)]
    return steps(threads, closers)


@functools.cache
def warm_up():
    """What the first masks of a process would spend their time on, once: 0.2 s."""
    for value in grammar().values.values():
        for dfa in [value.strings, *(dfa for o in value.objects for dfa, _ in o.rest)]:
            if dfa.live[0]:
                text_ends(dfa, 0), dfa.bytes_to_end
        for o in value.objects:
            thread_costs(Thread(Frame(o, None), BETWEEN))


class Matcher:
    """Where a workflow stands after some tokens, and what may follow. Names follow XGrammar's GrammarMatcher.

    `tokens_left`, where given, is how many tokens may still come, the next one included: then only those are allowed behind which the
    workflow can be completed within the rest, spelt in symbols and bytes if need be (a bound that min_tokens() gives and that a budget
    which starts at min_tokens() or more never breaks)."""

    def __init__(self, prefix=()):
        """At the start of a workflow, or behind the ids `prefix`. Raises DecodeError where no valid workflow begins so."""
        warm_up()
        self.threads = [Thread(Frame(t, None), BETWEEN) for t in grammar().root.objects]
        for i, token in enumerate(prefix):
            if not self.accept_token(token):
                raise DecodeError(f"token {i}: no valid workflow goes on with {token!r} here")

    def accept_token(self, token, tokens_left=None):
        """Takes the token, or returns False and stays where it was."""
        if not 0 <= token < PAD:
            return False
        threads = advance(self.threads, token)
        if tokens_left is not None:
            threads = [t for t in threads if tokens_to_end(t) < tokens_left]
        if threads:
            self.threads = threads
        return bool(threads)

    def next_token_mask(self, out=None, tokens_left=None):
        """(8192,) bool array, or the row `out` filled: True for exactly the ids that accept_token would take."""
        out = np.zeros(VOCAB_SIZE, bool) if out is None else out
        out[:] = False
        for t in self.threads:
            if t.mode != DONE:
                costs, base = thread_costs(t)
                out |= costs < (
                    FAR if tokens_left is None else max(0, min(FAR, tokens_left - base))
                )
        return out

    def is_terminated(self):
        """The workflow is complete: nothing may follow."""
        return self.threads[0].mode == DONE

    def min_tokens(self):
        """That many tokens are enough to complete the workflow; 0 when it is complete."""
        return min(map(tokens_to_end, self.threads))

    def fork(self):
        """An independent copy, at once: states are shared and never change."""
        copy = object.__new__(Matcher)
        copy.threads = self.threads
        return copy
