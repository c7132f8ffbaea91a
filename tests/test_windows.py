"""Tests of the packing of prepared folders into rows."""

import numpy as np
import pytest

from data.packing import fill, load, pack
from tests.training import write_data


def test_an_epoch_has_every_token_once_and_hardly_any_padding(tmp_path):
    ids, tables, _ = load(str(write_data(tmp_path / "d", documents=2000)))
    table, block_size = tables["train"], 256
    assert (table[:, 2] > block_size).sum() > 50
    for epoch in 0, 1:
        rows = pack(table, block_size, 1, epoch)
        windows = np.concatenate(rows)
        order = windows[np.argsort(windows[:, 1])]
        assert (
            order[0, 1] == 0 and (order[1:, 1] == order[:-1, 1] + order[:-1, 2]).all()
        )  # they tile the file
        assert order[-1, 1] + order[-1, 2] == len(ids["train"][0])
        assert all(row[:, 2].sum() <= block_size for row in rows)
        assert 1 - windows[:, 2].sum() / (len(rows) * block_size) < 0.03
        begins = table[np.searchsorted(table[:, 1], windows[:, 1], "right") - 1, 1]
        assert (
            windows[:, 1] - begins == 32 * windows[:, 3]
        ).all()  # a window starts where its position token says
    again = pack(table, block_size, 1, 1)
    assert all(np.array_equal(a, b) for a, b in zip(rows, again))
    assert not np.array_equal(
        np.sort(np.concatenate(pack(table, block_size, 1, 0))[:, 1]), np.sort(windows[:, 1])
    )  # other cuts


def test_a_row_predicts_each_content_token_from_what_is_before_it():
    ids = [np.array([10, 11, 12, 13], np.uint16), np.array([20, 21], np.uint16)]
    batch = np.zeros((3, 1, 8), np.int64)
    fill([np.array([[0, 1, 3, 7], [1, 0, 2, 0]])], ids, batch, 8192)
    assert batch[:, 0].tolist() == [
        [7, 11, 12, 0, 20, 0, 0, 0],
        [11, 12, 13, 20, 21, -1, -1, -1],
        [0, 0, 0, 1, 1, 2, 2, 2],
    ]


def test_several_folders_read_as_one_unless_their_tokenizers_differ(tmp_path):
    a, b = write_data(tmp_path / "a", 1), write_data(tmp_path / "b", 2)
    ids, tables, _ = load(f"{a},{b}")
    for folder, first, length in tables["train"][[0, 119, 120, 239]]:
        assert len(ids["train"][folder][first : first + length]) == length
    assert tables["train"][120:, 0].all() and tables["train"][:, 2].sum() == sum(
        map(len, ids["train"])
    )
    with pytest.raises(ValueError, match="differ in tokenizer_hash"):
        load(f"{a},{write_data(tmp_path / 'c', 3, tokenizer_hash='0')}")
