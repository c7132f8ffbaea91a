"""Which tokens might have come at each place of a document: what train.py's validity_weight needs.

train.masks holds a uint16 for each token of train.bin, the number of the mask at its place;
masks.bin the masks, 8,192 bits each (np.packbits). Half a million tokens have some 2,000 masks.
"""

import os
from typing import NamedTuple

import numpy as np

import tct_github_workflow as tct
from run.commands import command_to_prepare

RULES = "schema"  # decodes and fits the schema; others would take several times as long
EVERYTHING = 0  # number of the mask that allows all tokens
MAX_MASKS = 1 << 16  # what comes after so many counts as EVERYTHING
MASKS = "masks.bin"
NUMBERS = "all.masks"  # of all documents; write_folder.py makes train.masks of it


class Places(NamedTuple):
    """The places of a document, one before each token."""

    masks: list  # all different, packed into bytes
    numbers: list  # which of them is at each place


def places_of(tokens):
    """The Places of a document, a list of ids."""
    matcher = tct.Matcher(rules=RULES)
    number_of = {}  # mask: number
    numbers = []
    for token in tokens:
        mask = np.packbits(matcher.next_token_mask()).tobytes()
        numbers.append(number_of.setdefault(mask, len(number_of)))
        matcher.accept_token(token)
    return Places(list(number_of), numbers)


class MaskFiles:
    """The masks of all documents, in two files of a folder that are written as documents come."""

    def __init__(self, folder):
        self.masks = open(os.path.join(folder, MASKS), "wb")
        self.numbers = open(os.path.join(folder, NUMBERS), "wb")
        self.number_of = {}  # packed mask: number
        self.number(b"\xff" * (tct.vocab_size() // 8))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.masks.close()
        self.numbers.close()

    def number(self, mask):
        """Of a packed mask, known or new."""
        if mask not in self.number_of:
            if len(self.number_of) == MAX_MASKS:
                return EVERYTHING
            self.number_of[mask] = len(self.number_of)
            self.masks.write(mask)
        return self.number_of[mask]

    def add(self, places):
        """Writes the masks of the next document."""
        numbers = np.array([self.number(mask) for mask in places.masks], np.uint16)
        self.numbers.write(numbers[places.numbers].tobytes())


def load_masks(data):
    """(places, masks) of a data.windows.Data.

    places: of each folder, int64 (tokens of train,), the number of the mask at each token. masks:
    bool (masks, vocab_size), of all folders together. Raises ValueError for what is missing or
    damaged.
    """
    places = []
    tables = []
    for folder, ids in zip(data.metas, data.ids["train"], strict=True):
        try:
            numbers, masks = load_folder_masks(folder, len(ids))
        except (OSError, ValueError) as e:
            raise ValueError(
                f"cannot use the masks in {folder} ({type(e).__name__}: {e}). "
                f"Run {command_to_prepare(folder)} again, or train with --validity_weight=0"
            ) from e
        places.append(numbers + sum(map(len, tables)))
        tables.append(masks)
    return places, np.concatenate(tables)


def load_folder_masks(folder, n_tokens):
    """load_masks() for one folder. Raises OSError or ValueError."""
    numbers = np.fromfile(os.path.join(folder, "train.masks"), np.uint16)
    packed = np.fromfile(os.path.join(folder, MASKS), np.uint8).reshape(-1, tct.vocab_size() // 8)
    if len(numbers) != n_tokens or numbers.max(initial=0) >= len(packed):
        raise ValueError(f"train.masks or {MASKS} does not fit train.bin")
    return numbers.astype(np.int64), np.unpackbits(packed, axis=1).view(bool)


def no_masks(data):
    """What load_masks() returns, where everything might have come; it takes no memory."""
    places = [np.broadcast_to(EVERYTHING, len(ids)) for ids in data.ids["train"]]
    return places, np.ones((1, tct.vocab_size()), bool)
