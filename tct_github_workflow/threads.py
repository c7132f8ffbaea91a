"""One step along the grammar.

A *thread* is one way of reading the tokens so far. Its protocol is that of a parser state
(lm-format-enforcer's has the same three calls), and immutable:

    step(thread, symbol)    the threads after one symbol; none: it may not follow
    run_text(thread, text)  the threads after some bytes of a string, number or key
    tokens_to_end(thread)   how many tokens complete the workflow, at most

`advance()` puts them together for a whole token. Where several alternatives are still possible
there are several threads, each of which can be completed on its own: so a token is allowed if and
only if some thread survives it. That is the whole algorithm; masks.py is efficiency.
"""

from typing import NamedTuple, Optional

from .alphabet import ARRAY, CLOSE, END, EOD, KEY, KEY_NAME, LITERAL, NUMBER, OBJECT
from .automaton import FAR, from_regex
from .clean_names import (
    begin_row,
    end_job,
    give_any_outputs,
    give_member,
    give_output,
)
from .frames import Frame
from .grammar import EMPTY, Value
from .known_names import (
    Reading,
    give,
    give_matrix_key,
    tokens_to_finish,
    use_all,
    wanted_of,
)
from .linear import NUMBER_RE
from .matrix_rows import (
    after_computed,
    after_excluded,
    after_key,
    begin_matrix,
    end_matrix,
    has_rows,
    is_within_matrix,
)
from .names import CONTEXT_OF, MAX_ID, NO_RULES, OUTSIDE, Names, n_crowded
from .reading import end_of_reading, follow_names
from .routes import (
    COMPUTED,
    EXCLUDED,
    INPUTS,
    JOBS,
    MATRIX,
    MEMBER,
    MEMBERS,
    NEEDS,
    OUTPUTS,
    ROW,
    ROWS,
    tokens_of_row,
)
from .token_table import CONSTANT_STARTS, CONSTANT_WORDS, KEY_WORDS, spelled, token_table
from .utf8 import DEAD, ByteAutomaton, over_bytes, state_after

NUMBERS = over_bytes(from_regex(f"^(?:{NUMBER_RE.pattern})$"))

CONTEXT_OF_KEYS = {JOBS: "jobs", INPUTS: "inputs", MATRIX: "matrix"}  # by the role of an object
SHORTEST_NAME = 2  # tokens: one byte and END

# Modes of a thread
BETWEEN = 0  # after a finished field or item
VALUE = 1  # before a value
TEXT = 2  # inside a string
DIGITS = 3  # inside a number
NAME = 4  # inside a key that is spelled out
DONE = 5
INSIDE_TEXT = (TEXT, DIGITS, NAME)


class Thread(NamedTuple):
    """One way of reading the tokens so far."""

    frame: Frame  # the innermost one; it counts the field or item at hand as there
    names: Names  # so far
    mode: int
    value: Value = None  # VALUE: what may stand here; NAME: what may stand after the key
    automaton: ByteAutomaton = None  # inside text: what it must match, and
    state: int = 0  # how far it has come
    text: bytes = b""  # the bytes so far; None for a string of which they no longer matter
    role: str = None  # TEXT: where rules of names.py apply to it
    reading: Optional[Reading] = None  # a name that an expression has begun


def start_document(value, known_names=None):
    """The threads at the start of a document of that Value.

    known_names: the KnownNames at the start, where names in expressions must resolve.
    """
    threads = []
    for type in value.objects:
        names = OUTSIDE if type.has_rules else NO_RULES
        if known_names:
            names = OUTSIDE._replace(known_names=known_names)
        threads.append(Thread(Frame(type, None), names, BETWEEN))
    return threads


def advance(threads, token):
    """The threads after a token: openers, text, closers."""
    _, openers, text, closers = token_table().parts[token]
    return after_openers(steps(threads, openers), text, closers)


def after_openers(threads, text, closers):
    """The threads after the rest of a token."""
    if text:
        run = read_text if closers else run_text
        after = []
        for thread in threads:
            after += run(thread, text)
        threads = after
    return steps(threads, closers)


def steps(threads, symbols):
    """The threads after some symbols, one after the other."""
    for symbol in symbols:
        after = []
        for thread in threads:
            after += step(thread, symbol)
        threads = after
    return threads


