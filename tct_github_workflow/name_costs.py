"""What the names so far change in the costs of a place (masks.py): keys, ids of jobs and steps.

A few tokens only: those with which a text becomes a name that is taken, known or promised, or with
which a name is begun and ended at once. These are read one by one, as threads.advance() does it.
"""

import functools
from typing import NamedTuple

import numpy as np

from .alphabet import ARRAY, CLOSE, CONSTANT, KEY, KEY_NAME, LITERAL, OBJECT
from .automaton import FAR
from .grammar import EMPTY, ArrayType, ObjectType
from .known_names import wanted_of
from .matrix_rows import has_rows, is_within_matrix
from .names import CONTEXT_OF, CROWD, MAX_ID
from .routes import COMPUTED, EXCLUDED, KEYS_TO, MATRIX, MEMBERS, NEEDS, ROW, ROWS, STEP_ID
from .threads import (
    BETWEEN,
    CONTEXT_OF_KEYS,
    INSIDE_TEXT,
    NAME,
    TEXT,
    VALUE,
    after_openers,
    is_jobs,
    is_string_id,
    next_symbols,
    steps,
    tokens_to_end,
)
from .token_table import (
    CONSTANT_WORDS,
    KEY_WORDS,
    n_brackets,
    n_strings,
    spelled,
    token_table,
)
from .vocab import PAD

KEYS_OF_ROLES = {NEEDS: "needs", STEP_ID: "id"}  # the field of a name
BRACKETS = (ARRAY, OBJECT)
WITH_SYMBOLS = CONSTANT.keys() | KEY.keys()  # words that must not be spelled out in some places
CONTEXTS_OF_NAMES = ("jobs", "needs", "steps")
SHORT = 16  # bytes of an id to which the text of a token may come without making it too long


def role_here(thread):
    """The role of the id that stands here or may stand here."""
    role = thread.role
    if thread.mode == VALUE:
        role = thread.value.role
    elif thread.mode == BETWEEN and thread.frame.is_array():
        role = thread.frame.type.items.role
    return None if role == COMPUTED else role


def is_before_key(thread):
    return thread.mode == BETWEEN and not thread.frame.is_array()


def begins_names(thread, role):
    """Whether a token may open the field in which a name stands, here or further inside.

    Not before a job, where a promise changes the costs of such tokens, too: see tokens_to_read().
    """
    if role or thread.mode in INSIDE_TEXT or not thread.names.has_rules:
        return False
    return not is_before_job(thread)


def is_before_job(thread):
    return thread.mode == BETWEEN and is_jobs(thread.frame)


class FirstNames(NamedTuple):
    """Tokens that open the field of a name, of those that a place allows: [(role, id)]."""

    tokens: list
    roles: list  # of the names
    by_step: dict  # of the field of a step's id: that id, or a beginning, in upper case -> tokens
    others: list  # those that open another field

    def changed_by(self, names):
        """Those whose costs depend on the names so far."""
        if "steps" in names.pending or len(names.steps) >= CROWD:
            return self.tokens
        tokens = self.others.copy()
        for step in names.steps & self.by_step.keys():
            tokens += self.by_step[step]
        return tokens


def first_names(thread, costs):
    """The FirstNames of a place, by its costs."""
    found = FirstNames([], [], {}, [])
    symbols = next_symbols(thread)
    for role, number in tokens_with_names():
        token = token_table().parts[number]
        # names that are wanted do not come in costs: with them a token may be allowed, too
        is_wanted = CONTEXT_OF[role] in thread.names.pending and token.openers[0] in symbols
        is_possible = costs[number] < FAR or is_wanted
        if not is_possible or role not in roles_after(thread, token.openers):
            continue
        found.tokens.append((role, number))
        if role not in found.roles:
            found.roles.append(role)
        if role == STEP_ID:
            found.by_step.setdefault(string_of(token).upper(), []).append((role, number))
        else:
            found.others.append((role, number))
    return found


