"""Facts about data/sources.py and its parts: what is read out of what, and what is refused."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import random
import tarfile
import zipfile

import pytest

import tct_github_workflow as tct
from data import archives, kinds
from data.sources import read_input
from tests.preparing import prepared, workflow, write_tar


def read(path, **kwargs):
    return list(read_input(str(path), **kwargs))


# ---- what is read


def forms(path):
    """Writes the same three workflows in every form; yields what to read and its projects."""
    texts = [workflow(i) for i in range(3)]
    yield plain_folder(path / "plain", texts), [None] * 3
    yield tree_of_clones(path / "clones", texts), [f"me/repo{i}" for i in range(3)]
    files = {f"x/r{i}/.github/workflows/ci.yml": text for i, text in enumerate(texts)}
    write_tar(path / "clones.tgz", files | {"x/r2/z.yml": "no"})
    yield path / "clones.tgz", ["x/r0", "x/r1", "x/r2"]
    files = {f"./json/{i}.yml": text for i, text in enumerate(texts)}
    write_tar(path / "plain.tar.xz", files, "w:xz")
    yield path / "plain.tar.xz", [None] * 3
    with zipfile.ZipFile(path / "plain.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, text in enumerate(texts):
            archive.writestr(f"json/{i}", text)
    yield path / "plain.zip", [None] * 3
    for name, data in files_of_rows(texts).items():
        (path / name).write_bytes(data)
        yield path / name, ["a", "b/c", None]


def plain_folder(path, texts):
    (path / "json").mkdir(parents=True)
    (path / "json" / "a.yml").write_text(texts[0])
    (path / "json" / "b.json").write_text(tct.yaml_to_json(texts[1]))
    (path / "json" / "c").write_text(texts[2])
    (path / "json" / "notes.txt").write_text("no")
    (path / "json" / ".hidden.yml").write_text("no")
    (path / ".git").mkdir()
    return path


def tree_of_clones(path, texts):
    for i, text in enumerate(texts):
        clone = path / f"me/repo{i}"
        (clone / ".github/workflows").mkdir(parents=True)
        (clone / ".github/workflows/ci.yaml").write_text(text)
        (clone / ".github/dependabot.yml").write_text("no")
        (clone / "mkdocs.yml").write_text("no")
    (path / "me/other/.git").mkdir(parents=True)
    (path / "me/other/mkdocs.yml").write_text("no")
    return path


def files_of_rows(texts):
    rows = [
        {"yaml": texts[0], "project": "a"},
        {"json": json.loads(tct.yaml_to_json(texts[1])), "repository": "b/c"},
        {"content": texts[2]},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return {
        "rows.jsonl": text,
        "rows.jsonl.gz": gzip.compress(text),
        "rows.jsonl.xz": lzma.compress(text),
        "rows.jsonl.gz.gz": gzip.compress(gzip.compress(text)),
        "twice.jsonl.gz": gzip.compress(gzip.compress(text)),
    }


def test_every_input_form_gives_the_same_workflows(tmp_path):
    want = [json.loads(tct.yaml_to_json(workflow(i))) for i in range(3)]
    for path, projects in forms(tmp_path):
        found = read(path)
        assert [json.loads(tct.yaml_to_json(w.data)) for w in found] == want, path
        assert [w.project for w in found] == projects, path


def test_a_zip_made_on_windows_is_read(tmp_path):
    """Its backslashes were taken for an attack."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in (r"w\a.yml", r"w\.hidden.yml", "w\\", r"w\..\..\up.yml", r"C:\abs.yml"):
            archive.writestr(name, workflow())
    found = {w.name: w.data or w.problem for w in read(tmp_path / "x.zip")}
    assert found == {
        r"x.zip:w\a.yml": workflow().encode(),
        r"x.zip:w\..\..\up.yml": "unsafe path in an archive",
        r"x.zip:C:\abs.yml": "unsafe path in an archive",
    }