def step(thread, symbol):
    """The threads after one symbol."""
    after = []
    if symbol == END:
        for start in text_starts(thread):
            after += end_text(start)
    elif thread.mode == VALUE:
        after = start_value(thread.frame, thread.names, thread.value, symbol)
    elif thread.mode == BETWEEN:
        after = step_between(thread.frame, thread.names, symbol)
    if any(other.names.pending for other in after):
        return list(filter(can_give_wanted, after))
    return after


def can_give_wanted(thread):
    """Whether a way is left to all names that are wanted."""
    return not thread.names.pending or tokens_to_end(thread) < FAR


def step_between(frame, names, symbol):
    """After a finished field or item: the end of the frame, an item, or a key that has a symbol."""
    if symbol == CLOSE or symbol == EOD:
        return close(frame, names, symbol)
    if frame.is_array():
        items = frame.type.items
        if not frame.has_room_for(items):
            return []
        return start_value(frame.with_item(), names, items, symbol)
    if symbol in KEY_NAME:
        name = KEY_NAME[symbol]
        return start_field(frame, names, name, frame.type.field(name))
    return []


def close(frame, names, symbol):
    """The thread after the end of a frame."""
    if not frame.closable or (symbol == EOD) != (frame.parent is None):
        return []
    if is_jobs(frame):
        if names.promised:
            return []
        names = names.outside_jobs()
    elif is_within_matrix(names) and has_rows(frame.type):
        names = end_matrix(names)
    elif names.is_clean() and frame.parent and is_jobs(frame.parent):
        names = end_job(names)
    return [Thread(frame.parent, names, BETWEEN if symbol == CLOSE else DONE)]


def is_jobs(frame):
    return not frame.is_array() and frame.type.role == JOBS


def start_value(frame, names, value, symbol):
    """The threads after the first symbol of a value."""
    if symbol in value.scalars:
        return [Thread(frame, names, BETWEEN)]
    if symbol in value.constants:
        return end_string(frame, names, value.role, LITERAL[symbol])
    if symbol == NUMBER:
        return [Thread(frame, names, DIGITS, None, NUMBERS)] if value.number else []
    opened = []
    if symbol == OBJECT:
        opened = [Frame(type, frame) for type in value.objects]
    elif symbol == ARRAY:
        opened = [Frame(type, frame) for type in value.arrays]
    threads = []
    for inner in opened:
        if inner.can_be_completed():
            threads.append(Thread(inner, names_within(inner, names), BETWEEN))
    return threads


def names_within(frame, names):
    """The Names at the start of a frame."""
    if is_jobs(frame):
        return names._replace(type=frame.type)
    if frame.type.role == ROW:
        return names._replace(in_row=EMPTY)
    return begin_matrix(names) if has_rows(frame.type) else names


def end_string(frame, names, role, string):
    """The threads after a whole string: none where it is no name that may stand here."""
    if role:
        names = names.add(role, string)
    return [] if names is None else [Thread(frame, names, BETWEEN)]


def start_field(frame, names, name, value):
    """The threads after a key."""
    if not value or not frame.has_room_for(value) or frame.type.fold(name) in frame.keys:
        return []
    if is_within_matrix(names):
        names = after_key(names, frame.type, name)
    if frame.type.role == MATRIX and value.kinds and names.is_clean():
        return start_row(frame.with_field(name), names, name, value)
    names = names_after_key(frame, names, name)
    frame = frame.with_field(name)
    is_possible = names is not None and frame.can_be_completed()
    return [Thread(frame, names, VALUE, value)] if is_possible else []


def names_after_key(frame, names, name):
    """The Names after a key in a frame, None if it must not be there."""
    role = frame.type.role
    if role == JOBS:
        return names.start_job(name)
    if role == MATRIX:
        return give_matrix_key(names, name)
    if role == INPUTS:
        return give(names, "inputs", name)
    return clean_after_key(frame, names, name) if names.is_clean() else names


def clean_after_key(frame, names, name):
    """The Names after a key that the rules "clean" alone look at."""
    role = frame.type.role
    if role == MEMBER:
        return give_member(names, name)
    if role == OUTPUTS:
        return give_output(names, name)
    if name == "uses" and frame.parent and is_jobs(frame.parent):
        return give_any_outputs(names)
    return names


def start_row(frame, names, name, value):
    """The threads after the key of a row of a matrix, in its frame: one for each kind of row."""
    threads = []
    for row, kinds in value.kinds:
        after = give_matrix_key(names, name, kinds)
        if after and frame.can_be_completed():
            threads.append(Thread(frame, begin_row(after, name, kinds), VALUE, row))
    return threads