def roles_after(thread, openers):
    """The roles of strings that may stand after some openers."""
    types = [thread.value if thread.mode == VALUE else thread.frame.type]
    for symbol in openers:
        after = []
        for type in types:
            after += types_after(type, symbol)
        types = after
    return {type.items.role if isinstance(type, ArrayType) else type.role for type in types}


def types_after(type, symbol):
    """What may stand after an opener in an ObjectType, ArrayType or Value, as a list of these."""
    if isinstance(type, ObjectType):
        value = type.field(KEY_NAME.get(symbol))
        return [value] if value else []
    value = type.items if isinstance(type, ArrayType) else type
    return value.objects if symbol == OBJECT else value.arrays


def string_of(token):
    """The string that a token begins or holds after its openers, as far as it is readable."""
    if token.text:
        return spelled(token.text) or ""
    constant = LITERAL.get(token.closers[:1])
    return constant if isinstance(constant, str) else ""


def with_names(thread, costs, base, has_room, promising=None):
    """costs, with what the names so far change. promising: as with_promises() takes them."""
    struck, lowered = openers_of_names(thread)
    struck += too_long(thread)
    ids = [token for token in tokens_to_read(thread, costs) if costs[token] < FAR]
    role = role_here(thread)
    is_sure = has_room and are_sure(thread)
    if is_sure and not reads_all(thread):
        refused, ids = told_by_names(thread, [(role, token) for token in ids])
        struck.append(refused)
    if thread.names.pending:
        wanted = tokens_of_wanted(thread)
        ids += [token for token in wanted if not is_sure or costs[token] >= FAR]
    if thread.names.is_clean():
        ids += tokens_of_kinds(thread)
    if promising is not None:
        costs = with_promises(thread, costs, promising)
    elif struck or lowered:
        costs = costs.copy()
    for symbols in struck:
        costs[symbols] = FAR
    for symbols, saved in lowered:
        costs[symbols] = np.where(costs[symbols] < FAR, costs[symbols] - saved, FAR)
    return read_tokens(thread, costs, base, ids) if ids else costs


def are_sure(thread):
    """Whether names do nothing but refuse some tokens, costs apart."""
    is_long = thread.text is not None and len(thread.text) > SHORT
    return not is_long and thread.names.pending.isdisjoint(CONTEXTS_OF_NAMES)


def told_by_names(thread, tokens):
    """-> (ids of tokens that the names so far refuse, of those that have to be read).

    tokens: [(role of the string that it gives, None for a key; id)]. Of those that are in neither
    list the cost alone depends on names.
    """
    refused = []
    doubtful = []
    for role, number in tokens:
        token = token_table().parts[number]
        if not token.closers:
            continue  # what may go on can become another name
        is_refused = refuses(thread, role, token)
        if is_refused is None:
            doubtful.append(number)
        elif is_refused:
            refused.append(number)
    return refused, doubtful


def refuses(thread, role, token):
    """Whether a name is not free that a token completes; None if there is no telling."""
    name = string_of(token)
    if thread.mode in (NAME, TEXT):
        name = spelled(thread.text + token.text)
    if name is None or n_strings(token) > 1 or thread.text and name in WITH_SYMBOLS:
        return None
    if role and closes_much(token):
        return None
    if role == ROW and not name:
        return None  # the empty string, or none at all
    if role:
        return bool(name) and thread.names.refuses(role, name)
    is_key = thread.mode == NAME or is_before_key(thread) and not token.openers
    return is_key and thread.frame.type.fold(name) in thread.frame.keys or None


def closes_much(token):
    """Whether a token may close `jobs`, which a job that is promised would not let it."""
    return token.closers.count(CLOSE) - n_brackets(token.openers) > 1


def read_tokens(thread, costs, base, ids):
    """costs, with those of some tokens as threads.advance() says; the others do not change."""
    costs = costs.copy()
    ids = list(dict.fromkeys(ids))  # each once
    costs[ids] = costs_of_tokens(thread, base, ids)
    return costs


