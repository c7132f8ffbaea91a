"""Writes a prepared folder: the documents of both splits, and what is known of them.

train.bin and val.bin hold uint16 token ids, documents back to back; .idx int64 offsets into them,
one more than there are documents; .proj uint64, a hash of what each document belongs to.
"""

import hashlib
import itertools
import os
import shutil
from dataclasses import dataclass

import numpy as np

import tct_github_workflow as tct
from data.files import map_uint16
from data.windows import document_windows, position_token

TOKENS = "all.bin"  # the tokens of all documents, in the order of Documents


@dataclass
class Documents:
    """The valid workflows: an entry each, in the order of their tokens in the file TOKENS."""

    lengths: np.ndarray  # int64, tokens
    sizes: np.ndarray  # bytes of minified JSON
    near: np.ndarray  # uint64, hash that near duplicates share
    groups: np.ndarray  # uint64, hash of what falls on one side of the split as a whole
    has_project: np.ndarray  # bool

    def slices(self, is_chosen):
        """Where in TOKENS each of the chosen documents stands."""
        ends = np.cumsum(self.lengths)
        starts = ends - self.lengths
        return list(map(slice, starts[is_chosen].tolist(), ends[is_chosen].tolist()))


def write_split(folder, split, documents, is_chosen):
    """Writes folder/split.bin, .idx and .proj. Returns (their part of meta.json, their names)."""
    lengths = documents.lengths[is_chosen]
    groups = documents.groups[is_chosen]
    path = os.path.join(folder, split)
    sha256 = hashlib.sha256()
    with open(f"{path}.bin", "wb") as f:
        for document in read_documents(folder, documents, is_chosen):
            sha256.update(document)
            f.write(document)
    np.concatenate([[0], np.cumsum(lengths)]).tofile(f"{path}.idx")
    groups.tofile(f"{path}.proj")
    part = {
        "documents": lengths.size,
        "tokens": int(lengths.sum()),
        "bytes": int(documents.sizes[is_chosen].sum()),
        "projects": np.unique(groups).size,
        "sha256": sha256.hexdigest(),
    }
    return part, [f"{split}.bin", f"{split}.idx", f"{split}.proj"]


def read_documents(folder, documents, is_chosen):
    """Yields each of the chosen documents, as the bytes of its uint16 ids."""
    tokens = map_uint16(os.path.join(folder, TOKENS))
    for where in documents.slices(is_chosen):
        yield tokens[where].tobytes()


def write_windows(folder, split, documents, is_chosen, block_size, stride):
    """Writes folder/split.pt, an int16 tensor (windows, block_size), and returns its name.

    A row is a position, counted in strides, then content, then padding: every window of each
    document that begins at a multiple of stride. Raises OSError where the disk is too small.
    """
    import torch

    n_rows = 0
    for length in documents.lengths[is_chosen].tolist():
        n_rows += sum(1 for _ in windows_of(length, block_size, stride))
    size = 2 * n_rows * block_size
    print(f"{split}.pt     {n_rows:,} windows of {block_size}: {size / 1e9:.2f} GB")
    if shutil.disk_usage(folder).free < 2.1 * size:
        raise OSError(0, "the disk has no room for twice that", folder)
    path = os.path.join(folder, "windows")
    rows = np.memmap(path, np.int16, "w+", shape=(n_rows, block_size))
    next_row = iter(rows)
    for tokens in read_documents(folder, documents, is_chosen):
        document = np.frombuffer(tokens, np.uint16)
        for start, end, _ in windows_of(len(document), block_size, stride):
            row = next(next_row)
            row[0] = position_token(start, tct.vocab_size(), stride)
            row[1 : 1 + end - start] = document[start:end]
            row[1 + end - start :] = tct.pad_token()
    torch.save(torch.from_numpy(rows), os.path.join(folder, f"{split}.pt"))
    return f"{split}.pt"


def windows_of(length, block_size, stride):
    """The windows (start, end, first scored) of a document, as many as there are positions."""
    windows = document_windows(length, block_size - 1, stride)
    return itertools.islice(windows, tct.pad_token())


def move_into_place(tmp, folder, names):
    """Replaces what folder holds by these files of tmp, of which meta.json is the last.

    All are on the disk before the first is moved. In between, without meta.json, it is no dataset.
    """
    for name in names:
        if os.path.isdir(os.path.join(folder, name)):
            raise OSError(0, "is a folder: name another data_dir", os.path.join(folder, name))
        with open(os.path.join(tmp, name), "rb+") as f:
            os.fsync(f.fileno())
    for name in outdated(folder):
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))
    for name in names:
        os.replace(os.path.join(tmp, name), os.path.join(folder, name))


def outdated(folder):
    """The files of an earlier dataset that would not match those of a new one."""
    try:
        with open(os.path.join(folder, "meta.json"), encoding="utf-8", errors="replace") as f:
            exported = '"export_windows": true' in f.read()
    except FileNotFoundError:
        return []
    return ["meta.json", "train.pt", "val.pt"] if exported else ["meta.json"]
