"""Masks: what threads.advance() would say of every token, for all 8,192 at once.

Nothing here decides what is allowed. `thread_costs()` gives tokens_to_end() after each token, and
tests compare it with advance() token by token. It is quick for four reasons: tokens with the same
openers are handled as a group, by numpy; the closers of a group are priced once; keys after which
the same may come share their work; and what depends on the place alone is remembered.
"""

import numpy as np

from .alphabet import END, EOD, KEY_NAME
from .automaton import FAR
from .begun_references import with_begun_references
from .cache import Cache
from .frames import Frame
from .matrix_rows import after_computed, after_excluded, is_within_matrix
from .name_costs import (
    are_sure,
    begins_excluded,
    begins_names,
    costs_of_tokens,
    first_keys,
    first_names,
    is_before_key,
    read_tokens,
    reads_all,
    role_here,
    tokens_like,
    told_by_names,
    with_names,
)
from .names import any_names
from .reference_costs import any_key, costs_in_text
from .routes import COMPUTED, NEEDS
from .surroundings import surroundings
from .text_costs import text_costs
from .threads import (
    BETWEEN,
    INSIDE_TEXT,
    NAME,
    TEXT,
    end_string,
    end_text,
    next_symbols,
    run_text,
    start_field,
    steps,
    text_starts,
    tokens_of_ways,
    tokens_to_end,
)
from .token_table import spelled, token_table
from .vocab import VOCAB_SIZE

_place_costs = Cache(1024)  # of 32 KiB each
_first_names = Cache(1 << 12)
_costs_with_names = Cache(512)
_added_by_names = Cache(1 << 10)
_closing_costs = Cache(1 << 14)
_branches = Cache(1 << 14)
ROOM = 512  # tokens: no name, and no job that it promises, costs as many
NEAR = 32  # so many levels below the limit of nesting the depth matters: a token may reach it


def thread_costs(thread, tokens_left=None):
    """-> ((8192,) int32, base): tokens_to_end() after each token is costs + base.

    Of a token that is refused the cost is FAR or more. tokens_left: of the budget; where these are
    plenty, or None, the cost of a token that is allowed may be off by up to ROOM. Read-only.
    """
    names = thread.names
    is_promising = bool(names.promised)
    key, base = place_key(thread, is_promising, names.pending)
    has_room = tokens_left is None or tokens_left - base - names.owed > ROOM
    is_text = thread.mode in INSIDE_TEXT
    uses_names = is_text and names.known_names and thread.automaton.is_expression
    if uses_names:
        costs = costs_in_text(thread, base, key, costs_if_pending)
    else:
        costs = costs_of_place(thread, key, base)
    if thread.text is None:  # inside of a string that can be no name
        return costs, base + names.owed
    role = role_here(thread)
    if role == NEEDS and names.type:
        promising = costs_if(thread, True, names.pending)
        costs = with_names(thread, costs, base, has_room, promising)
        return costs, base + names.owed
    alone = costs
    if begins_names(thread, role):
        first = _first_names.get(key, lambda: first_names(thread, costs))
        costs = costs_with_first_names(thread, costs, base, key, first, has_room)
    costs = with_names(thread, costs, base, has_room)
    if names.known_names and not is_text:
        few = few_keys(thread, keeps_routes=True)
        costs = with_begun_references(few, alone, costs, base, key, costs_if_pending)
    if begins_excluded(thread):
        costs = with_excluded(thread, costs, base, tokens_left)
    return costs, base + names.owed


def with_excluded(thread, costs, base, tokens_left):
    """costs, with those of tokens that name a key to exclude: the matrix may lack it so far."""
    if reads_all(thread):
        return costs  # each was read
    names = thread.names
    lacking, _ = thread_costs(thread._replace(names=after_excluded(names, None)), tokens_left)
    if thread.mode == NAME:
        result = lacking
        ids = tokens_like(names.rows, spelled(thread.text), str.upper)
    else:
        keys = first_keys()
        result = costs.copy()
        result[keys.ids] = lacking[keys.ids]
        ids = []
        for row in names.rows:
            ids += keys.by_row.get(row, [])
    ids = [token for token in ids if costs[token] < FAR]
    return read_tokens(thread, result, base, ids)


