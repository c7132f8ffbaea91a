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

import functools
from typing import NamedTuple

from .alphabet import ARRAY, CLOSE, END, EOD, ESC, KEY_NAME, NUMBER, OBJECT
from .automaton import FAR, from_regex
from .grammar import EMPTY, ArrayType, Value
from .json_text import MAX_DEPTH
from .linear import NUMBER_RE, unescape
from .token_table import CONSTANT_WORDS, KEY_WORDS, token_table
from .utf8 import DEAD, ByteAutomaton, over_bytes

NUMBERS = over_bytes(from_regex(f"^(?:{NUMBER_RE.pattern})$"))


class Frame:
    """An open object or array. Immutable: a new field or item makes a new one."""

    __slots__ = (
        "type",  # ObjectType or ArrayType
        "parent",  # Frame around it, None for the document
        "used",  # keys so far that have a symbol or on which a clause depends
        "texts",  # keys so far that have no symbol, as bytes
        "count",  # fields or items so far
        "depth",  # 1 for the document
        "closable",  # it may be closed now
        "total",  # tokens that close it and all around it
        "levels",  # of nesting that closing it needs
        "tail",  # all that closers can meet in it, besides closable and total
        "longer",  # what item() returns
    )

    def __init__(self, type, parent, used=EMPTY, texts=EMPTY, count=0):
        self.type = type
        self.parent = parent
        self.used = used
        self.texts = texts
        self.count = count
        self.depth = parent.depth + 1 if parent else 1
        self.longer = None
        tokens = self._close_array() if self.is_array() else self._close_object()
        self.closable = tokens == 1
        self.total = tokens + (parent.total if parent else 0)

    def is_array(self):
        return isinstance(self.type, ArrayType)

    def _close_array(self):
        items = self.type.items
        n_missing = max(0, self.type.least - self.count)
        self.levels = items.levels if n_missing else 0
        self.tail = (items, min(self.count, self.type.least))
        return 1 + n_missing * items.tokens

    def _close_object(self):
        asked = self.used & self.type.asked
        count = min(self.count, self.type.least)
        tokens, self.levels = self.type.close(asked, count)
        self.tail = None  # a closer in it can only be the END of the key ""
        if self.type.allows_empty_key and b"" not in self.texts:
            self.tail = (self.type, asked, count)
        return tokens

    def can_be_completed(self):
        """Some clause is left, and nesting stays within what decode reads."""
        return self.total < FAR and self.depth + self.levels <= MAX_DEPTH

    def has_room_for(self, value):
        return self.depth + value.levels <= MAX_DEPTH

    def with_item(self):
        """This array with one item more; how many there are matters up to minItems only."""
        if self.count >= self.type.least:
            return self
        if self.longer is None:
            self.longer = Frame(self.type, self.parent, count=self.count + 1)
        return self.longer

    def with_field(self, name, text=None):
        """This object with one key more; text: its bytes if it is spelled out."""
        used = self.used
        if text is None or name in self.type.asked:
            used = used | {name}
        texts = self.texts if text is None else self.texts | {text}
        return Frame(self.type, self.parent, used, texts, self.count + 1)


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
    mode: int
    value: Value = None  # VALUE: what may stand here; NAME: what may stand after the key
    automaton: ByteAutomaton = None  # inside text: what it must match, and
    state: int = 0  # how far it has come
    text: bytes = b""  # the bytes so far; None for a string that can no longer be a constant


def prefixes(words):
    """All beginnings of some words."""
    found = set()
    for word in words:
        found.update(word[:i] for i in range(len(word) + 1))
    return found


CONSTANT_STARTS = prefixes(CONSTANT_WORDS)


def start_document(value):
    """The threads at the start of a document of that Value."""
    return [Thread(Frame(type, None), BETWEEN) for type in value.objects]


def advance(threads, token):
    """The threads after a token: openers, text, closers."""
    _, openers, text, closers = token_table().parts[token]
    threads = steps(threads, openers)
    if text:
        after = []
        for thread in threads:
            after += run_text(thread, text)
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
    mode = thread.mode
    if symbol == END:
        return [after for start in text_starts(thread) for after in end_text(start)]
    if mode == VALUE:
        return start_value(thread.frame, thread.value, symbol)
    if mode == BETWEEN:
        return step_between(thread.frame, symbol)
    return []


