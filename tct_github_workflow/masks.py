"""Masks: what threads.advance() would say of every token, for all 8,192 at once.

Nothing here decides what is allowed. `thread_costs()` gives tokens_to_end() after each token, and
tests compare it with advance() token by token. It is quick for four reasons: tokens with the same
openers are handled as a group, by numpy; the closers of a group are priced once; keys after which
the same may come share their work; and what depends on the place alone is remembered.
"""

import numpy as np

from .alphabet import END, EOD, KEY_NAME
from .automaton import FAR
from .cache import Cache
from .json_text import MAX_DEPTH
from .name_costs import begins_names, first_names, is_before_key, read_tokens, role_here, with_names
from .names import NEEDS, OUTSIDE, PROMISING
from .text_costs import text_costs
from .threads import (
    BETWEEN,
    INSIDE_TEXT,
    NAME,
    TEXT,
    Frame,
    Thread,
    end_text,
    next_symbols,
    run_text,
    start_field,
    steps,
    text_starts,
    tokens_to_end,
)
from .token_table import token_table
from .vocab import VOCAB_SIZE

_place_costs = Cache(1024)  # of 32 KiB each
_first_names = Cache(1 << 12)
_costs_with_names = Cache(512)
_closing_costs = Cache(1 << 14)
_branches = Cache(1 << 14)
DEEP = MAX_DEPTH - 32  # from here on the depth itself matters: one token may reach the limit


def thread_costs(thread):
    """-> ((8192,) int32, base): tokens_to_end() after each token is costs + base.

    Of a token that is refused the cost is FAR or more. Read-only.
    """
    names = thread.names
    key, base = place_key(thread, bool(names.promised))
    costs = costs_of_place(thread, key, base)
    if thread.text is None:  # inside of a string that can be no name
        return costs, base + names.owed
    role = role_here(thread)
    if role == NEEDS and names.type:
        promising_key, _ = place_key(thread, promising=True)
        promising = costs_of_place(thread, promising_key, base)
        return with_names(thread, costs, base, promising), base + names.owed
    if begins_names(thread, role):
        first = _first_names.get(key, lambda: first_names(costs))
        costs = costs_with_first_names(thread, costs, base, key, first)
    return with_names(thread, costs, base), base + names.owed


def costs_with_first_names(thread, costs, base, key, first):
    """costs, with what the names so far change in the tokens with which some field begins."""
    if not first.ids:
        return costs
    known = tuple(thread.names.known(role) for role in first.roles)
    return _costs_with_names.get(
        (key, known), lambda: read_tokens(few_keys(thread), costs, base, first.ids)
    )


def place_key(thread, promising):
    """-> (what the costs of a place depend on, base).

    That is all but texts so far that may be names, most keys, and the ids of jobs and steps.
    promising: some job is promised, so that `jobs` cannot be closed.
    """
    around, base = surroundings(thread.frame)
    return (*place(thread), promising, around, max(0, thread.frame.depth - DEEP)), base


def costs_of_place(thread, key, base):
    """(8192,) int32: costs as if no text so far were a name, and with any ids of jobs and steps."""
    return _place_costs.get(key, lambda: place_costs(thread, promising=key[-3], base=base))


def place(thread):
    """What the remembered costs depend on, besides what is around the frame."""
    frame = thread.frame
    keys = None
    if is_before_key(thread):
        count = min(frame.count, frame.type.least)
        keys = (frame.type, frame.asked, frame.keys & frame.type.fixed_keys, count)
    elif thread.mode == BETWEEN:
        keys = (frame.type, min(frame.count, frame.type.least))
    automaton = thread.automaton
    shape = automaton.shape(thread.state) if automaton else None
    return thread.mode, thread.value, automaton, shape, keys


def surroundings(frame):
    """-> (all that the closers of one token can meet in this frame and around it, base).

    Costs in it count from `base` on, so that they are the same wherever a workflow stands.
    """
    chain = []
    for _ in range(token_table().most_closed + 1):
        chain.append(frame)
        if frame.parent is None:
            break
        frame = frame.parent
    base = frame.total
    around = [(f.closable, f.total - base, f.tail, f.depth == 1) for f in chain]
    return tuple(around), base


# --- what depends on the place alone -------------------------------------------------------------
def place_costs(thread, promising, base):
    """(8192,) int32: what costs_of_place() remembers."""
    costs = np.full(VOCAB_SIZE, FAR)
    thread = few_keys(thread)._replace(names=PROMISING if promising else OUTSIDE, role=None)
    if thread.mode in INSIDE_TEXT:
        no_name = None if thread.mode == TEXT else b"\0"
        add_group(costs, token_table().openers.leaf, thread._replace(text=no_name))
    else:
        add_openers(costs, [thread], token_table().openers)
    return np.where(costs < FAR, costs - base, FAR).astype(np.int32)


def few_keys(thread):
    """The thread with those keys alone on which the costs of a place depend."""
    if not is_before_key(thread):
        return thread
    frame = thread.frame
    keys = frame.keys & frame.type.fixed_keys
    return thread._replace(frame=Frame(frame.type, frame.parent, keys, frame.asked, frame.count))


def add_openers(costs, threads, trie):
    """Lowers the costs of all tokens whose openers lie in a trie, from threads at its root."""
    if trie.leaf:
        for thread in threads:
            add_group(costs, trie.leaf, thread)
    for symbol, rest in branches(threads, trie):
        after = steps(threads, symbol)
        if after:
            add_openers(costs, after, rest)


