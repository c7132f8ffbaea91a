"""Prepared folders as training rows: what train.py reads, packed so that hardly a position is padding.

A window is a piece of a document with its position token before it: start // 32, where it starts at token `start`. A row of
block_size positions holds whole windows back to back. The inputs are [position, c1, ..., c(n-1)] and the targets [c1, ..., cn]:
each content token is predicted once, a position token never, and a row has as many targets as inputs but for its padding.
"""

import json
import os

import numpy as np

STRIDE = 32  # windows start at its multiples; the position token counts in it


def load(data_dir):
    """What prepare.py wrote, of one folder or several, comma-separated: (ids, tables, metas).

    ids: {split: [memory-mapped uint16, one array per folder]}. tables: {split: (documents, 3) int64: folder number, first id,
    length}. metas: {folder: its meta.json}. Raises ValueError for what is missing, damaged or not the same tokenizer's.
    """
    ids, tables, metas = {"train": [], "val": []}, {"train": [], "val": []}, {}
    for number, folder in enumerate(data_dir.split(",")):
        try:
            with open(os.path.join(folder, "meta.json"), encoding="utf-8") as f:
                metas[folder] = meta = json.load(f)
            for split in ids:
                ids[split].append(np.memmap(os.path.join(folder, f"{split}.bin"), np.uint16, "r"))
                offsets = np.fromfile(os.path.join(folder, f"{split}.idx"), np.int64)
                found, want = (
                    (len(offsets) - 1, len(ids[split][-1])),
                    (meta[split]["documents"], meta[split]["tokens"]),
                )
                lengths = np.diff(offsets)
                if (
                    found != want
                    or offsets[-1] != found[1]
                    or lengths.min() < 1
                    or ids[split][-1].max() >= meta["vocab_size"]
                ):
                    raise ValueError(
                        f"{split}.bin or {split}.idx holds {found} (documents, tokens), meta.json says {want}"
                    )
                tables[split].append(
                    np.stack([np.full_like(lengths, number), offsets[:-1], lengths], axis=1)
                )
        except (OSError, ValueError, KeyError) as e:
            raise ValueError(
                f"cannot use the data in {folder} ({type(e).__name__}: {e}). Run prepare.py --data_dir={folder}"
            ) from e
        for key in ("vocab_size", "tokenizer_hash"):
            if meta[key] != next(iter(metas.values()))[key]:
                raise ValueError(
                    f"the folders of {data_dir} differ in {key}. Run prepare.py on each of them again."
                )
    return ids, {split: np.concatenate(parts) for split, parts in tables.items()}, metas


def pack(table, block_size, seed, epoch):
    """The rows of an epoch, in training order: arrays (windows, 4) of folder number, first id, length, position token.

    Every token of table's documents is in exactly one window. A document of up to block_size tokens is one window; a longer one is
    cut every block_size tokens, in each epoch from another multiple of STRIDE on. The windows go, longest first, into the fullest
    row that has room for them (best fit, https://arxiv.org/abs/2404.10830). 100,000 documents take about a second.
    """
    rng = np.random.default_rng([seed, epoch])
    short = table[:, 2] <= block_size
    windows = [np.pad(table[short], ((0, 0), (0, 1)))]
    for folder, begin, length in table[~short]:
        cuts = [
            0,
            *range(STRIDE * rng.integers(1, block_size // STRIDE + 1), length, block_size),
            length,
        ]
        windows.append(
            np.array([(folder, begin + a, b - a, a // STRIDE) for a, b in zip(cuts[:-1], cuts[1:])])
        )
    windows = rng.permutation(np.concatenate(windows))
    windows = windows[np.argsort(-windows[:, 2], kind="stable")]
    row_of, n_rows = np.empty(len(windows), np.int64), 0
    room, fits = (
        [[] for _ in range(block_size + 1)],
        0,
    )  # room[r]: rows with r positions left; bit r of fits: there are some
    for i, length in enumerate(windows[:, 2].tolist()):
        enough = fits >> length
        if enough:
            left = (
                length + (enough & -enough).bit_length() - 1
            )  # the lowest bit set, at or above length
            row = room[left].pop()
            fits ^= (not room[left]) << left
        else:
            left, row, n_rows = block_size, n_rows, n_rows + 1
        row_of[i] = row
        if left > length:
            room[left - length].append(row)
            fits |= 1 << left - length
    rows = np.split(windows[np.argsort(row_of, kind="stable")], np.cumsum(np.bincount(row_of))[:-1])
    return [rows[i] for i in rng.permutation(n_rows)]


def fill(rows, ids, batch, vocab_size):
    """Write rows, as pack() gives them, into batch (3, len(rows), block_size) int64: idx, targets (-1 where there is none) and the
    number of each position's window in its row, which keeps attention within it (padding counts as one more)."""
    idx, targets, window_of = batch
    targets[:] = -1
    for b, windows in enumerate(rows):
        at = 0
        for number, (folder, begin, length, position) in enumerate(windows):
            content = ids[folder][begin : begin + length]
            idx[b, at] = min(position, vocab_size - 1)
            idx[b, at + 1 : at + length] = content[:-1]
            targets[b, at : at + length] = content
            window_of[b, at : at + length] = number
            at += length
        window_of[b, at:] = len(windows)