def next_symbols(thread):
    """The symbols that step() may take, and few others."""
    if thread.mode == VALUE:
        return thread.value.symbols
    if thread.mode != BETWEEN:
        return {END}
    if thread.frame.is_array():
        return thread.frame.type.items.symbols | {CLOSE}
    return thread.frame.type.symbols


def text_starts(thread):
    """The threads inside a text: this one, or those at the start of one that may stand here."""
    frame, names, mode, value = thread[:4]
    if mode in INSIDE_TEXT:
        return [thread]
    if mode == DONE:
        return []
    if mode == BETWEEN and not frame.is_array():
        starts = []
        for other in frame.type.others:
            if other.names.live[0] and frame.has_room_for(other.value):
                starts.append(Thread(frame, names, NAME, other.value, other.text, other.text.start))
        return starts
    if mode == BETWEEN:
        frame, value = frame.with_item(), frame.type.items
    starts = []
    for text in value.texts:
        starts.append(Thread(frame, names, TEXT, None, text, text.start, role=value.role))
    return starts


def run_text(thread, text):
    """The threads after some bytes of text."""
    return list(filter(can_become_a_name, read_text(thread, text)))


def read_text(thread, text):
    """The same, also where no key or id that begins so is free: what follows will show it."""
    threads = []
    for start in text_starts(thread):
        frame, names, mode, value, automaton, state, begun, role, reading = start
        if names.known_names and automaton.is_expression:
            state, used, reading = follow_names(automaton, state, reading, text)
            names = use_all(names, used, frame)
        else:
            state = state_after(automaton, state, text)
        if state == DEAD or names is None:
            continue
        whole = None if begun is None else begun + text
        is_name = mode == NAME or role in CONTEXT_OF or role == ROW
        if not is_name and whole not in CONSTANT_STARTS:
            whole = None
        threads.append(Thread(frame, names, mode, value, automaton, state, whole, role, reading))
    return threads


def can_become_a_name(thread):
    """Whether some key or id that begins so is still free."""
    is_free = thread.mode != NAME and not (thread.role or thread.reading or thread.names.pending)
    if is_free:
        return True
    if thread.mode == NAME:
        endings = thread.automaton.words_left(thread.state)
        if endings is not None:  # only a few words are possible
            return any(end_name(thread, thread.text + ending) for ending in endings)
    is_id = is_string_id(thread) or thread.mode == NAME and is_jobs(thread.frame)
    is_open = is_id or thread.reading or thread.names.pending
    return not is_open or tokens_to_end(thread) < FAR


def is_string_id(thread):
    """Whether the string at hand is an id, to which rules apply."""
    return thread.role in CONTEXT_OF and thread.names.type is not None


def end_text(thread):
    """The threads after the END of a text.

    None where it is not accepted, has a symbol of its own or is a name that must not stand here.
    """
    if not thread.automaton.accepting[thread.state]:
        return []
    if thread.reading:
        names = use_all(thread.names, end_of_reading(thread.reading), thread.frame)
        if names is None:
            return []
        thread = thread._replace(names=names, reading=None)
    if thread.mode == NAME:
        return end_name(thread, thread.text)
    if thread.mode == TEXT and thread.text in CONSTANT_WORDS:
        return []
    names = thread.names
    if is_within_matrix(names) and is_computed(thread):
        names = after_computed(names)
    if thread.role:
        string = spelled(thread.text or b"")
        return end_string(thread.frame, names, thread.role, string)
    return [Thread(thread.frame, names, BETWEEN)]


def is_computed(thread):
    """Whether GitHub computes the text that ends here."""
    automaton = thread.automaton
    return automaton.is_expression and automaton.computes(thread.state)


def end_name(thread, text):
    """The threads after a whole key that is spelled out."""
    if text in KEY_WORDS:
        return []
    return start_field(thread.frame, thread.names, spelled(text), thread.value)


def tokens_to_end(thread):
    """Tokens that complete the workflow from here.

    It is the shortest way in symbols and bytes, each of which is a token, so merges may do with
    fewer. From every thread some token leads to one with fewer tokens to the end.
    """
    frame, names, mode, value = thread[:4]
    if mode == DONE:
        return 0
    if mode == NAME and is_within_matrix(names) and frame.type.role == EXCLUDED:
        names = after_excluded(names, spelled(thread.text))
        thread = thread._replace(names=names)
    outside = frame.total + names.owed
    if names.pending:
        outside += tokens_of_ways(thread)
    if mode == BETWEEN:
        return outside + tokens_of_promise(names, frame.wants)
    if mode == VALUE:
        return outside + value.tokens + tokens_of_promise(names, role_of_value(thread))
    if is_string_id(thread):
        return outside + name_tokens(thread)
    tokens = text_tokens(thread)
    if mode == NAME:
        tokens += value.tokens
        if frame.type.role in CONTEXT_OF_KEYS:
            tokens = min(tokens, tokens_by_promise(thread))
    if thread.reading:
        tokens += tokens_to_finish(names, thread.reading, frame)
    return outside + tokens


