"""Facts about prepare.py --inspect: what passes, what is found, what is said of other folders."""

import json
import shutil

import numpy as np
import pytest
from tqdm import tqdm

from data.inspect_folder import inspect_folder
from tests.preparing import documents, prepared, write_rows


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound")
    prepared(write_rows(path / "in.jsonl", 30, 10), f"--data_dir={path}/d")
    return path / "d"


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "d")


def inspected(folder, capsys):
    """(exit status, what was printed) of an inspection."""
    status = inspect_folder(str(folder), 1, tqdm(disable=True))
    return status, capsys.readouterr().out


def test_a_sound_folder_passes_and_is_described(sound):
    done = prepared(f"--inspect={sound}/")
    for said in ("verified", "100.0%  push", "100.0%  ubuntu-latest", "runs-on: ubuntu-latest"):
        assert said in done.stdout


def test_a_changed_token_and_a_project_on_both_sides_are_found(folder):
    tokens = np.fromfile(folder / "val.bin", np.uint16)
    tokens[3] ^= 1
    tokens.tofile(folder / "val.bin")
    project = (folder / "val.proj").read_bytes()[:8]
    (folder / "train.proj").write_bytes(project * len(documents(folder, "train")))
    done = prepared(f"--inspect={folder}", check=False)
    assert done.returncode == 1
    assert "sha256 differs" in done.stdout and "both sides" in done.stdout


@pytest.mark.parametrize("name", ["train.bin", "train.idx", "train.proj"])
@pytest.mark.parametrize("size", [0, 30])
def test_a_file_of_another_length_is_found(folder, name, size, capsys):
    with open(folder / name, "rb+") as f:
        f.truncate(size)
    status, said = inspected(folder, capsys)
    assert status == 1 and "do not fit together" in said


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "\xff", '{"format": 1}', '{"format": 1, "train": {}, "val": 3}'],
)
def test_a_meta_json_that_is_not_ours_is_named(folder, text):
    (folder / "meta.json").write_text(text, encoding="latin-1")
    with pytest.raises(OSError) as e:
        inspect_folder(str(folder), 1, tqdm(disable=True))
    assert e.value.filename == str(folder / "meta.json")
    assert "damaged, or not written by prepare.py" in e.value.strerror


@pytest.mark.parametrize("key", ["source", "split_by", "context", "tokenizer_hash", "val"])
def test_a_meta_json_without_one_of_its_fields_is_named(folder, key):
    meta = json.loads((folder / "meta.json").read_text())
    del meta[key]
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(OSError, match="damaged, or not written by prepare.py"):
        inspect_folder(str(folder), 1, tqdm(disable=True))


@pytest.mark.parametrize("kind", ["no folder", "another folder", "a file"])
def test_what_is_no_prepared_folder_is_told_how_to_become_one(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "another folder":
        path.mkdir()
    elif kind == "a file":
        path.touch()
    with pytest.raises(OSError, match="run prepare.py") as e:
        inspect_folder(str(path), 1, tqdm(disable=True))
    assert e.value.filename == str(path)


def test_what_is_no_prepared_folder_is_said_in_one_line(tmp_path):
    done = prepared(f"--inspect={tmp_path}", check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and str(tmp_path) in done.stderr