def costs_of_tokens(thread, base, ids):
    """[tokens_to_end() after each of some tokens, from a base on], FAR or more if refused."""
    base += thread.names.owed
    opened = {}  # openers -> the threads after them
    costs = []
    for token in ids:
        _, openers, text, closers = token_table().parts[token]
        if openers not in opened:
            opened[openers] = steps([thread], openers)
        after = after_openers(opened[openers], text, closers)
        costs.append(min(map(tokens_to_end, after), default=FAR + base) - base)
    return costs


def with_promises(thread, costs, promising):
    """costs where a job must be named: the id is a new one, unless with_names() finds it known.

    promising: the costs if a job is promised. Of a new id the key of its job is owed, too.
    """
    table = token_table()
    if thread.mode == TEXT:
        key_tokens = table.text_lengths + (len(thread.text) + 1)
    else:
        key_tokens = table.id_tokens
    owed = key_tokens + thread.names.job_tokens()
    costs_if_new = np.minimum(promising[:PAD] + owed, FAR)
    result = costs.copy()
    result[:PAD] = np.where(key_tokens > 0, costs_if_new, costs[:PAD])
    return result


def too_long(thread):
    """[Ids of the tokens with which an id becomes too long]."""
    if not is_string_id(thread) and not (thread.mode == NAME and is_jobs(thread.frame)):
        return []
    longest = MAX_ID - len(thread.text)
    if longest >= token_table().longest_text:
        return []
    return [np.flatnonzero(token_table().text_lengths > longest)]


def openers_of_names(thread):
    """-> ([ids of tokens that begin with a key which is taken], [(ids, what a promise saves)])."""
    struck = []
    lowered = []
    if is_before_key(thread):
        frame = thread.frame
        symbols = keys_by_fold(frame.type.fold)
        for key in frame.keys & symbols.keys():
            for name in symbols[key]:
                struck.append(token_table().by_opener[KEY[name]])
        for promised in promises(thread):
            for name in symbols.get(promised.upper(), ()):
                ids = token_table().by_opener[KEY[name]]
                if name == promised:
                    lowered.append((ids, thread.names.cost_of_job(name)))
                else:
                    struck.append(ids)
    return struck, lowered


@functools.cache
def keys_by_fold(fold):
    """{folded: the keys with a symbol that it stands for}."""
    found = {}
    for name in KEY:
        found.setdefault(fold(name), []).append(name)
    return found


def promises(thread):
    """Ids of jobs that are promised, where a job may begin."""
    return thread.names.promised if is_jobs(thread.frame) else ()


def tokens_to_read(thread, costs):
    """Ids of the tokens that meet a name, so that their costs must be found one by one."""
    if reads_all(thread):
        return np.flatnonzero(costs < FAR).tolist()
    ids = []
    if thread.mode == TEXT and thread.text:
        ids += endings(CONSTANT_WORDS, thread.text)
    if thread.mode == NAME:
        ids += endings(KEY_WORDS, thread.text)
    if thread.mode == NAME or is_before_key(thread) and thread.frame.type.others:
        ids += tokens_of_keys(thread)
    role = role_here(thread)
    if role and thread.names.type:
        ids += tokens_of_ids(thread, role)
    if thread.names.has_rules and is_before_job(thread):
        ids += [token for _, token in tokens_with_names()]
    return ids


def reads_all(thread):
    """Where there is no telling which tokens meet a name; only few are possible there."""
    if thread.mode == TEXT and thread.role == ROW:
        return spelled(thread.text) is None
    if thread.mode != NAME:
        return False
    only_few_keys = thread.automaton.words_left(thread.automaton.start)
    return bool(only_few_keys) or spelled(thread.text) is None


@functools.lru_cache(1 << 12)
def endings(words, text):
    """Ids of the tokens with which a text becomes one of these words (all bytes)."""
    by_text = token_table().by_text
    ids = []
    for word in words:
        if word.startswith(text):
            for ended in (True, False):
                ids += by_text.get((word[len(text) :], ended), [])
    return ids


