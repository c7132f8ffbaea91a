"""Prepared folders as windows and training rows: load, pack, fill; the home of the window layout.

A window is a piece of a document that starts at token `start`, with its position token before it,
start // 32. Inputs and targets are shifted against each other:

    inputs   [position, c1, ..., c(n-1)]
    targets  [c1, c2, ..., cn]

so each content token is predicted once and a position token never. A training row of block_size
positions holds whole windows back to back (pack, fill). To score or to continue a document longer
than block_size, the window is moved on by half a block (document_windows, next_start).
"""

import bisect
import itertools
import json
import os
from typing import NamedTuple

import numpy as np

from data.files import map_uint16
from run.commands import command_to_prepare

STRIDE = 32  # windows start at its multiples; the position token counts in it

# A window of a training row
WINDOW = np.dtype(
    [
        ("folder", np.int64),  # number of the folder that holds its document
        ("begin", np.int64),  # its first id's place in that folder's file
        ("length", np.int64),  # tokens of content
        ("start", np.int64),  # its first token's place in the document
    ]
)


# --------------------------------------------------------------------------------------------------
# the layout


def position_token(start, vocab_size, stride=STRIDE):
    """The token before a window that starts at this token of its document."""
    return min(start // stride, vocab_size - 1)


def fill_window(idx, targets, content, start, vocab_size):
    """Writes a window of n tokens into idx (n,) and targets (n,), in place."""
    idx[0] = position_token(start, vocab_size)
    idx[1:] = content[:-1]
    targets[:] = content


def open_window(tokens, start, vocab_size):
    """What a model reads to continue a list of tokens, from `start` on."""
    return [position_token(start, vocab_size), *tokens[start:]]


def next_start(length, block_size):
    """Where the next window starts after one that is full at `length` tokens of the document.

    It keeps the last half block, less what is before the next multiple of STRIDE.
    """
    return -(-(length - block_size // 2) // STRIDE) * STRIDE


def document_windows(length, block_size, hop):
    """Windows (start, end, first scored) over a document of `length` tokens, one every `hop`.

    Each but the first scores only what the one before did not reach, so every token is scored once.
    """
    start = 0
    scored = 0
    while scored < length:
        end = min(start + block_size, length)
        yield start, end, scored
        start += hop
        scored = end


# --------------------------------------------------------------------------------------------------
# load


class Data(NamedTuple):
    """Prepared folders, read as one."""

    ids: dict  # {split: [uint16 array, memory-mapped, one for each folder]}
    tables: dict  # {split: (documents, 3) int64: folder number, first id, length}
    metas: dict  # {folder: its meta.json}

    def documents(self, split):
        """The ids of each document: a list of uint16 arrays."""
        ids = self.ids[split]
        return [ids[folder][begin : begin + n] for folder, begin, n in self.tables[split].tolist()]


def load(data_dir):
    """Data: what prepare.py wrote, of one folder or several, comma-separated.

    Raises ValueError for what is missing, damaged or not the same tokenizer's.
    """
    data = Data({"train": [], "val": []}, {"train": [], "val": []}, {})
    for number, folder in enumerate(data_dir.split(",")):
        if folder in data.metas:
            raise ValueError(f"{data_dir} names {folder} twice. Name each folder once")
        try:
            load_folder(data, folder, number)
        except (OSError, ValueError, KeyError) as e:
            raise ValueError(
                f"cannot use the data in {folder} ({type(e).__name__}: {e}). "
                f"Run {command_to_prepare(folder)}"
            ) from e
        first = next(iter(data.metas.values()))
        for key in ("vocab_size", "tokenizer_hash"):
            if data.metas[folder][key] != first[key]:
                raise ValueError(
                    f"the folders of {data_dir} differ in {key}. Run prepare.py on each of them "
                    "again."
                )
    tables = {split: np.concatenate(parts) for split, parts in data.tables.items()}
    for split, table in tables.items():
        if not len(table):
            raise ValueError(
                f"{data_dir} has no documents for {split}. Name a second folder that has, after a "
                "comma, or run prepare.py with a --train_split between 0 and 1"
            )
    return data._replace(tables=tables)


def load_folder(data, folder, number):
    """Appends a folder to data. Raises OSError, ValueError or KeyError."""
    with open(os.path.join(folder, "meta.json"), encoding="utf-8") as f:
        meta = json.load(f)
    for split in data.ids:
        path = os.path.join(folder, f"{split}.bin")
        ids = map_uint16(path)
        offsets = np.fromfile(os.path.join(folder, f"{split}.idx"), np.int64)
        sizes = len(offsets) - 1, len(ids)
        promised = meta[split]["documents"], meta[split]["tokens"]
        lengths = np.diff(offsets)
        is_sound = (
            sizes == promised
            and offsets[-1] == len(ids)
            and (lengths > 0).all()
            and ids.max(initial=0) < meta["vocab_size"]
        )
        if not is_sound:
            raise ValueError(
                f"{split}.bin or {split}.idx holds {sizes} (documents, tokens), meta.json says "
                f"{promised}"
            )
        data.ids[split].append(ids)
        folders = np.full_like(lengths, number)
        data.tables[split].append(np.stack([folders, offsets[:-1], lengths], axis=1))
    data.metas[folder] = meta


# --------------------------------------------------------------------------------------------------
# pack


def pack(table, block_size, seed, epoch):
    """The rows of an epoch in training order: a list of WINDOW arrays.

    table: Data.tables["train"]. Every token of its documents is in exactly one window. The windows
    go, longest first, into the fullest row that has room for them (best fit,
    https://arxiv.org/abs/2404.10830). 100,000 documents take about a second.
    """
    rng = np.random.default_rng([seed, epoch])
    windows = cut_windows(table, block_size, rng)
    windows = windows[rng.permutation(len(windows))]
    windows = windows[np.argsort(-windows["length"], kind="stable")]
    row_of = best_fit(windows["length"].tolist(), block_size)
    by_row = windows[np.argsort(row_of, kind="stable")]
    rows = np.split(by_row, np.cumsum(np.bincount(row_of))[:-1])
    return [rows[i] for i in rng.permutation(len(rows))]


def cut_windows(table, block_size, rng):
    """A WINDOW array of all documents.

    One of up to block_size tokens is one window; a longer one is cut every block_size tokens,
    beginning at a multiple of STRIDE that rng draws.
    """
    is_short = table[:, 2] <= block_size
    windows = [(folder, begin, length, 0) for folder, begin, length in table[is_short].tolist()]
    for folder, begin, length in table[~is_short].tolist():
        first_cut = STRIDE * int(rng.integers(1, block_size // STRIDE + 1))
        cuts = [0, *range(first_cut, length, block_size), length]
        for start, end in itertools.pairwise(cuts):
            windows.append((folder, begin + start, end - start, start))
    return np.array(windows, WINDOW)


def best_fit(lengths, block_size):
    """The number of the row of each window: the fullest that has room for it, else a new one.

    lengths: of the windows, descending.
    """
    rows_with_room = [[] for _ in range(block_size + 1)]  # [r]: the rows that have r positions left
    rooms = []  # the r for which there is such a row, ascending
    n_rows = 0
    row_of = []
    for length in lengths:
        at = bisect.bisect_left(rooms, length)  # the least room that is enough
        if at < len(rooms):
            room = rooms[at]
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                del rooms[at]
        else:
            room = block_size
            row = n_rows
            n_rows += 1
        row_of.append(row)
        room -= length
        if room:
            if not rows_with_room[room]:
                bisect.insort(rooms, room)
            rows_with_room[room].append(row)
    return row_of


# --------------------------------------------------------------------------------------------------
# fill


def fill(rows, batch, vocab_size):
    """Writes rows, pairs (Epoch, WINDOW array), into batch (4, len(rows), block_size) int64.

    batch: idx; targets, -1 where there is none; the number of each position's window in its row,
    which keeps attention within it (padding counts as one more); and that of the mask which holds
    what its target might have been.
    """
    idx, targets, window_of, place = batch
    targets[:] = -1
    for b, (epoch, windows) in enumerate(rows):
        at = 0
        for number, (folder, begin, length, start) in enumerate(windows.tolist()):
            end = at + length
            content = epoch.ids[folder][begin : begin + length]
            fill_window(idx[b, at:end], targets[b, at:end], content, start, vocab_size)
            window_of[b, at:end] = number
            places = epoch.places[folder]
            place[b, at:end] = places.numbers[begin : begin + length]
            place[b, at:end] += places.first
            at = end
        window_of[b, at:] = len(windows)


def count_targets(rows):
    """How many targets there are in rows."""
    return sum(int(windows["length"].sum()) for _, windows in rows)
