"""Which tokens might have come at each place of a document: what train.py's validity_weight needs.

train.masks holds a uint16 for each token of train.bin, the number of the mask at its place;
masks.bin the masks, 8,192 bits each (np.packbits). Half a million tokens have some 2,000 masks.
"""

import os
from typing import NamedTuple

import numpy as np

import tct_github_workflow as tct
from data.files import map_uint16
from data.parallel import chunks, chunks_in_parallel
from run.commands import command_to_prepare

RULES = "schema"  # decodes and fits the schema; others would take several times as long
EVERYTHING = 0  # number of the mask that allows all tokens
MAX_MASKS = 1 << 16  # what comes after so many counts as EVERYTHING
MASKS = "masks.bin"
NUMBERS = "train.masks"


# ---- prepare.py writes them


class Places(NamedTuple):
    """The places of some documents, one before each token."""

    masks: list  # all different, packed into bytes
    numbers: np.ndarray  # int32 (tokens,): which of them is at each place


def places_of(documents):
    """The Places of a list of documents, each the bytes of its uint16 ids."""
    number_of = {}  # mask: number
    numbers = []
    for document in documents:
        matcher = tct.Matcher(rules=RULES)
        for token in np.frombuffer(document, np.uint16).tolist():
            mask = np.packbits(matcher.next_token_mask()).tobytes()
            numbers.append(number_of.setdefault(mask, len(number_of)))
            matcher.accept_token(token)
    return Places(list(number_of), np.array(numbers, np.int32))


def write_masks(folder, documents, num_workers, bar):
    """Writes folder/train.masks and masks.bin. Returns their names.

    documents: those of train.bin, each the bytes of its uint16 ids. bar (tqdm) counts tokens.
    """
    with (
        open(os.path.join(folder, NUMBERS), "wb") as numbers_file,
        open(os.path.join(folder, MASKS), "wb") as masks_file,
    ):
        table = MaskTable(masks_file)
        for places in chunks_in_parallel(places_of, chunks(documents, len), num_workers):
            numbers = np.array([table.number(mask) for mask in places.masks], np.uint16)
            numbers_file.write(numbers[places.numbers].tobytes())
            bar.update(len(places.numbers))
    return [NUMBERS, MASKS]


class MaskTable:
    """The masks so far, in a file that is written as they come."""

    def __init__(self, file):
        self.file = file
        self.number_of = {}  # packed mask: number
        self.number(b"\xff" * (tct.vocab_size() // 8))

    def number(self, mask):
        """Of a packed mask, known or new."""
        if mask not in self.number_of:
            if len(self.number_of) == MAX_MASKS:
                return EVERYTHING
            self.number_of[mask] = len(self.number_of)
            self.file.write(mask)
        return self.number_of[mask]


# ---- train.py reads them


class FolderPlaces(NamedTuple):
    """The places in a folder's train.bin."""

    numbers: np.ndarray  # uint16 (tokens,): which of the folder's masks is at each
    first: int  # the number that its first mask has among those of all folders


def load_masks(data):
    """(places, masks) of a data.windows.Data.

    places: FolderPlaces of each folder, which take no memory. masks: uint8 (masks, vocab_size), of
    all folders together, 1 for what might come. Raises ValueError for what is missing or damaged.
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
        places.append(FolderPlaces(numbers, sum(map(len, tables))))
        tables.append(masks)
    return places, np.concatenate(tables)


def load_folder_masks(folder, n_tokens):
    """(numbers, masks) of one folder. Raises OSError or ValueError."""
    numbers = map_uint16(os.path.join(folder, NUMBERS))
    packed = np.fromfile(os.path.join(folder, MASKS), np.uint8).reshape(-1, tct.vocab_size() // 8)
    if len(numbers) != n_tokens or numbers.max(initial=0) >= len(packed):
        raise ValueError(f"{NUMBERS} or {MASKS} does not fit train.bin")
    return numbers, np.unpackbits(packed, axis=1)


def no_masks(data):
    """What load_masks() returns, where everything might have come."""
    nothing = np.uint16(EVERYTHING)
    places = [FolderPlaces(np.broadcast_to(nothing, len(ids)), 0) for ids in data.ids["train"]]
    return places, np.ones((1, tct.vocab_size()), np.uint8)
