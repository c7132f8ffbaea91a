"""The vocabulary: linearised string <-> token ids, by byte-pair merges within pieces.

    <on><push><jobs>{t.{<runs-on>x.}}<EOD>        a linearised string, in linear.py's notation
    <on><push>  <jobs>{t.  {<runs-on>x.}}<EOD>    its pieces, as split_pieces() cuts it
    [5896, 626, 778, 1387, 1661, 129]             their ids, as encode_symbols() joins them

Ordinary byte-level BPE runs over the string (tiktoken does the merging), in pieces of
`openers* text-up-to-newline closers*`: a token may hold "next step, uses, actions/checkout@v4, end
of string" at once, but at most one stretch of text.
"""

import base64
import functools
import hashlib
import operator
import re
from array import array
from dataclasses import dataclass
from pathlib import Path

import tiktoken

from .alphabet import END, KEY, KEYS, LAST, OBJECT, SYMBOLS, TEXT_BYTES
from .errors import DecodeError
from .schema import schema_hash

VOCAB_SIZE = 8192
PAD = VOCAB_SIZE - 1
VOCAB_FILE = Path(__file__).parent / "vocab.tiktoken"

OPENERS = f"[{OBJECT}-{KEY[KEYS[-1]]}]+"
TEXT = f"[^{OBJECT}-{LAST}\n]"
CLOSERS = f"(?:\n|[{END}-{LAST}]+)"
# never empty: tiktoken panics on an empty piece
PIECES = f"{OPENERS}{TEXT}*{CLOSERS}?|{TEXT}+{CLOSERS}?|{CLOSERS}"
split_pieces = re.compile(PIECES).findall


@dataclass(frozen=True)
class Vocab:
    """What vocab() returns. tiktoken counts ranks."""

    bytes: list  # of 8191 bytes objects: what each id stands for, symbols in UTF-8
    ranks: dict  # bytes -> rank, also of steps towards tokens that have no id
    encoding: tiktoken.Encoding  # string -> ranks
    ids: tiktoken.Encoding  # ranks -> ids: the "text" of a rank is its ids, two bytes each


def vocab_size():
    """8192: ids 0 to 8190 and pad_token()."""
    return VOCAB_SIZE


def pad_token():
    """8191, the one id that no workflow uses."""
    return PAD


@functools.cache
def tokenizer_hash():
    """sha256, in hex, of what ids mean: the schema, the format and the vocabulary.

    Data and checkpoints carry it.
    """
    meaning = schema_hash().encode() + PIECES.encode() + VOCAB_FILE.read_bytes()
    return hashlib.sha256(meaning).hexdigest()


@functools.cache
def vocab():
    """The shipped vocabulary.

    Its file has a line `base64 id...` per merge, most wanted first; ids stand there rather than one
    id where the merge is only a step towards longer ones and not worth an id of its own (rarely
    used: it is spelled by those ids).
    """
    ranks = {bytes([b]): b for b in range(256)}
    # tiktoken merges pairs, so symbols, too, have to grow from their bytes
    for lead in sorted({symbol.encode()[:2] for symbol in SYMBOLS}):
        ranks[lead] = len(ranks)
    units = [symbol.encode() for symbol in SYMBOLS] + [bytes([b]) for b in TEXT_BYTES]
    for unit in units:
        ranks.setdefault(unit, len(ranks))

    ids = {ranks[unit]: [i] for i, unit in enumerate(units)}
    token_of_id = dict(enumerate(units))
    for line in VOCAB_FILE.read_bytes().splitlines():
        word, *spelled = line.split()
        token = base64.b64decode(word)
        spelled = [int(i) for i in spelled]
        ids[len(ranks)] = spelled
        ranks[token] = len(ranks)
        if len(spelled) == 1:
            token_of_id[spelled[0]] = token
    assert sorted(token_of_id) == list(range(PAD)), (
        f"{VOCAB_FILE.name} is damaged: it has no token for some ids below {PAD}"
    )
    rank_of_ids = {array("H", spelled).tobytes(): rank for rank, spelled in ids.items()}
    return Vocab(
        bytes=[token_of_id[i] for i in range(PAD)],
        ranks=ranks,
        encoding=encoding_of(ranks),
        ids=encoding_of(rank_of_ids),
    )


def encoding_of(ranks):
    return tiktoken.Encoding(
        "tct_github_workflow", pat_str=PIECES, mergeable_ranks=ranks, special_tokens={}
    )


def ids_of(ranks):
    """The ids that spell these ranks. Raises KeyError for a lone byte of a symbol: it has none."""
    return array("H", vocab().ids.decode_bytes(ranks)).tolist()


def encode_symbols(string):
    """A linearised string -> ids."""
    return ids_of(vocab().encoding.encode_ordinary(string))


def clear_caches():
    """Forgets the vocabulary that was read, so that VOCAB_FILE is read again."""
    vocab.cache_clear()


def token_bytes(tokens):
    """list of ids -> list of bytes. Raises DecodeError at the first id that is none."""
    table = vocab().bytes
    try:
        if min(tokens, default=0) >= 0:
            return [table[token] for token in tokens]
    except (IndexError, TypeError, ValueError):
        pass
    raise error_of_ids(tokens)


def error_of_ids(tokens):
    """DecodeError for the first of these that is no id."""
    i, token = next((i, token) for i, token in enumerate(tokens) if not is_id(token))
    problem = f"{token!r} is not an id of this vocabulary (0 to {PAD - 1})"
    if token == PAD:
        problem = f"{token!r} is the pad token"
    return DecodeError(problem, token=i)


def is_id(token):
    try:
        return 0 <= operator.index(token) < PAD
    except TypeError:  # of another kind than numbers
        return False


@functools.cache
def token_parts():
    """For each id, the ids that spell the two parts of its token; [] where it has none.

    Of the places to cut, that between the two most wanted: byte-pair merging mostly joins it last.
    """
    shipped = vocab()
    parts = [parts_of(token, shipped) for token in shipped.bytes]
    return [*parts, []]  # the pad token has none


def parts_of(token, shipped):
    """token_parts() for one token, in bytes."""
    least = len(shipped.ranks), []
    for cut in range(1, len(token)):
        first = shipped.ranks.get(token[:cut])
        second = shipped.ranks.get(token[cut:])
        if first is None or second is None:
            continue
        try:
            least = min(least, (max(first, second), ids_of([first, second])))
        except KeyError:
            pass
    return least[1]