def costs_if_pending(thread, pending):
    """costs_of_place() if names of these contexts were wanted."""
    return costs_if(thread, bool(thread.names.promised), pending)


def costs_if(thread, is_promising, pending):
    """The same if some job were promised, or none."""
    key, base = place_key(thread, is_promising, pending)
    return costs_of_place(thread, key, base)


def costs_with_first_names(thread, costs, base, key, first, has_room):
    """costs, with what the names so far change in the tokens with which some field begins."""
    names = thread.names
    tokens = first.changed_by(names)
    if not tokens:
        return costs
    known = tuple(names.known(role) for role in first.roles)

    def make():
        few = few_keys(thread, names.pending)
        result = costs.copy()
        ids = [token for _, token in tokens]
        if has_room and are_sure(thread):
            refused, ids = told_by_names(thread, tokens)
            result[refused] = FAR
        if names.pending:
            return read_tokens(few, result, base, ids)
        return costs_more(few, result, base, ids, known)

    return _costs_with_names.get((key, known, has_room), make)


def costs_more(thread, costs, base, ids, known):
    """costs, with what some names that are known add to those of some tokens.

    It is the same at all places where such a token may come, so each token is read at one of them.
    """
    key = (thread.mode, thread.value, thread.frame.type, known)
    added = _added_by_names.get(key, dict)
    new = [token for token in ids if token not in added]
    costs_of_new = costs_of_tokens(thread, base, new)
    for token, cost in zip(new, costs_of_new, strict=True):
        added[token] = FAR if cost >= FAR else cost - costs[token]
    more = [added[token] for token in ids]
    result = costs.copy()
    result[ids] = np.minimum(costs[ids] + more, FAR)
    return result


def place_key(thread, is_promising, pending):
    """-> (what the costs of a place depend on, base).

    That is all but texts so far that may be names, most keys, and the ids of jobs and steps.
    is_promising: some job is promised, so that `jobs` cannot be closed. pending: contexts of which
    a name is wanted.
    """
    frame = thread.frame
    around, base = surroundings(frame, pending)
    deep = max(0, frame.depth + NEAR - frame.most)
    return (*place(thread, pending), around, deep, is_promising, pending), base


def costs_of_place(thread, key, base):
    """(8192,) int32: costs as if no text so far were a name, and with any ids of jobs and steps."""
    *_, is_promising, pending = key
    names = any_names(is_promising, pending)
    return _place_costs.get(key, lambda: place_costs(thread, names, base))


def place(thread, pending):
    """What the remembered costs depend on, besides what is around the frame."""
    frame = thread.frame
    keys = None
    if thread.mode == BETWEEN:
        keys = (frame.type, min(frame.count, frame.type.least))
    if is_before_key(thread):
        relevant = frame.keys & relevant_keys(frame, pending)
        keys = (*keys, frame.asked, relevant)
    automaton = thread.automaton
    shape = automaton.shape(thread.state) if automaton else None
    is_computed = thread.role == COMPUTED
    return thread.mode, thread.value, automaton, shape, is_computed, keys


def relevant_keys(frame, keeps_routes):
    """The keys of an object on which the costs of a place depend, or the way to names, too."""
    obj = frame.type
    return obj.fixed_keys | obj.route_keys if keeps_routes else obj.fixed_keys


# --- what depends on the place alone -------------------------------------------------------------
def place_costs(thread, names, base):
    """(8192,) int32: what costs_of_place() remembers, with any_names()."""
    costs = np.full(VOCAB_SIZE, FAR)
    openers = token_table().openers
    role = COMPUTED if thread.role == COMPUTED else None
    thread = thread._replace(names=names, role=role, reading=None)
    thread = few_keys(thread, names.pending)
    if thread.mode in INSIDE_TEXT:
        no_name = None if thread.mode == TEXT else b"\0"
        thread = thread._replace(text=no_name)
        add_group(costs, openers.leaf, thread)
    else:
        add_openers(costs, [thread], openers)
    return np.where(costs < FAR, costs - base, FAR).astype(np.int32)