def test_a_clone_in_a_zip_made_on_windows_is_a_clone(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in (r"o\r\.github\workflows\ci.yml", r"o\r\mkdocs.yml"):
            archive.writestr(name, workflow())
    found = read(tmp_path / "x.zip")
    assert [(w.project, w.data) for w in found] == [("o/r", workflow().encode())]


def test_workflow_histories_take_their_project_from_the_csv_beside_them(tmp_path):
    names = [hashlib.sha256(bytes([i])).hexdigest() for i in range(3)]
    (tmp_path / "workflows").mkdir()
    table = "repository,commit_hash,file_hash\n"
    for i, name in enumerate(names):
        (tmp_path / "workflows" / name).write_text(workflow(i))
        if i < 2:
            table += f"o/r{i},x,{name}\n"
    (tmp_path / "workflows.csv.gz").write_bytes(gzip.compress(gzip.compress(table.encode())))
    projects = ["o/r0", "o/r1", None]
    found = {w.name: w.project for w in read(tmp_path / "workflows")}
    assert found == dict(zip(names, projects, strict=True))
    files = {f"workflows/{name}": workflow(i) for i, name in enumerate(names)}
    write_tar(tmp_path / "all.tar.gz", files)
    assert [w.project for w in read(tmp_path / "all.tar.gz")] == projects


@pytest.mark.parametrize("make", ["other columns", "fifo"])
def test_a_table_of_histories_that_cannot_be_read_is_named(tmp_path, make):
    table = tmp_path / "workflows.csv.gz"
    (tmp_path / "workflows").mkdir()
    if make == "fifo":
        os.mkfifo(table)
    else:
        table.write_bytes(gzip.compress(b"a,b\n"))
    done = prepared(
        f"--input={tmp_path}/workflows", f"--data_dir={tmp_path}/d", check=False, timeout=60
    )
    assert done.returncode == 1 and str(table) in done.stderr
    assert ("not a regular file" if make == "fifo" else "'file_hash' is not in list") in done.stderr


def test_folders_named_like_workflows_and_the_data_folder_itself_are_no_workflows(tmp_path):
    (tmp_path / "x.yml").mkdir()
    (tmp_path / "x.yml" / "a.yml").write_text(workflow())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "meta.json").write_text("{}")
    deep = tmp_path
    for _ in range(1200):  # deeper than Python recurses
        deep = deep / "d"
        os.mkdir(deep)
    found = read(tmp_path, avoid=os.stat(tmp_path / "out"))
    assert [w.name for w in found] == ["x.yml/a.yml"]
    while deep != tmp_path:
        os.rmdir(deep)
        deep = deep.parent


# ---- what is hostile


def fifo(p):
    os.mkfifo(p / "x.yml")


def loop(p):
    os.symlink("x.yml", p / "x.yml")


def entry_in_tar(p, kind, link):
    with tarfile.open(p / "x.tar", "w") as archive:
        info = tarfile.TarInfo("x.yml")
        info.type = kind
        info.linkname = link
        archive.addfile(info)


def path_upwards_in_zip(p):
    with zipfile.ZipFile(p / "x.zip", "w") as archive:
        archive.writestr("../x.yml", workflow())


