"""Tests of data/windows.py: the window layout, reading prepared folders, packing rows."""

import numpy as np
import pytest

from data.epochs import Epoch
from data.masks import FolderPlaces
from data.windows import (
    STRIDE,
    WINDOW,
    best_fit,
    count_targets,
    document_windows,
    fill,
    fill_window,
    load,
    next_start,
    open_window,
    pack,
    position_token,
)
from tests.training import write_data

# ---- the layout


def test_a_window_predicts_each_content_token_and_never_the_position():
    idx = np.zeros(3, np.int64)
    targets = np.zeros(3, np.int64)
    fill_window(idx, targets, [11, 12, 13], 7 * STRIDE, 8192)
    assert idx.tolist() == [7, 11, 12]
    assert targets.tolist() == [11, 12, 13]
    assert open_window([0] * STRIDE + [11, 12, 13], STRIDE, 8192) == [1, 11, 12, 13]


def test_a_position_far_into_a_document_is_still_an_id():
    assert position_token(8191 * STRIDE, 8192) == 8191
    assert position_token(9999 * STRIDE, 8192) == 8191
    assert position_token(48, 8192, stride=16) == 3


@pytest.mark.parametrize("block_size", [32, 64, 96, 256])
def test_document_windows_score_every_token_once_and_overlap(block_size):
    hop = next_start(block_size, block_size)
    for length in range(1, 4 * block_size):
        scored = []
        for start, end, first in document_windows(length, block_size, hop):
            assert start % STRIDE == 0 and start <= first < end <= start + block_size
            scored += range(first, end)
        assert scored == list(range(length))


@pytest.mark.parametrize("block_size", [32, 64, 96, 256])
def test_a_window_that_is_full_keeps_about_half_a_block(block_size):
    for length in range(block_size, 3 * block_size):
        start = next_start(length, block_size)
        assert start % STRIDE == 0
        assert block_size // 2 - STRIDE < length - start <= block_size // 2


# ---- rows


def test_an_epoch_has_every_token_once_and_hardly_any_padding(tmp_path):
    data = load(str(write_data(tmp_path / "d", documents=2000)))
    table = data.tables["train"]
    block_size = 256
    assert (table[:, 2] > block_size).sum() > 50
    epochs = [pack(table, block_size, 1, epoch) for epoch in (0, 1)]
    for rows in epochs:
        assert all(row["length"].sum() <= block_size for row in rows)
        n_targets = count_targets((None, row) for row in rows)
        assert 1 - n_targets / (len(rows) * block_size) < 0.03
        windows = np.sort(np.concatenate(rows), order="begin")
        # they tile the file
        ends = np.cumsum(windows["length"])
        assert (windows["begin"] == ends - windows["length"]).all()
        assert ends[-1] == len(data.ids["train"][0])
        # and know where in their document they start
        document = np.searchsorted(table[:, 1], windows["begin"], "right") - 1
        assert (windows["begin"] - table[document, 1] == windows["start"]).all()
        assert not (windows["start"] % STRIDE).any()


def test_an_epoch_can_be_packed_again_and_another_is_cut_elsewhere(tmp_path):
    table = load(str(write_data(tmp_path / "d"))).tables["train"]

    def begins(epoch):
        return np.sort(np.concatenate(pack(table, 256, 1, epoch))["begin"])

    first, again = pack(table, 256, 1, 0), pack(table, 256, 1, 0)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(begins(0), begins(1))


def test_a_window_goes_into_the_fullest_row_that_has_room():
    assert best_fit([7, 6, 4, 3, 2, 2, 1], 10) == [0, 1, 1, 0, 2, 2, 2]
    assert best_fit([10, 5, 5, 1], 10) == [0, 1, 1, 2]


def test_a_row_predicts_each_content_token_from_what_is_before_it():
    ids = [np.array([10, 11, 12, 13], np.uint16), np.array([20, 21], np.uint16)]
    places = [
        FolderPlaces(np.array([1, 2, 3, 4], np.uint16), 0),
        FolderPlaces(np.array([5, 65_535], np.uint16), 65_536),
    ]
    batch = np.zeros((4, 1, 8), np.int64)
    row = np.array([(0, 1, 3, 7 * STRIDE), (1, 0, 2, 0)], WINDOW)
    fill([(Epoch(ids, places, [row]), row)], batch, 8192)
    assert batch[:, 0].tolist() == [
        [7, 11, 12, 0, 20, 0, 0, 0],
        [11, 12, 13, 20, 21, -1, -1, -1],
        [0, 0, 0, 1, 1, 2, 2, 2],
        [2, 3, 4, 65_541, 131_071, 0, 0, 0],
    ]


# ---- folders


def test_several_folders_read_as_one_unless_their_tokenizers_differ(tmp_path):
    a = write_data(tmp_path / "a", 1)
    b = write_data(tmp_path / "b", 2)
    data = load(f"{a},{b}")
    documents = data.documents("train")
    assert len(documents) == 240
    whole = np.concatenate([np.fromfile(folder / "train.bin", np.uint16) for folder in (a, b)])
    assert np.array_equal(np.concatenate(documents), whole)
    with pytest.raises(ValueError, match="twice"):
        load(f"{a},{b},{a}")
    with pytest.raises(ValueError, match="differ in tokenizer_hash"):
        load(f"{a},{write_data(tmp_path / 'c', 3, tokenizer_hash='0')}")


@pytest.mark.parametrize("damage", ["short ids", "wrong id", "no index"])
def test_a_damaged_folder_is_named_with_the_command_that_makes_it_again(tmp_path, damage):
    folder = write_data(tmp_path / "a b")
    ids = np.fromfile(folder / "val.bin", np.uint16)
    if damage == "short ids":
        ids[:-1].tofile(folder / "val.bin")
    elif damage == "wrong id":
        ids[5] = 8192
        ids.tofile(folder / "val.bin")
    else:
        (folder / "val.idx").unlink()
    with pytest.raises(ValueError, match=r"cannot use the data in .*a b .*python prepare.py '--"):
        load(str(folder))