def tokens_of_keys(thread):
    """Ids of the tokens with which a key becomes one that is taken, asked for, or promised."""
    frame = thread.frame
    begun = spelled(thread.text) if thread.mode == NAME else ""
    ids = tokens_like(frame.keys | frame.type.asked_texts, begun, frame.type.fold)
    for promised in promises(thread):
        ids += tokens_like([promised.upper()], begun, str.upper)
        ids += tokens_towards(promised, begun)
    return ids


def tokens_of_wanted(thread):
    """Ids of the tokens with which a wanted name is given, here or further inside."""
    if thread.mode in (VALUE, BETWEEN):
        ids = tokens_of_routes(thread)
    else:
        ids = []
    role = role_here(thread)
    names = wanted_of(thread.names, CONTEXT_OF.get(role)) if role else wanted_keys(thread)
    if role == NEEDS:  # what is needed is a job, which may be wanted as such
        names += wanted_of(thread.names, "jobs")
    begun = spelled(thread.text) if thread.mode in (NAME, TEXT) else ""
    if ROWS in thread.names.pending and begun is not None:
        ids += tokens_of_rows(thread, begun)
    if not names or begun is None:
        return ids
    folded = [name for name, _ in names]
    ids += tokens_like(folded, begun, str.lower)
    for name in folded:
        ids += tokens_towards(name, begun, str.lower)
    if thread.mode not in (NAME, TEXT):
        ids += symbols_of(folded, CONSTANT if role else KEY, str.lower)
    return ids


def tokens_of_rows(thread, begun):
    """Ids of the tokens with which a row comes that is wanted."""
    is_key = thread.mode == NAME or is_before_key(thread)
    if not is_key or not has_rows(thread.frame.type):
        return []
    rows = thread.names.excluded
    ids = tokens_like(rows, begun, str.upper)
    return ids if begun else ids + symbols_of(rows, KEY, str.upper)


def wanted_keys(thread):
    """Names that are wanted, where they may be given by a key."""
    if thread.mode != NAME and not is_before_key(thread):
        return []
    context = CONTEXT_OF_KEYS.get(thread.frame.type.role)
    wanted = wanted_of(thread.names, context)
    return [(name.removesuffix(MEMBERS), tokens) for name, tokens in wanted]


def tokens_of_kinds(thread):
    """Ids of the tokens with which a key becomes one of a matrix that is of a kind already."""
    known = thread.names.known_names.matrix
    is_key = thread.mode == NAME or is_before_key(thread)
    if not known or not is_key or thread.frame.type.role != MATRIX:
        return []
    begun = spelled(thread.text) if thread.mode == NAME else ""
    if begun is None:
        return []
    keys = [name.removesuffix(MEMBERS) for name in known]
    ids = tokens_like(keys, begun, str.lower)
    return ids if thread.mode == NAME else ids + symbols_of(keys, KEY, str.lower)


def symbols_of(folded, symbols, fold):
    """Ids of the tokens that begin with the symbol of a word, of which some are given folded."""
    table = token_table()
    ids = []
    for word in symbols:
        if fold(word) in folded:
            is_key = symbols is KEY
            ids += table.by_opener[KEY[word]].tolist() if is_key else table.by_constant[word]
    return ids


def tokens_of_routes(thread):
    """Ids of the tokens that open what gives names that are wanted."""
    ids = list(tokens_with_brackets()) if gives_names(thread) else []
    for context in thread.names.pending:
        ids += tokens_with_keys(KEYS_TO[context])
    symbols = next_symbols(thread)
    return [token for token in ids if token_table().parts[token].openers[0] in symbols]


def gives_names(thread):
    """Whether keys, or strings in a list, in the value that comes next are names."""
    value = thread.value
    if thread.mode == BETWEEN:
        value = thread.frame.type.items if thread.frame.is_array() else None
    if value is None:
        return False
    objects = list(value.objects)
    for array in value.arrays:
        objects += array.items.objects
    return bool(value.routes) or any(obj.role in CONTEXT_OF_KEYS for obj in objects)