def step_between(frame, symbol):
    """After a finished field or item: the end of the frame, an item, or a key that has a symbol."""
    if symbol == CLOSE or symbol == EOD:
        if not frame.closable or (symbol == EOD) != (frame.parent is None):
            return []
        return [Thread(frame.parent, BETWEEN if symbol == CLOSE else DONE)]
    if frame.is_array():
        items = frame.type.items
        return start_value(frame.with_item(), items, symbol) if frame.has_room_for(items) else []
    if symbol in KEY_NAME:
        name = KEY_NAME[symbol]
        return start_field(frame, name, frame.type.field(name))
    return []


def start_value(frame, value, symbol):
    """The threads after the first symbol of a value."""
    if symbol in value.scalars or symbol in value.constants:
        return [Thread(frame, BETWEEN)]
    if symbol == NUMBER:
        return [Thread(frame, DIGITS, None, NUMBERS)] if value.number else []
    opened = []
    if symbol == OBJECT:
        opened = [Frame(type, frame) for type in value.objects]
    elif symbol == ARRAY:
        opened = [Frame(type, frame) for type in value.arrays]
    return [Thread(inner, BETWEEN) for inner in opened if inner.can_be_completed()]


def start_field(frame, name, value, text=None):
    """The threads after a key; text: its bytes if it is spelled out."""
    if not value or name in frame.used or not frame.has_room_for(value):
        return []
    frame = frame.with_field(name, text)
    return [Thread(frame, VALUE, value)] if frame.can_be_completed() else []


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
    frame, mode, value = thread.frame, thread.mode, thread.value
    if mode in INSIDE_TEXT:
        return [thread]
    if mode == DONE:
        return []
    if mode == BETWEEN and not frame.is_array():
        starts = []
        for other in frame.type.others:
            if other.names.live[0] and frame.has_room_for(other.value):
                starts.append(Thread(frame, NAME, other.value, other.text, other.text.start))
        return starts
    if mode == BETWEEN:
        frame, value = frame.with_item(), frame.type.items
    return [Thread(frame, TEXT, None, text, text.start) for text in value.texts]


@functools.lru_cache(1 << 14)
def state_after(automaton, state, text):
    """automaton.run, remembered: the same few bytes come again and again."""
    return automaton.run(state, text)


def run_text(thread, text):
    """The threads after some bytes of text."""
    after = []
    for start in text_starts(thread):
        state = state_after(start.automaton, start.state, text)
        if state == DEAD:
            continue
        whole = None if start.text is None else start.text + text
        if start.mode == NAME:
            if not can_become_a_key(start, state, whole):
                continue
        elif whole not in CONSTANT_STARTS:
            whole = None
        frame, mode, value, automaton, _, _ = start
        after.append(Thread(frame, mode, value, automaton, state, whole))
    return after


def can_become_a_key(thread, state, text):
    """Whether a key that begins with `text` is still free, where only a few words are possible."""
    endings = thread.automaton.words_left(state)
    return endings is None or any(end_name(thread, text + ending) for ending in endings)


def end_text(thread):
    """The threads after the END of a text.

    None where it is not accepted, has a symbol of its own or repeats a key.
    """
    if not thread.automaton.accepting[thread.state]:
        return []
    if thread.mode == NAME:
        return end_name(thread, thread.text)
    if thread.mode == TEXT and thread.text in CONSTANT_WORDS:
        return []
    return [Thread(thread.frame, BETWEEN)]


def end_name(thread, text):
    """The threads after a whole key that is spelled out."""
    if text in KEY_WORDS or text in thread.frame.texts:
        return []
    name = unescape(text.replace(b"\xee", ESC.encode()).decode())
    return start_field(thread.frame, name, thread.value, text)


def tokens_to_end(thread):
    """Tokens that complete the workflow from here.

    It is the shortest way in symbols and bytes, each of which is a token, so merges may do with
    fewer. From every thread some token leads to one with fewer tokens to the end.
    """
    frame, mode, value, automaton, state, text = thread
    if mode == DONE:
        return 0
    after_text = frame.total + (value.tokens if value else 0)
    if mode == BETWEEN or mode == VALUE:
        return after_text
    if has_to_continue(thread) and automaton.accepting[state]:
        return int(automaton.detour[state]) + 1 + after_text
    return int(automaton.bytes_to_end[state]) + 1 + after_text


def has_to_continue(thread):
    """Whether the text so far must not be all of it: it has a symbol or repeats a key."""
    if thread.mode == TEXT:
        return thread.text in CONSTANT_WORDS
    if thread.mode == NAME:
        return thread.text in KEY_WORDS or thread.text in thread.frame.texts
    return False
