"""The 8,191 tokens taken apart, so that a mask need not walk them one by one.

Every token is `openers* text closers*` (the pieces of vocab.py). Tokens with the same openers form
a Group, in which numpy handles all texts at once; sequences of closers are few. With this a mask
takes some hundred steps in Python, not 8,191.
"""

import functools
import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .alphabet import ARRAY, CLOSE, CONSTANT, END, ESC, KEY, KEY_NAME, LITERAL, OBJECT
from .errors import DecodeError
from .linear import unescape
from .vocab import vocab


def prefixes(words):
    """All beginnings of some words."""
    found = set()
    for word in words:
        found.update(word[:i] for i in range(len(word) + 1))
    return found


CONSTANT_WORDS = frozenset(name.encode() for name in CONSTANT)
CONSTANT_STARTS = prefixes(CONSTANT_WORDS)
CONSTANT_SYMBOLS = frozenset(CONSTANT.values())
KEY_WORDS = frozenset(name.encode() for name in KEY)
_PARTS = re.compile(
    rb"((?:\xee[\x80-\xbf]{2})*)"  # symbols: openers
    rb"((?:[^\xee]|\xee(?![\x80-\xbf]))*)"  # text; EE EF in it is an escaped character
    rb"((?:\xee[\x80-\xbf]{2})*)",  # symbols: closers
    re.DOTALL,
)


class Token(NamedTuple):
    """A token's parts."""

    id: int
    openers: str  # symbols that open a value or a field
    text: bytes  # of a string, key or number, or of a part of one
    closers: str  # symbols that end one: from END on in the alphabet


class Trie:
    """Sequences of symbols, by their first symbol. Known by its identity."""

    def __init__(self, leaves=None):
        """leaves: {sequence: its leaf, anything}."""
        self.leaf = None  # of the sequence that ends here
        self.next = {}  # symbol -> Trie of what comes after it
        self.inside = []  # [(sequence, leaf)], all that begin here
        for sequence, leaf in (leaves or {}).items():
            self.add(sequence, leaf)

    def add(self, sequence, leaf):
        self.inside.append((sequence, leaf))
        if sequence:
            self.next.setdefault(sequence[0], Trie()).add(sequence[1:], leaf)
        else:
            self.leaf = leaf


@dataclass(frozen=True, eq=False)
class Column:
    """Tokens of one shape, as arrays of the same length."""

    ids: np.ndarray
    texts: np.ndarray  # row of each token's text in TokenTable.follow_texts()
    closers: np.ndarray  # index of its closers in the group's trie
    is_constant: np.ndarray  # bool: the text is the whole name of a constant, which has a symbol
    is_key: np.ndarray  # bool: the same of a key

    def __len__(self):
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Group:
    """The tokens that begin with the same openers, as columns. Known by its identity."""

    tokens: list  # [Token], from which the rest is made
    only_openers: Column  # neither text nor closers after the openers
    only_closers: Column  # closers, no text
    open_text: Column  # text, no closers: the string continues
    ended_text: Column  # text, then closers, END first
    closers: Trie  # of the sequences of closers; a leaf is an index
    n_closers: int


@dataclass(frozen=True, eq=False)
class TokenTable:
    """All tokens."""

    parts: list  # [Token] by id
    openers: Trie  # of sequences of openers; a leaf is a Group
    texts: list  # every text of a token once, the longest first
    text_number: dict  # text -> its place in texts
    text_columns: list  # byte i of every text that has one
    by_opener: dict  # opener -> array of the ids of tokens that begin with it
    by_text: dict  # (text, whether END follows) -> ids of tokens without openers
    by_constant: dict  # constant -> ids of tokens without openers and text that begin with it
    several_strings: list  # ids of tokens in which a string ends and a constant follows
    in_arrays: list  # ids of tokens that open an array and nothing else
    text_lengths: np.ndarray  # (8191,) bytes of each token's text
    longest_text: int
    id_tokens: np.ndarray  # (8191,) what id_tokens() says of each
    n_opened: np.ndarray  # (8191,) objects and arrays that begin in each token
    n_closed: np.ndarray  # (8191,) the same of those that end
    most_closed: int  # by one token
    merged: dict = field(default_factory=dict)  # tuple of tries -> their merged_trie()
    spellings: dict = field(default_factory=dict)  # fold -> what spelling() returns

    def group(self, tokens):
        """The Group of tokens whose openers do not matter."""
        closers = {}
        for token in tokens:
            closers.setdefault(token.closers, len(closers))

        def column(has_text, has_closers):
            chosen = []
            for token in tokens:
                if (bool(token.text), bool(token.closers)) == (has_text, has_closers):
                    chosen.append(token)
            return Column(
                np.array([token.id for token in chosen], np.int64),
                np.array([self.text_number[token.text] for token in chosen], np.int64),
                np.array([closers[token.closers] for token in chosen], np.int64),
                np.array([token.text in CONSTANT_WORDS for token in chosen], bool),
                np.array([token.text in KEY_WORDS for token in chosen], bool),
            )

        return Group(
            tokens,
            only_openers=column(has_text=False, has_closers=False),
            only_closers=column(has_text=False, has_closers=True),
            open_text=column(has_text=True, has_closers=False),
            ended_text=column(has_text=True, has_closers=True),
            closers=Trie(closers),
            n_closers=len(closers),
        )

    def merged_trie(self, tries):
        """One trie of openers for several: at each place a Group of all their tokens there."""
        if len(tries) == 1:
            return tries[0]
        if tries not in self.merged:
            whole = self.merged[tries] = Trie()
            tokens = []
            symbols = {}  # in order
            for trie in tries:
                if trie.leaf:
                    tokens += trie.leaf.tokens
                symbols.update(dict.fromkeys(trie.next))
            if tokens:
                whole.leaf = self.group(tokens)
            for symbol in symbols:
                inner = tuple(trie.next[symbol] for trie in tries if symbol in trie.next)
                whole.next[symbol] = self.merged_trie(inner)
        return self.merged[tries]

    def spelling(self, fold):
        """{(folded text, whether END follows): ids without openers}, of whole characters."""
        if fold not in self.spellings:
            found = self.spellings[fold] = {}
            for (text, ended), ids in self.by_text.items():
                name = spelled(text)
                if name is not None:
                    found.setdefault((fold(name), ended), []).extend(ids)
        return self.spellings[fold]

    def follow_texts(self, automaton, state):
        """(n_texts,) state of a text automaton after every text, -1 where none continues so."""
        ends = np.full(len(self.texts), state, np.int32)
        going = np.arange(len(ends))
        for column in self.text_columns:
            going = going[: np.searchsorted(going, len(column))]
            after = automaton.follow(ends[going], column[going])
            ends[going] = after
            going = going[after >= 0]
            if not len(going):
                break
        return ends