def link_in_zip(p):
    with zipfile.ZipFile(p / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("x.yml")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")


def zip_bomb(p):
    with zipfile.ZipFile(p / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(40):
            archive.writestr(f"{i}.yml", " " * (1 << 20))


def tar_header_bomb(p):
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 30 << 20
    (p / "x.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(30 << 20)))


def unreadable(p):
    (p / "x.yml").write_text(workflow())
    os.chmod(p / "x.yml", 0)
    if os.access(p / "x.yml", os.R_OK):
        # we are root, whom nothing stops: a dangling link cannot be read by anyone
        os.unlink(p / "x.yml")
        os.symlink("nowhere", p / "x.yml")


def large(p):
    (p / "x.yml").touch()
    os.truncate(p / "x.yml", 100 << 20)


def truncated_tar(p):
    write_tar(p / "x.tar", {"x.yml": workflow() * 99}, "w")
    os.truncate(p / "x.tar", 900)


def holds(name, data):
    """A maker of a file of this name and content."""
    return lambda p: (p / name).write_bytes(data)


def tar_of(name, text):
    return lambda p: write_tar(p / "x.tgz", {name: text})


LARGE = {f"{i}.yml": " " * (1 << 20) for i in range(20)}
HOSTILE = {  # what: (its maker, what is said of it)
    "fifo": (fifo, "not a regular file"),
    "link loop": (loop, "unreadable"),
    "unreadable": (unreadable, "unreadable"),
    "large": (large, "larger than"),
    "large line": (holds("x.jsonl", b'"' * (5 << 20)), "too long a line"),
    "large in tar": (tar_of("x.yml", " " * (2 << 20)), "larger than"),
    "gzip bomb": (holds("x.jsonl.gz", gzip.compress(bytes(20 << 20))), "bomb"),
    "large gzip": (holds("x.yml.gz", gzip.compress(bytes(2 << 20))), "larger than"),
    "tar bomb": (lambda p: write_tar(p / "x.tgz", LARGE), "bomb"),
    "tar header bomb": (tar_header_bomb, "bomb"),
    "zip bomb": (zip_bomb, "bomb"),
    "truncated gzip": (holds("x.jsonl.gz", gzip.compress(os.urandom(5000))[:-50]), "unreadable"),
    "truncated tar": (truncated_tar, "unreadable"),
    "no tar": (holds("x.tar", b"no" * 999), "unreadable"),
    "no zip": (holds("x.zip", b"no" * 999), "unreadable"),
    "absolute path": (tar_of("/etc/x.yml", workflow()), "unsafe path"),
    "path upwards": (tar_of("../x.yml", workflow()), "unsafe path"),
    "path upwards in zip": (path_upwards_in_zip, "unsafe path"),
    "hard link": (lambda p: entry_in_tar(p, tarfile.LNKTYPE, "../y/good.yml"), "not a regular"),
    "link in tar": (lambda p: entry_in_tar(p, tarfile.SYMTYPE, "/etc/passwd"), "not a regular"),
    "link in zip": (link_in_zip, "not a regular file"),
    "no object": (holds("x.jsonl", b"[1]\n"), "not a JSON object"),
    "deep line": (holds("x.jsonl", b"[" * 100_000), "not a JSON object"),
    "other fields": (holds("x.jsonl", b'{"a": 1}\n'), "no field json"),
    "UTF-16 rows": (holds("x.jsonl", '{"yaml": "on: push"}\n'.encode("utf-16")), "UTF-16"),
    "Zstandard as tar": (holds("x.tar", b"\x28\xb5\x2f\xfd" + bytes(99)), "Zstandard"),
    "Parquet as jsonl": (holds("x.jsonl", b"PAR1" + bytes(99)), "Parquet"),
    "PNG as workflow": (holds("x.yml", b"\x89PNG\r\n\x1a\n" + bytes(99)), "PNG"),
    "gzip without suffix": (holds("x", gzip.compress(workflow().encode())), "suffix .gz"),
    "zip without suffix": (holds("x", b"PK\x03\x04" + bytes(99)), "suffix .zip"),
    "archive in an archive": (tar_of("rows.jsonl", "{}"), "unpack the archive"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_source_is_skipped_with_its_reason_and_hides_nothing_else(
    case, tmp_path, monkeypatch
):
    monkeypatch.setattr(archives, "BOMB_MB", 10)
    make, reason = HOSTILE[case]
    make(tmp_path)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "good.yml").write_text(workflow())
    (tmp_path / "y" / "up").symlink_to(tmp_path)
    found = read(tmp_path)
    assert reason in next(w.problem for w in found if w.problem)
    assert [w.data for w in found if w.name == "y/good.yml"] == [workflow().encode()]


# ---- what is damaged half way


def with_flipped_byte(data, at):
    data = bytearray(data)
    data[at] ^= 0x55
    return bytes(data)


def tar_bytes(tmp_path, n=40):
    """A .tar of n workflows, and where the header of the 20th begins."""
    write_tar(tmp_path / "whole", {f"{i}.yml": workflow(i) for i in range(n)}, "w")
    with tarfile.open(tmp_path / "whole") as archive:
        offset = archive.getmembers()[20].offset
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "whole").unlink()
    return data, offset


DAMAGES = {
    "flipped header": lambda data, at: with_flipped_byte(data, at + 150),
    "cut at a header": lambda data, at: data[:at],
    "cut in a header": lambda data, at: data[: at + 100],
    "cut in a file": lambda data, at: data[: at + 520],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_tar_damaged_half_way_gives_what_came_before_and_says_so(tmp_path, damage):
    """tarfile takes a damaged header for the end: half an archive was a whole one."""
    (tmp_path / "x.tar").write_bytes(DAMAGES[damage](*tar_bytes(tmp_path)))
    *before, last = read(tmp_path / "x.tar")
    assert [w.data for w in before] == [workflow(i).encode() for i in range(20)]
    assert last.name == "x.tar" and "damaged" in last.problem and "20 files" in last.problem


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize("name", ["x.tar.gz", "x.jsonl.gz"])
def test_a_download_that_broke_off_gives_what_came_before_and_says_so(tmp_path, name, compress):
    rng = random.Random(0)
    texts = [f"{workflow(i)}# {rng.randbytes(3000).hex()}\n" for i in range(400)]
    if "tar" in name:
        write_tar(tmp_path / "whole", {f"{i}.yml": text for i, text in enumerate(texts)}, "w")
        data = (tmp_path / "whole").read_bytes()
    else:
        data = "".join(json.dumps({"yaml": text}) + "\n" for text in texts).encode()
    packed = compress(data)
    (tmp_path / name).write_bytes(packed[: 2 * len(packed) // 3])
    *before, last = read(tmp_path / name)
    assert before and [w.data.decode() for w in before] == texts[: len(before)]
    assert "damaged" in last.problem and f"{len(before)} files" in last.problem


def test_a_damaged_member_of_a_zip_hides_none_of_the_others(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"{i}.yml", workflow(i))
    data = (tmp_path / "x.zip").read_bytes()
    at = data.index(workflow(1).encode())
    (tmp_path / "x.zip").write_bytes(with_flipped_byte(data, at))
    found = read(tmp_path / "x.zip")
    assert [bool(w.problem) for w in found] == [False, True, False]


def test_half_an_archive_is_said_to_be_half_also_at_the_end(tmp_path):
    data, at = tar_bytes(tmp_path)
    (tmp_path / "x.tar").write_bytes(data[:at])
    done = prepared(f"--input={tmp_path}/x.tar", f"--data_dir={tmp_path}/d")
    assert "20 workflows" in done.stdout
    assert "x.tar is damaged" in done.stderr and done.stderr.count("\n") == 1


# ---- what was named to be read, but cannot be


FOREIGN = {
    "rows.jsonl.zst": (b"\x28\xb5\x2f\xfd" + bytes(99), "Zstandard"),
    "rows.parquet": (b"PAR1" + bytes(99) + b"PAR1", "Parquet"),
    "rows.csv": (b"repository,workflow\nx,on: push\n", "CSV"),
    "rows.CSV.gz": (gzip.compress(b"a,b\n"), "CSV"),
    "rows.tsv": (b"a\tb\n", "TSV"),
    "x.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "7-Zip"),
    "x.rar": (b"Rar!\x1a\x07" + bytes(99), "RAR"),
    "x.xlsx": (b"PK\x03\x04" + bytes(99), "Excel"),
    "x.html": (b"<!DOCTYPE html>", "HTML"),
    "x.tar": (b"\x28\xb5\x2f\xfd" + bytes(99), "Zstandard"),
    "workflows.yml": (b"%PDF-1.7" + bytes(99), "PDF"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_an_input_of_a_kind_that_is_not_read_is_named_beside_those_that_are(tmp_path, name):
    """They were parsed as YAML, and called bad YAML."""
    data, kind = FOREIGN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(OSError) as e:
        read(tmp_path / name)
    assert e.value.filename == str(tmp_path / name)
    assert kind in e.value.strerror and ".jsonl" in e.value.strerror


def test_a_kind_that_gets_a_reader_is_no_longer_refused(monkeypatch):
    assert kinds.foreign_kind("rows.csv", b"a,b") == "CSV"
    monkeypatch.setitem(kinds.KINDS, ".csv", "csv")
    assert kinds.foreign_kind("rows.csv", b"a,b") is None


def test_a_folder_without_workflows_is_described(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.parquet", "b.parquet", "c.csv"):
        (tmp_path / "in" / name).write_bytes(b"PAR1")
    done = prepared(f"--input={tmp_path}/in", f"--data_dir={tmp_path}/d", check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "2 .parquet, 1 .csv" in done.stderr and ".jsonl" in done.stderr