def few_keys(thread, keeps_routes):
    """The thread with relevant_keys() alone."""
    if not is_before_key(thread):
        return thread
    frame = thread.frame
    keys = frame.keys & relevant_keys(frame, keeps_routes)
    frame = Frame(frame.type, frame.parent, keys, frame.asked, frame.count)
    return thread._replace(frame=frame)


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
    allowed = symbols_after(threads, trie)

    def make():
        alike = {}
        for symbol in allowed:
            follows = what_follows(symbol, objects)
            alike.setdefault(follows, []).append(symbol)
        found = []
        for symbols in alike.values():
            tries = tuple(trie.next[symbol] for symbol in symbols)
            merged = token_table().merged_trie(tries)
            found.append((symbols[0], merged))
        return found

    return _branches.get((trie, objects, allowed), make)


def symbols_after(threads, trie):
    """The symbols of a trie that some of the threads may take."""
    symbols = frozenset().union(*map(next_symbols, threads))
    return symbols.intersection(trie.next)


def what_follows(symbol, objects):
    """The values after a key, on which nothing else depends; else the symbol itself."""
    name = KEY_NAME.get(symbol)
    if not name:
        return symbol
    for obj in objects:
        if name in obj.asked or obj.fold(name) in obj.route_keys:
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
        values = closing_costs(after, group, is_inside)[column.closers]
        lower(costs, column.ids, values)


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
    if thread.names.pending:
        values += tokens_of_ways(thread)
    values[refused] = FAR
    automaton = thread.automaton
    if thread.mode == NAME and automaton.words_left(automaton.start):
        for i in np.flatnonzero(values < FAR):  # only a few keys are possible: some may be taken
            token = token_table().parts[column.ids[i]]
            after = run_text(thread, token.text)
            values[i] = min(map(tokens_to_end, after), default=FAR)
    lower(costs, column.ids, values)


def add_ended_text(costs, group, thread, texts, named):
    column = group.ended_text
    accepted = texts.to_end[column.texts] == 0
    if named:
        accepted &= ~getattr(column, named)
    if not accepted.any():
        return
    for after, chosen in ends_of_text(thread, column, accepted):
        for end in after:
            values = closing_costs(end, group, ended=True)[column.closers]
            values = np.where(chosen, values, FAR)
            lower(costs, column.ids, values)


def ends_of_text(thread, column, accepted):
    """[(threads after the END of a text, which texts (n,) of a column lead there)].

    accepted: (n,) bool, the texts that may end.
    """
    frame, names = thread.frame, thread.names
    if thread.mode == NAME:  # any key that is not there yet: what comes after is the same
        key = any_key(thread.automaton)
        return [(start_field(frame, names, key, thread.value), accepted)]
    plain = end_string(frame, names, thread.role, "")
    if not is_within_matrix(names) or not thread.automaton.is_expression:
        return [(plain, accepted)]
    computed = end_string(frame, after_computed(names), thread.role, "")
    is_computed = np.zeros(len(accepted), bool)
    for i in np.flatnonzero(accepted):
        text = token_table().texts[column.texts[i]]
        after = thread.automaton.run(thread.state, text)
        is_computed[i] = thread.automaton.computes(after)
    return [(plain, accepted & ~is_computed), (computed, accepted & is_computed)]


def closing_costs(thread, group, ended):
    """(n_closers,) tokens_to_end() after every sequence of a group's closers, FAR if refused.

    ended: the thread is already after their first END.
    """
    names = thread.names
    is_promising = bool(names.promised)
    around, base = surroundings(thread.frame, names.pending)
    key = (group, ended, thread.mode, thread.value, is_promising, names.pending, around)
    costs = _closing_costs.get(key, lambda: price_closers(thread, group, ended, base))
    return costs + base


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
        if not threads:
            return FAR
        return min(map(tokens_to_end, threads)) - self.base

    def walk(self, threads, trie):
        if trie.leaf is not None:
            self.costs[trie.leaf] = self.cost(threads)
        for symbol in symbols_after(threads, trie):
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
