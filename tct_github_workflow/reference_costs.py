"""What the names that expressions use change in the costs of a place (masks.py).

A token costs more, or is refused, where its text uses or begins a name that is not there yet:
steps.x, needs.x, matrix.x, inputs.x, jobs.x. Such tokens are few, but for right after the dot.
"""

import functools
import itertools
import re
from typing import NamedTuple

import numpy as np

from .automaton import FAR
from .cache import Cache
from .clean_names import CleanNames
from .known_names import (
    ESCAPE,
    FREE_KEYS,
    MAX_ID,
    NO_MATRIX_KEYS,
    OPENING,
    PATH,
    PROPERTY,
    READ_OF,
    KnownNames,
    Reading,
    cost_of_name,
    name_in_index,
    tokens_to_finish,
    use_all,
)
from .name_costs import costs_of_tokens, read_tokens
from .reading import MENTION, end_of_reading, follow_names, places_of
from .routes import ANYTHING, MEMBERS
from .surroundings import ways_around
from .text_costs import text_costs
from .threads import NAME
from .token_table import token_table

_in_text = Cache(1024)
_changes = Cache(1 << 12)
_equal_changes = Cache(1 << 12)
_mentions = Cache(1 << 12)
_changes_of = Cache(1 << 12)
FEW = 16  # so many tokens are sooner read one by one than all of a place
JOBS_FIELD = KnownNames._fields.index("jobs")
# of a text: what continues a name, or begins one after a dot
LEAD = re.compile(rb"([A-Za-z0-9_-]*)")
FIRST_LEAD = re.compile(rb"[ \t\r\n]*([A-Za-z0-9_-]*)")
STAR_FIRST = re.compile(rb"[ \t\r\n]*\*")
OUTPUTS = re.compile(rb"(?i)outputs[ \t\r\n]*\.")


def any_key(automaton):
    """A key that stands for all those that an automaton accepts."""
    return OPENING if automaton.is_expression else "\0"


class Changes:
    """What the names that texts use change in the costs of tokens. Known by its identity."""

    def __init__(self, changes):
        """changes: ((ids, contexts that are pending then, tokens more), ...)."""
        self.ids = []
        by_pending = {}
        for ids, pending, more in changes:
            self.ids.extend(ids)
            changed = by_pending.setdefault(pending, ([], []))
            changed[0].extend(ids)
            changed[1].extend([more] * len(ids))
        self.by_pending = {}
        for pending, (ids, more) in by_pending.items():
            self.by_pending[pending] = (np.array(ids, np.int64), np.array(more))

    def apply(self, thread, costs, base, costs_if_pending):
        """The costs after the changes. costs_if_pending(thread, pending): if others are pending."""
        result = costs.copy()
        for ids, changed in self.of_tokens(thread, costs, base, costs_if_pending):
            result[ids] = changed
        return result

    def of_tokens(self, thread, costs, base, costs_if_pending):
        """Yields (ids, their costs after the changes), as apply() takes them."""
        for pending, (ids, more) in self.by_pending.items():
            is_possible = costs[ids] < FAR
            ids = ids[is_possible]
            if not len(ids):
                continue
            source = costs
            if pending != thread.names.pending:
                is_few = len(ids) <= FEW
                if is_few and thread.mode != NAME:  # a key at hand may be taken already
                    yield ids, costs_of_tokens(thread, base, ids.tolist())
                    continue
                source = costs_if_pending(thread, pending)
            yield ids, np.minimum(source[ids] + more[is_possible], FAR)


NO_CHANGES = Changes(())


def change_of(names, frame, used, reading):
    """-> (contexts that are pending, tokens more) after a text in a frame has used some names."""
    after = use_all(names, used, frame)
    if after is None:
        return names.pending, FAR
    more = after.owed - names.owed
    if reading:
        more += tokens_to_finish(after, reading, frame)
    return after.pending, more


def known_to(thread, frame):
    """All that change_of() depends on in a frame, for caches."""
    names = thread.names
    known = names.known_names
    if known.clean:
        known = known._replace(clean=clean_known_to(known, frame))
    if names.job is None:
        return known, frame.ways(), frame.workflow()
    ids = None
    if frame.way("needs") < FAR:
        ids = (names.jobs, names.needs, names.job, names.promised)
    own = frame.step and frame.has_id()
    before_jobs = known[:JOBS_FIELD]
    after_jobs = known[JOBS_FIELD + 1 :]
    return before_jobs, after_jobs, names.pending, frame.ways(), names.type, own, ids


def clean_known_to(known, frame):
    """The CleanNames of KnownNames without what does not matter in a text of a frame."""
    done = known.clean.done
    if frame.way("needs") >= FAR:  # then no other jobs will be needed
        done = frozenset(item for item in done if item[0] in known.needs)
    return CleanNames(members=known.clean.members, done=done)