def tokens_of_ways(thread):
    """Tokens of the ways to all contexts of which a name is wanted, FAR or more if there is none.

    Less those of the step at hand if it may still get an id: one that is wanted takes no other.
    """
    tokens = 0
    for context in thread.names.pending:
        tokens += way_from(thread, context)
        if context == "steps":
            tokens -= thread.frame.tokens_of_step()
    return tokens


def way_from(thread, context):
    """Tokens of the way to the names of one context, besides what the value at hand takes."""
    way = thread.frame.way(context)
    if thread.value and context in thread.value.routes:
        way = min(way, thread.value.routes[context] - thread.value.tokens)
    if context in ("matrix", ROWS) and computes(thread, context):
        return 0
    if context == "needs" and thread.role == NEEDS and is_string_id(thread):
        return 0  # name_tokens() sees to it
    return way


def computes(thread, context):
    """Whether the text at hand makes the matrix one of which nothing is known.

    context: "matrix", if no key of it is known then; ROWS, if what it excludes is not.
    """
    automaton = thread.automaton
    if automaton is None or not automaton.is_expression:
        return False
    if context == ROWS:
        return automaton.is_computed
    return thread.role == COMPUTED if thread.mode == TEXT else thread.frame.type.role == MATRIX


def role_of_value(thread):
    """The role of the string that is the cheapest value, or None."""
    if "needs" in thread.names.pending and "needs" in thread.value.routes:
        return None  # way_from() counts a list of names
    return thread.value.role


def tokens_of_promise(names, role):
    """Tokens that a name which must come takes besides its own: of the job that it promises."""
    if role not in CONTEXT_OF or names.type is None:
        return 0
    return names.tokens_for(role, "", 1) - SHORTEST_NAME


def name_tokens(thread):
    """Tokens that complete a string with a role, and the job that it promises."""
    to_more = int(thread.automaton.detour[thread.state])
    is_last = thread.role == NEEDS and not thread.frame.is_array()
    return thread.names.tokens_for(thread.role, spelled(thread.text), to_more, is_last)


def text_tokens(thread):
    """Tokens that complete the text at hand, its END included."""
    automaton, state = thread.automaton, thread.state
    if not automaton.accepting[state] or not has_to_continue(thread):
        return int(automaton.bytes_to_end[state]) + 1
    n_more = int(automaton.detour[state])
    if thread.role == ROW:
        n_more += n_crowded(thread.names.taken(ROW), spelled(thread.text))
    if thread.mode == NAME:
        frame = thread.frame
        n_more += n_crowded(frame.keys, frame.type.fold(spelled(thread.text)))
        if frame.type.role == JOBS and len(thread.text) + n_more > MAX_ID:
            return FAR
    return n_more + 1


def tokens_by_promise(thread):
    """Tokens that complete the key at hand, and its value, as one that is promised or wanted."""
    names = thread.names
    text = spelled(thread.text)
    if text is None:
        return FAR
    options = []
    for name in names.promised if is_jobs(thread.frame) else ():
        if name.startswith(text) and name not in KEY:
            options.append(-len(text))  # what is left of it, less what all of it is owed
    for name, owed in wanted_of(names, CONTEXT_OF_KEYS[thread.frame.type.role]):
        key = name.removesuffix(MEMBERS)
        is_begun = key.startswith(text.lower()) and text + key[len(text) :] not in KEY
        if is_begun and owed:
            tokens = tokens_of_row(thread.value, name[len(key) :])
            options.append(len(key) - len(text) + 1 + tokens - owed)
    return min(options, default=FAR)


def has_to_continue(thread):
    """Whether the text so far must not be all of it: it has a symbol, or it is taken."""
    if thread.mode == TEXT:
        is_twice = thread.role == ROW and spelled(thread.text) in thread.names.in_row
        return is_twice or thread.text in CONSTANT_WORDS
    if thread.mode == NAME:
        return not end_name(thread, thread.text)
    return False
