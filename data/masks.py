"""Which tokens might have come at each place of a document: what train.py's validity_weight needs.

train.masks holds a uint16 for each token of train.bin, the number of the mask at its place;
masks.bin the masks, 8,192 bits each (np.packbits). Half a million tokens have some 2,000 masks.
"""

import os
from typing import NamedTuple

import numpy as np

import tct_github_workflow as tct

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


def load_masks(folder, n_tokens, vocab_size):
    """(number of the mask before each token of train, int64; packed masks, uint8 (masks, bytes)).

    Raises OSError or ValueError.
    """
    numbers = np.fromfile(os.path.join(folder, "train.masks"), np.uint16)
    masks = np.fromfile(os.path.join(folder, MASKS), np.uint8).reshape(-1, vocab_size // 8)
    if len(numbers) != n_tokens or numbers.max(initial=0) >= len(masks):
        raise ValueError(f"train.masks or {MASKS} does not fit train.bin")
    return numbers.astype(np.int64), masks


def unpack(masks):
    """Packed masks -> bool (masks, vocab_size)."""
    return np.unpackbits(masks, axis=1).view(bool)