@functools.cache
def tokens_with_keys(keys):
    """Ids of the tokens that open the field of one of some keys."""
    symbols = {KEY[key] for key in keys if key in KEY}
    found = []
    for openers, group in token_table().openers.inside:
        if not symbols.isdisjoint(openers):
            found += [token.id for token in group.tokens]
    return sorted(found)


@functools.cache
def tokens_with_brackets():
    """Ids of the tokens that begin with an opening bracket."""
    return [token.id for token in token_table().parts if token.openers[:1] in BRACKETS]


def tokens_like(names, begun, fold):
    """Ids of the tokens with which `begun` becomes one of these names, which are folded."""
    spelling = token_table().spelling(fold)
    begun = fold(begun)
    ids = []
    for name in names:
        # spelled out it is none of these names anyway
        has_symbol = fold is str and not begun and name in KEY
        if name.startswith(begun) and not has_symbol:
            for ended in (True, False):
                ids += spelling.get((name[len(begun) :], ended), [])
    return ids


def tokens_towards(name, begun, fold=str):
    """Ids of the tokens with which `begun` becomes a beginning of a name, or all of it."""
    if not name.startswith(fold(begun)):
        return []
    spelling = token_table().spelling(fold)
    ids = []
    rest = name[len(begun) :]
    for n in range(1, len(rest) + 1):
        ids += spelling.get((rest[:n], False), [])
    return ids + spelling.get((rest, True), [])


def tokens_of_ids(thread, role):
    """Ids of the tokens with which a string with a role becomes or begins a known name."""
    names = thread.names
    table = token_table()
    begun = spelled(thread.text) if thread.mode == TEXT else ""
    known = names.jobs | names.promised if role == NEEDS else EMPTY
    ids = tokens_like(names.taken(role), begun, str.upper)
    for name in known:
        ids += tokens_towards(name, begun)
    if role in (NEEDS, ROW):
        ids += table.several_strings
    if thread.mode == TEXT:
        return ids + endings(KEY_WORDS, thread.text) if role == NEEDS else ids
    for word in CONSTANT:
        if word.upper() in names.taken(role):
            ids += table.by_constant[word]
    if thread.mode == VALUE:
        ids += table.in_arrays
    return ids


@functools.cache
def tokens_with_names():
    """[(role, id)] of the tokens that open the field of a name."""
    found = []
    for role, key in KEYS_OF_ROLES.items():
        found += [(role, token) for token in tokens_with_keys((key,))]
    return found


# --- keys that a matrix excludes ------------------------------------------------------------------
def begins_excluded(thread):
    """Whether a token may name a key that is excluded, and no row is wanted so far."""
    names = thread.names
    if not is_within_matrix(names) or ROWS in names.pending:
        return False
    if thread.mode == VALUE:
        return any(map(excludes, thread.value.arrays))
    type = thread.frame.type
    is_before_key = thread.mode in (BETWEEN, NAME) and type.role == EXCLUDED
    return is_before_key or thread.mode == BETWEEN and excludes(type)


def excludes(type):
    """Whether the type of a frame is that of a list of excluded combinations."""
    return isinstance(type, ArrayType) and any(obj.role == EXCLUDED for obj in type.items.objects)


class FirstKeys(NamedTuple):
    """Tokens that name a key, or begin to, be it after brackets."""

    ids: np.ndarray
    by_row: dict  # whole key in upper case -> ids; also of those with which it may go on


@functools.cache
def first_keys():
    """The FirstKeys of all tokens."""
    ids = []
    by_row = {}
    for token in token_table().parts:
        openers = token.openers.lstrip("".join(BRACKETS))
        key = KEY_NAME.get(openers[:1])
        if not openers and token.text:
            key = spelled(token.text) or ""
        if key is not None:
            ids.append(token.id)
            by_row.setdefault(key.upper(), []).append(token.id)
    return FirstKeys(np.array(ids, np.int64), by_row)