def branches(threads, trie):
    """[(symbol, trie after it)] that the threads may take.

    Keys of an object with values of one type, on which nothing else depends, count as one: what
    comes after them is the same, so their tries are merged after any one of them.
    """
    objects = tuple(t.frame.type for t in threads if is_before_key(t))
    allowed = frozenset().union(*map(next_symbols, threads)).intersection(trie.next)

    def make():
        alike = {}
        for symbol in allowed:
            alike.setdefault(what_follows(symbol, objects), []).append(symbol)
        found = []
        for symbols in alike.values():
            tries = tuple(trie.next[symbol] for symbol in symbols)
            found.append((symbols[0], token_table().merged_trie(tries)))
        return found

    return _branches.get((trie, objects, allowed), make)


def what_follows(symbol, objects):
    """The values after a key, on which nothing else depends; else the symbol itself."""
    name = KEY_NAME.get(symbol)
    if not name or any(name in obj.asked for obj in objects):
        return symbol
    return tuple(obj.field(name) for obj in objects)


# --- a group of tokens ---------------------------------------------------------------------------
def add_group(costs, group, thread):
    """Lowers the costs (8192,) of the ids in a group, from the thread after their openers."""
    if len(group.only_openers):
        lower(costs, group.only_openers.ids, tokens_to_end(thread))
    if len(group.only_closers):
        add_only_closers(costs, group, thread)
    if len(group.open_text) or len(group.ended_text):
        for start in text_starts(thread):
            add_texts(costs, group, start)


def lower(costs, ids, values):
    costs[ids] = np.minimum(costs[ids], values)


def add_only_closers(costs, group, thread):
    column = group.only_closers
    is_inside = thread.mode in INSIDE_TEXT
    for after in end_text(thread) if is_inside else [thread]:
        lower(costs, column.ids, closing_costs(after, group, is_inside)[column.closers])


def add_texts(costs, group, thread):
    """The tokens with a text, from a thread inside a text."""
    texts = text_costs(thread.automaton, thread.state)
    # text that is the whole name of a constant or key is no text: it may continue, never end
    named = None
    if thread.mode == NAME and not thread.text:
        named = "is_key"
    elif thread.mode == TEXT and thread.text == b"":
        named = "is_constant"
    add_open_text(costs, group.open_text, thread, texts, named)
    add_ended_text(costs, group, thread, texts, named)


def add_open_text(costs, column, thread, texts, named):
    values = texts.to_end[column.texts].astype(np.int64)
    if named:
        names = getattr(column, named)
        values[names] = texts.detour[column.texts[names]]
    refused = values >= FAR
    values += 1 + thread.frame.total
    if thread.value:
        values += thread.value.tokens
    values[refused] = FAR
    automaton = thread.automaton
    if thread.mode == NAME and automaton.words_left(automaton.start):
        for i in np.flatnonzero(values < FAR):  # only a few keys are possible: some may be taken
            after = run_text(thread, token_table().parts[column.ids[i]].text)
            values[i] = min(map(tokens_to_end, after), default=FAR)
    lower(costs, column.ids, values)


def add_ended_text(costs, group, thread, texts, named):
    column = group.ended_text
    accepted = texts.to_end[column.texts] == 0
    if named:
        accepted &= ~getattr(column, named)
    if not accepted.any():
        return
    after = [Thread(thread.frame, thread.names, BETWEEN)]
    if thread.mode == NAME:  # any key that is not there yet: what comes after is the same
        after = start_field(thread.frame, thread.names, "\0", thread.value)
    for end in after:
        values = closing_costs(end, group, ended=True)[column.closers]
        lower(costs, column.ids, np.where(accepted, values, FAR))


def closing_costs(thread, group, ended):
    """(n_closers,) tokens_to_end() after every sequence of a group's closers, FAR if refused.

    ended: the thread is already after their first END.
    """
    around, base = surroundings(thread.frame)
    key = (group, ended, thread.mode, thread.value, bool(thread.names.promised), around)
    return _closing_costs.get(key, lambda: price_closers(thread, group, ended, base)) + base


def price_closers(thread, group, ended, base):
    """(n_closers,) what closing_costs() remembers: costs from `base` on."""
    pricing = ClosersPricing(group.n_closers, base)
    trie = group.closers.next.get(END) if ended else group.closers
    if trie:
        pricing.walk([thread], trie)
    return pricing.costs


class ClosersPricing:
    """A walk over all sequences of closers at once."""

    def __init__(self, n_closers, base):
        self.costs = np.full(n_closers, FAR)
        self.base = base
        self.known = {}  # (frames after a whole value, closers after it) -> cost

    def cost(self, threads):
        return min(map(tokens_to_end, threads)) - self.base if threads else FAR

    def walk(self, threads, trie):
        if trie.leaf is not None:
            self.costs[trie.leaf] = self.cost(threads)
        for symbol in frozenset().union(*map(next_symbols, threads)).intersection(trie.next):
            after = steps(threads, symbol)
            if after and symbol > EOD:
                self.after_value(after, trie.next[symbol])
            elif after:
                self.walk(after, trie.next[symbol])

    def after_value(self, threads, trie):
        """After a whole value, of which there are many: the same comes after all of them."""
        frames = tuple(thread.frame for thread in threads)
        for closers, leaf in trie.inside:
            if (frames, closers) not in self.known:
                self.known[frames, closers] = self.cost(steps(threads, closers))
            self.costs[leaf] = self.known[frames, closers]