# --- inside of a text -----------------------------------------------------------------------------
def costs_in_text(thread, base, key, costs_if_pending):
    """(8192,) costs of a place in a text with expressions, with what the names there change.

    costs_if_pending(thread, pending): the costs of the place alone if these contexts are pending.
    """
    known = known_to(thread, thread.frame)
    begun = begun_name(thread)
    pending = thread.names.pending
    if begun is None:
        changes = changes_in_text(thread, known)
        if changes is NO_CHANGES:
            return costs_if_pending(thread, pending)
        key = (key, changes, ways_around(thread.frame))
    else:
        key = (key, begun, known)

    def make():
        costs = costs_if_pending(thread, pending)
        if begun is None:
            return changes.apply(thread, costs, base, costs_if_pending)
        return within_name(thread, costs, base, begun, known, costs_if_pending)

    return _in_text.get(key, make)


def begun_name(thread):
    """The Reading in which the text stands, also right after the dot, or None."""
    if thread.reading:
        return thread.reading
    places = places_of(thread.automaton.expressions.syntax)
    context = places.dots.get(thread.state.control)
    return context and Reading(context, b"")


def changes_in_text(thread, known):
    """The Changes where a text stands that is not within a name. known: as of known_to()."""
    automaton = thread.automaton
    state = automaton.shape(thread.state)

    def make():
        find = functools.partial(find_mentions, automaton, thread.state)
        uses = _mentions.get((automaton, state), find)
        return changes_of_uses(thread.names, thread.frame, uses)

    return _changes.get((automaton, state, known), make)


class Uses:
    """Tokens whose text uses names of the same contexts. Known by its identity."""

    def __init__(self, contexts, ids):
        self.contexts = contexts
        self.ids = ids  # {(names used as ((context, name), ...), one that is begun or None): ids}


def group_uses(ids_by_use):
    """[Uses], by their contexts, of all uses: {(names used, one that is begun or None): ids}."""
    groups = {}
    for (used, reading), ids in ids_by_use.items():
        names = (*used, reading) if reading else used
        contexts = tuple(sorted({name[0] for name in names} - {PATH}))
        group = groups.setdefault(contexts, {})
        group[used, reading] = tuple(ids)
    return [Uses(contexts, ids) for contexts, ids in groups.items()]


def changes_of_uses(names, frame, groups):
    """The Changes where names are used as in some groups: the same ones if they are equal."""
    changes = []
    for uses in groups:
        known = tuple(known_of(names, frame, context) for context in uses.contexts)
        make = functools.partial(changes_of, names, frame, uses)
        changes += _changes_of.get((uses, known), make)
    if not changes:
        return NO_CHANGES
    changes = tuple(changes)
    return _equal_changes.get(changes, lambda: Changes(changes))


def known_of(names, frame, context):
    """All that change_of() depends on in a frame where names of one context are used."""
    if context in READ_OF:
        clean = names.known_names.clean
        return clean.done, names.known_names.matrix, clean.members
    known = names.known_names.of(context, frame)
    is_in_step = frame.step is not None
    ids = None
    if context == "needs":
        ids = (names.type, names.jobs, names.needs, names.job, names.promised)
    return names.pending, known, is_in_step, frame.way(context), frame.workflow(), ids


def changes_of(names, frame, uses):
    """The changes, as Changes takes them, where a use of names changes anything."""
    changes = []
    for (used, reading), ids in uses.ids.items():
        pending, more = change_of(names, frame, used, reading)
        if more or pending != names.pending:
            changes.append((ids, pending, more))
    return changes


def find_mentions(automaton, state):
    """[Uses] of the tokens, without openers, from a state that is not within a name."""
    places = places_of(automaton.expressions.syntax)
    begun = places.begun.get(state.control, "")
    numbers = texts_with_mentions(begun)
    is_possible = text_costs(automaton, state).to_end[numbers] < FAR
    found = {}
    for number in numbers[is_possible].tolist():
        text = token_table().texts[number]
        _, used, now_reading = follow_names(automaton, state, None, text)
        if not used and not now_reading:
            continue
        for ended in (False, True):
            if ended and now_reading:
                used = (*used, *end_of_reading(now_reading))
                now_reading = None
            ids = found.setdefault((used, now_reading), [])
            ids += token_table().by_text.get((text, ended), [])
    return group_uses(found)


@functools.cache
def texts_with_mentions(begun):
    """Numbers of the texts that mention a context with names, be it after what is there of it."""
    begun = begun.encode()
    found = []
    for number, text in enumerate(token_table().texts):
        if MENTION.search(begun + text):
            found.append(number)
    return np.array(found, np.int64)


