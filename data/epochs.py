"""What an epoch trains on: the documents, some tokens spelled by their parts, packed into rows.

The tokens to spell are drawn anew for each epoch, and their parts may be spelled so, too (a
relative of https://arxiv.org/abs/1910.13267). From little data a model learns more like this.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from data.masks import EVERYTHING
from data.windows import pack
from tct_github_workflow.vocab import token_parts


class Epoch(NamedTuple):
    """An epoch's tokens, and its rows in training order."""

    ids: list  # of each folder, uint16 (tokens,)
    places: list  # of each folder, data.masks.FolderPlaces
    rows: list  # of WINDOW arrays


class Spelling(NamedTuple):
    """Tokens of a folder, spelled anew."""

    ids: np.ndarray  # uint16 (n,)
    origin: np.ndarray  # int64 (n,): the token of the folder that each is, or is a part of
    is_first: np.ndarray  # bool (n,): the first part of that token, or the whole


def make_epoch(data, places, block_size, seed, epoch, split_share):
    """The Epoch of this number.

    data: data.windows.Data; places: of data.masks.load_masks(). split_share: of the tokens that
    have parts, how many are spelled so. If any are, each process takes some 60 bytes a token while
    they are made, and 6 as long as the epoch is in use.
    """
    rng = np.random.default_rng([seed, epoch, 1])
    ids = list(data.ids["train"])
    places = list(places)
    table = data.tables["train"].copy()
    if split_share > 0:
        for folder, tokens in enumerate(ids):
            spelling = split_tokens(tokens, split_share, rng)
            ids[folder] = spelling.ids
            # what may follow the first part of a token is not known
            of_token = places[folder].numbers[spelling.origin]
            numbers = np.where(spelling.is_first, of_token, EVERYTHING)
            places[folder] = places[folder]._replace(numbers=numbers)
            move_documents(table, folder, spelling)
    return Epoch(ids, places, pack(table, block_size, seed, epoch))


def split_tokens(tokens, share, rng):
    """The Spelling of tokens (n,) in which this share of those that have parts is split."""
    parts, begin, n_parts = parts_table()
    ids = np.asarray(tokens)
    origin = np.arange(len(ids))
    is_first = np.ones(len(ids), bool)
    is_new = is_first  # what may still be split
    while is_new.any():
        is_split = is_new & (n_parts[ids] > 0) & (rng.random(len(ids)) < share)
        counts = np.where(is_split, n_parts[ids], 1)
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        is_new = np.repeat(is_split, counts)
        whole = np.repeat(ids, counts)
        ids = whole.copy()
        ids[is_new] = parts[begin[whole[is_new]] + number[is_new]]
        origin = np.repeat(origin, counts)
        is_first = np.repeat(is_first, counts) & (number == 0)
    return Spelling(ids, origin, is_first)


@functools.cache
def parts_table():
    """(parts of all tokens back to back, where each token's begin, how many it has)."""
    parts = token_parts()
    n_parts = np.array([len(of_one) for of_one in parts])
    all_parts = np.fromiter(itertools.chain.from_iterable(parts), np.uint16)
    return all_parts, np.cumsum(n_parts) - n_parts, n_parts


def move_documents(table, folder, spelling):
    """Lets a folder's documents in table begin and end where they do in their new spelling."""
    starts = np.append(np.flatnonzero(spelling.is_first), len(spelling.ids))
    of_folder = table[:, 0] == folder
    begin, length = table[of_folder, 1], table[of_folder, 2]
    table[of_folder, 1] = starts[begin]
    table[of_folder, 2] = starts[begin + length] - starts[begin]
