"""data/epochs.py and data/masks.py: tokens spelled by their parts, and what might have come."""

import os

import numpy as np
import pytest
from tqdm import tqdm

import tct_github_workflow as tct
from data import masks
from data.epochs import make_epoch, split_tokens
from data.masks import EVERYTHING, MASKS, NUMBERS, load_masks, no_masks, write_masks
from data.windows import load
from tct_github_workflow.vocab import token_bytes, token_parts

from .preparing import prepared, workflow
from .training import write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two folders of real tokens, prepared."""
    folders = []
    for name in ("a", "b"):
        folder = tmp_path_factory.mktemp(name)
        (folder / "in").mkdir()
        for i in range(30):
            (folder / "in" / f"{name}{i}.yml").write_text(workflow(f"{name}{i}"))
        prepared(f"--input={folder}/in", f"--data_dir={folder}/d")
        folders.append(f"{folder}/d")
    return load(",".join(folders))


def epoch_of(data, number, split_share):
    places, _ = load_masks(data)
    return make_epoch(data, places, 4096, 1, number, split_share)


def documents_of(epoch, block_size=4096):
    """Each whole document of an epoch: (ids, numbers of masks)."""
    found = []
    for windows in epoch.rows:
        for folder, begin, length, start in windows.tolist():
            assert start == 0 and length <= block_size
            where = slice(begin, begin + length)
            places = epoch.places[folder]
            found.append((epoch.ids[folder][where], places.first + places.numbers[where]))
    return found


# ---- parts


def test_the_parts_of_a_token_spell_it():
    parts = token_parts()
    assert sum(map(bool, parts)) > 7_000
    for i, of_one in enumerate(parts):
        if of_one:
            assert len(of_one) > 1 and b"".join(token_bytes(of_one)) == token_bytes([i])[0]


def test_split_documents_say_the_same(data):
    epoch = epoch_of(data, 0, 0.3)
    whole = epoch_of(data, 0, 0.0)
    said = sorted(tct.decode(ids.tolist())[0] for ids, _ in documents_of(epoch))
    assert said == sorted(tct.decode(ids.tolist())[0] for ids, _ in documents_of(whole))
    assert sum(map(len, epoch.ids)) > 1.2 * sum(map(len, whole.ids))


def test_epochs_are_split_anew_and_each_is_the_same_again(data):
    first = epoch_of(data, 0, 0.3)
    again = epoch_of(data, 0, 0.3)
    second = epoch_of(data, 1, 0.3)
    assert np.array_equal(first.ids[0], again.ids[0])
    assert not np.array_equal(first.ids[0], second.ids[0])


def test_a_share_of_one_leaves_nothing_that_has_parts():
    tokens = np.arange(8191, dtype=np.uint16)
    spelling = split_tokens(tokens, 1.0, np.random.default_rng(0))
    assert not any(token_parts()[i] for i in np.unique(spelling.ids).tolist())
    assert np.array_equal(spelling.origin[spelling.is_first], tokens)


# ---- masks


def test_each_token_of_an_epoch_is_allowed_by_the_mask_at_its_place(data):
    _, allowed = load_masks(data)
    for share in (0.0, 0.3):
        epoch = epoch_of(data, 0, share)
        for ids, places in documents_of(epoch):
            assert allowed[places, ids].all()
            assert share or not allowed[places].all(1).any()


def test_masks_are_the_matchers(data):
    _, allowed = load_masks(data)
    for ids, places in documents_of(epoch_of(data, 0, 0.3))[:10]:
        matcher = tct.Matcher(rules=masks.RULES)
        for token, place in zip(ids.tolist(), places.tolist(), strict=True):
            if not allowed[place].all():
                assert np.array_equal(allowed[place], matcher.next_token_mask())
            assert matcher.accept_token(token)


def test_masks_are_those_of_train_alone(data):
    for folder in data.metas:
        n_tokens = data.metas[folder]["train"]["tokens"]
        numbers, allowed = masks.load_folder_masks(folder, n_tokens)
        assert set(numbers.tolist()) | {EVERYTHING} == set(range(len(allowed)))


def write_masks_of(folder, documents):
    """write_masks() of lists of ids, without a bar on the screen."""
    as_bytes = [np.array(document, np.uint16).tobytes() for document in documents]
    assert write_masks(folder, as_bytes, 2, tqdm(disable=True)) == [NUMBERS, MASKS]


def test_masks_without_a_number_allow_everything(monkeypatch, tmp_path):
    monkeypatch.setattr(masks, "MAX_MASKS", 5)
    tokens = tct.encode(tct.yaml_to_json(workflow("x")))
    write_masks_of(tmp_path, [tokens])
    numbers, allowed = masks.load_folder_masks(tmp_path, len(tokens))
    assert set(numbers.tolist()) == {0, 1, 2, 3, 4} and len(allowed) == 5
    assert allowed[numbers, tokens].all() and allowed[EVERYTHING].all()


@pytest.mark.parametrize("name", ["train.masks", "masks.bin"])
def test_masks_that_do_not_fit_are_refused_and_can_be_done_without(tmp_path, name):
    folder = write_data(tmp_path / "d")
    os.truncate(folder / name, os.path.getsize(folder / name) // 2048 * 1024)
    data = load(str(folder))
    with pytest.raises(ValueError, match="does not fit"):
        load_masks(data)
    os.remove(folder / name)
    with pytest.raises(ValueError, match=f"{name}.*validity_weight=0"):
        load_masks(data)
    (places,), allowed = no_masks(data)
    assert len(places.numbers) == len(data.ids["train"][0]) and allowed[places.numbers].all()