# --- inside of a name -----------------------------------------------------------------------------
class Leads(NamedTuple):
    """How texts continue a name; of tokens with openers nothing is said."""

    lengths: np.ndarray  # (8192,) bytes that do
    ends: np.ndarray  # (8192,) bool: none does, and what follows ends the name
    underscores: np.ndarray  # (8192,) of how many _ these begin with
    by_lead: dict  # (bytes that do in lower case, whether the name ends after them) -> ids
    to_dot: dict  # bytes that do in lower case -> ids of those in which a dot comes after them


@functools.cache
def leads(is_first):
    """The Leads of all tokens: right after a dot (is_first), or within a name."""
    pattern = FIRST_LEAD if is_first else LEAD
    lengths = np.zeros(token_table().id_tokens.size + 1, np.int32)
    ends = np.zeros(len(lengths), bool)
    underscores = np.zeros(len(lengths), np.int32)
    by_lead = {}
    to_dot = {}
    for token in token_table().parts:
        if token.openers:
            continue
        match = pattern.match(token.text)
        lead = match[1]
        is_ended = match[0] != token.text or token.closers != ""
        lengths[token.id] = len(lead)
        ends[token.id] = not lead and is_ended
        underscores[token.id] = n_underscores(lead)
        letters = lead.decode().lower()
        by_lead.setdefault((letters, is_ended), []).append(token.id)
        if token.text.startswith(b".", match.end()):
            to_dot.setdefault(letters, []).append(token.id)
    return Leads(lengths, ends, underscores, by_lead, to_dot)


def n_underscores(name):
    """How many _ a name, as bytes, begins with."""
    return len(name) - len(name.lstrip(b"_"))


def within_name(thread, costs, base, begun, known_names, costs_if_pending):
    """costs where a name has begun, or a dot or a bracket asks for one."""
    context, letters, _ = begun
    known = choices(thread, begun)
    if known is ANYTHING:
        changes = changes_in_text(thread, known_names)
        costs = changes.apply(thread, costs, base, costs_if_pending)
        return within_path(thread, costs, base) if context == PATH else costs
    if letters.startswith(b"["):
        return within_index(thread, costs, base, letters, known)
    letters = letters.decode().lower()
    tokens = leads(is_first=not letters)
    costs_of_new = costs_at_end = FAR
    if may_be_wanted(thread, context):
        later = costs_if_pending(thread, thread.names.pending | {context})
        costs_of_new = new_names(thread, context, letters, later)
        more = cost_of_name(thread.names, context, letters, thread.frame)
        costs_at_end = np.minimum(later + more, FAR)
    result = np.where(tokens.lengths > 0, costs_of_new, costs)
    if letters and letters not in known:
        result = np.where(tokens.ends, costs_at_end, result)
    for ids, more in tokens_of_known(known, letters):
        costs_of_known = np.minimum(costs[ids] + more, FAR)
        result[ids] = np.minimum(result[ids], costs_of_known)
    if not letters:
        ids = blank_tokens()  # the same names may follow
        more = tokens_to_finish(thread.names, begun, thread.frame)
        result[ids] = np.minimum(costs[ids] + more, FAR)
    if context == "matrix" and thread.names.is_clean():
        result[tokens_of_other_kind(known, letters)] = FAR
    ids = tokens_that_do_more(thread, context, letters, known)
    return read_tokens(thread, result, base, [token for token in ids if costs[token] < FAR])


def tokens_that_do_more(thread, context, letters, known):
    """Ids of tokens that do more than to continue these letters, or meet another rule."""
    ids = tokens_with_mentions().copy()
    if context == "needs":
        ids += tokens_of_jobs(thread, letters)
    if context == "matrix" and may_be_wanted(thread, context):
        for found, _ in tokens_of_known(NO_MATRIX_KEYS, letters):
            ids += found
    if thread.names.is_clean():
        ids += tokens_in_clean(thread, context, letters, known)
    return ids


def tokens_in_clean(thread, context, letters, known):
    """Ids of the tokens that meet a rule of "clean" about a name that has begun."""
    if context == "needs":
        return tokens_with_outputs() if letters else tokens_with_outputs() + tokens_with_star()
    if context != "matrix":
        return []
    if may_be_wanted(thread, context):
        to_dot = leads(is_first=not letters).to_dot
        return list(itertools.chain(*to_dot.values()))
    return tokens_to_members(known, letters)


def tokens_to_members(known, letters):
    """Ids of the tokens that continue these letters to a row with mappings, and on to a dot."""
    to_dot = leads(is_first=not letters).to_dot
    ids = []
    for name in known:
        if name.endswith(MEMBERS) and name.startswith(letters):
            ids += to_dot.get(name[len(letters) : -len(MEMBERS)], [])
    return ids