@functools.lru_cache(1 << 12)
def spelled(text):
    """The str that the bytes of a text stand for, None where they end inside of a character."""
    try:
        return unescape(text.replace(b"\xee", ESC.encode()).decode())
    except (UnicodeDecodeError, DecodeError):
        return None


def _take_apart(number, token):
    if b"\xee" not in token:
        return Token(number, "", token, "")
    # ESC becomes the byte EE: no other symbol is followed by EF, and ESC always is
    openers, text, closers = _PARTS.fullmatch(token.replace(ESC.encode(), b"\xee")).groups()
    openers = openers.decode()
    closers = closers.decode()
    if not text and not closers:  # symbols only: where the closers begin
        n_openers = next((i for i, s in enumerate(openers) if s >= END), len(openers))
        closers = openers[n_openers:]
        openers = openers[:n_openers]
    is_sound = max(openers, default="") < END <= min(closers, default=END)
    assert is_sound, f"{token!r} is not openers, text, closers"
    return Token(number, openers, text, closers)


def n_strings(token):
    """Strings that a token is, holds, begins or ends."""
    return bool(token.text) + sum(map(CONSTANT_SYMBOLS.__contains__, token.closers))


def n_brackets(openers):
    return openers.count(OBJECT) + openers.count(ARRAY)


def id_tokens(token):
    """Tokens that a key takes whose name a token is or begins, at least; 0 if it is none."""
    if token.text:
        if token.text in CONSTANT_WORDS:  # as a string it has to continue
            return len(token.text) + 2
        return 1 if token.text in KEY_WORDS else len(token.text) + 1
    name = LITERAL.get(token.closers[:1])
    if not isinstance(name, str):
        return 0
    return 1 if name in KEY else len(name) + 1


def columns_of(texts):
    """[(m,) uint8]: byte i of each of the m texts that have one; the longest text comes first."""
    width = len(texts[0])
    padded = b"".join(text.ljust(width, b"\0") for text in texts)
    by_column = np.frombuffer(padded, np.uint8).reshape(len(texts), width).T.copy()
    lengths = np.array([len(text) for text in texts])
    return [by_column[i, : np.count_nonzero(lengths > i)] for i in range(width)]


@functools.cache
def token_table():
    """The TokenTable of the shipped vocabulary."""
    parts = [_take_apart(i, token) for i, token in enumerate(vocab().bytes)]
    n_closed = [token.closers.count(CLOSE) for token in parts]
    texts = sorted({token.text for token in parts}, key=lambda text: (-len(text), text))
    by_opener = {symbol: [] for symbol in KEY_NAME}
    by_text = {}
    by_openers = {}
    by_constant = {name: [] for name in CONSTANT}
    for token in parts:
        constant = LITERAL.get(token.closers[:1])
        if constant in by_constant and not token.openers and not token.text:
            by_constant[constant].append(token.id)
        by_openers.setdefault(token.openers, []).append(token)
        if token.openers[:1] in by_opener:
            by_opener[token.openers[0]].append(token.id)
        if not token.openers:
            by_text.setdefault((token.text, token.closers[:1] == END), []).append(token.id)
    table = TokenTable(
        parts,
        openers=Trie(),
        texts=texts,
        text_number={text: i for i, text in enumerate(texts)},
        text_columns=columns_of(texts),
        by_opener={symbol: np.array(ids, np.int64) for symbol, ids in by_opener.items()},
        by_text=by_text,
        by_constant=by_constant,
        several_strings=[token.id for token in parts if n_strings(token) > 1],
        in_arrays=[token.id for token in parts if token.openers == ARRAY],
        text_lengths=np.array([len(token.text) for token in parts]),
        longest_text=len(texts[0]),
        id_tokens=np.array([id_tokens(token) for token in parts]),
        n_opened=np.array([n_brackets(token.openers) for token in parts]),
        n_closed=np.array(n_closed),
        most_closed=max(n_closed),
    )
    for openers, tokens in by_openers.items():
        table.openers.add(openers, table.group(tokens))
    return table