def tokens_of_other_kind(known, letters):
    """Ids of the tokens that continue these letters to a row that is not of the kind they say.

    Some of those to a row with mappings may lead to its members.
    """
    tokens = leads(is_first=not letters)
    ids = []
    for name in known:
        key = name.removesuffix(MEMBERS)
        is_both = key in known and key + MEMBERS in known
        if is_both or not key.startswith(letters):
            continue
        rest = key[len(letters) :]
        ids += tokens.to_dot.get(rest, []) if name == key else tokens.by_lead.get((rest, True), [])
    return ids


def choices(thread, begun):
    """The names of which the one in which a text stands may be one, or ANYTHING."""
    if begun.context == PATH:
        return ANYTHING
    if begun.context in READ_OF:
        return thread.names.known_names.read_of(begun.context, begun.of)
    return thread.names.known_names.of(begun.context, thread.frame)


def within_path(thread, costs, base):
    """costs after needs.x, of which an output may be read."""
    ids = [token for token in tokens_with_dots() if costs[token] < FAR]
    return read_tokens(thread, costs, base, ids)


@functools.cache
def tokens_with_dots():
    return [token.id for token in token_table().parts if b"." in token.text]


@functools.cache
def tokens_with_outputs():
    """Ids of the tokens that may go on from the name of a job to its outputs."""
    return [token.id for token in token_table().parts if OUTPUTS.search(token.text)]


@functools.cache
def tokens_with_star():
    return [token.id for token in token_table().parts if STAR_FIRST.match(token.text)]


def within_index(thread, costs, base, letters, known):
    """costs in an index, which may be a name: ['x']. known: names that are there."""
    is_in_quotes = letters.count(b"'") % 2 == 1
    ids = [token for token in tokens_of_indices() if costs[token] < FAR]
    if is_in_quotes:
        begun = name_in_index(letters)
        costs = np.minimum(costs + ESCAPE, FAR)
        spelling = token_table().spelling(str.lower)
        for name in known:
            if name.startswith(begun):
                rest = name[len(begun) :].replace("'", "''")
                ids += spelling.get((rest, False), [])
    else:
        ids += tokens_with_mentions()
    return read_tokens(thread, costs, base, ids)


@functools.cache
def tokens_of_indices():
    """Ids of the tokens that may begin, end or go on with an index that is a name."""
    found = blank_tokens().copy()
    for token in token_table().parts:
        if b"'" in token.text or b"]" in token.text:
            found.append(token.id)
    return found


@functools.cache
def tokens_with_mentions():
    """Ids of the tokens whose text mentions a context with names."""
    texts = {token_table().texts[number] for number in texts_with_mentions("")}
    return [token.id for token in token_table().parts if token.text in texts]


@functools.cache
def blank_tokens():
    """Ids of the tokens whose text is blanks alone."""
    found = []
    for token in token_table().parts:
        if token.text and not token.text.strip():
            found.append(token.id)
    return found


def may_be_wanted(thread, context):
    """Whether a name that is not there yet may still come."""
    frame = thread.frame
    if context in READ_OF or context == "steps" and frame.step:
        return False
    return frame.way(context) < FAR


def new_names(thread, context, letters, later):
    """(8192,) costs of tokens that continue these letters to a name that must come.

    later: costs where some name of the context must come; what this one takes is on top.
    """
    source = thread.frame.source(context)
    if source is None:
        return later
    tokens = leads(is_first=not letters)
    lengths = len(letters) + tokens.lengths
    more = lengths + source.tokens
    if context == "needs":
        more = more + lengths + 1 + thread.names.job_tokens()
    costs = np.minimum(later + more, FAR)
    if context not in FREE_KEYS:
        underscores = n_underscores(letters.encode())
        if underscores == len(letters):
            underscores = underscores + tokens.underscores
        is_id = (lengths <= MAX_ID) & (underscores < 2)
        costs = np.where(is_id, costs, FAR)
    return costs


def tokens_of_known(known, letters):
    """[(ids, tokens that are missing then)] of tokens that continue these letters to a known name.

    Also to a beginning of one.
    """
    by_lead = leads(is_first=not letters).by_lead
    found = []
    for name in known:
        key = name.removesuffix(MEMBERS)
        rest = key[len(letters) :]
        if not key.startswith(letters) or not PROPERTY.fullmatch(key):
            continue
        for n in range(1, len(rest) + 1):
            ids = by_lead.get((rest[:n], False), [])
            found.append((ids, len(name) - len(letters) - n))
        if rest and name == key:
            ids = by_lead.get((rest, True), [])
            found.append((ids, 0))
    return [(ids, more) for ids, more in found if ids]


def tokens_of_jobs(thread, letters):
    """Ids of the tokens that continue these letters to the id of a job, or a beginning of one."""
    ids = []
    for job in thread.names.jobs | thread.names.promised:
        for found, _ in tokens_of_known([job.lower()], letters):
            ids += found
    return ids
