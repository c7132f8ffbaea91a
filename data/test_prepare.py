"""Facts about prepare.py and data/: what is read, refused, split and written. No network: the package index is local."""

import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, root)
import prepare  # noqa: E402
import tct_github_workflow as tct  # noqa: E402
from data import pypi, sources  # noqa: E402

letters = str.maketrans("0123456789", "ghijklmnop")


def workflow(i=0):
    """Valid YAML; no two of them are near duplicates."""
    word = str(i).translate(letters)
    return f"name: CI\non: [push]\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo {word} {word}\n"


def prepared(*flags, check=True, **kwargs):
    done = subprocess.run(
        [sys.executable, os.path.join(root, "prepare.py"), *flags],
        capture_output=True,
        text=True,
        **kwargs,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or not check, done.stderr
    return done


def lines(path, n, projects=None):
    """A .jsonl of n workflows."""
    with open(path, "w") as f:
        for i in range(n):
            f.write(
                json.dumps(
                    {"yaml": workflow(i), "project": f"p{i % projects}" if projects else None}
                )
                + "\n"
            )
    return f"--input={path}"


def documents(folder, split):
    tokens = np.fromfile(folder / f"{split}.bin", np.uint16)
    offsets = np.fromfile(folder / f"{split}.idx", np.int64)
    return [tct.decode(tokens[a:b].tolist())[0] for a, b in zip(offsets, offsets[1:])]


def digest(folder):
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in sorted(os.listdir(folder))
    }


def tar(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as t:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            t.addfile(info, io.BytesIO(text.encode()))


# ---- what is read


def forms(path):
    """Writes the same three workflows in every form; yields what to read and its projects."""
    texts = [workflow(i) for i in range(3)]
    plain = path / "plain" / "json"
    plain.mkdir(parents=True)
    (plain / "a.yml").write_text(texts[0])
    (plain / "b.json").write_text(tct.yaml_to_json(texts[1]))
    (plain / "c").write_text(texts[2])
    (plain / "notes.txt").write_text("no")
    (plain / ".hidden.yml").write_text("no")
    (plain.parent / ".git").mkdir()
    yield plain.parent, [None] * 3
    clones = path / "clones"
    for i, text in enumerate(texts):
        (clones / f"me/repo{i}/.github/workflows").mkdir(parents=True)
        (clones / f"me/repo{i}/.github/workflows/ci.yaml").write_text(text)
        (clones / f"me/repo{i}/.github/dependabot.yml").write_text("no")
        (clones / f"me/repo{i}/mkdocs.yml").write_text("no")
    (clones / "me/other/.git").mkdir(parents=True)
    (clones / "me/other/mkdocs.yml").write_text("no")
    yield clones, [f"me/repo{i}" for i in range(3)]
    tar(
        path / "clones.tgz",
        {f"x/r{i}/.github/workflows/ci.yml": text for i, text in enumerate(texts)}
        | {"x/r2/z.yml": "no"},
    )
    yield path / "clones.tgz", ["x/r0", "x/r1", "x/r2"]
    tar(path / "plain.tar.xz", {f"./json/{i}.yml": text for i, text in enumerate(texts)}, "w:xz")
    yield path / "plain.tar.xz", [None] * 3
    with zipfile.ZipFile(path / "plain.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for i, text in enumerate(texts):
            z.writestr(f"json/{i}", text)
    yield path / "plain.zip", [None] * 3
    rows = [
        {"yaml": texts[0], "project": "a"},
        {"json": json.loads(tct.yaml_to_json(texts[1])), "repository": "b/c"},
        {"content": texts[2]},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for name, data in (
        (".jsonl", text),
        (".jsonl.gz", gzip.compress(text)),
        (".jsonl.xz", lzma.compress(text)),
        (".jsonl.gz.gz", gzip.compress(gzip.compress(text))),
        ("2.jsonl.gz", gzip.compress(gzip.compress(text))),
    ):
        (path / f"rows{name}").write_bytes(data)
        yield path / f"rows{name}", ["a", "b/c", None]


def test_every_input_form_gives_the_same_workflows(tmp_path):
    want = [tct.yaml_to_json(workflow(i)) for i in range(3)]
    for path, projects in forms(tmp_path):
        done = prepare.convert(list(sources.read_input(str(path))))
        assert [
            json.dumps(
                json.loads(tct.decode(np.frombuffer(d[2], np.uint16).tolist())[0]),
                separators=(",", ":"),
            )
            for d in done
        ] == want, path
        assert [d[0] for d in done] == projects, path


def test_workflow_histories_take_their_project_from_the_csv_beside_them(tmp_path):
    names = [hashlib.sha256(bytes([i])).hexdigest() for i in range(3)]
    (tmp_path / "workflows").mkdir()
    for i, name in enumerate(names):
        (tmp_path / "workflows" / name).write_text(workflow(i))
    table = "repository,commit_hash,file_hash\n" + "".join(
        f"o/r{i},x,{name}\n" for i, name in enumerate(names[:2])
    )
    (tmp_path / "workflows.csv.gz").write_bytes(gzip.compress(gzip.compress(table.encode())))
    want = sorted(zip(names, ["o/r0", "o/r1", None]))
    assert [
        (name, project) for project, name, _ in sources.read_input(str(tmp_path / "workflows"))
    ] == want
    tar(tmp_path / "all.tar.gz", {f"workflows/{name}": workflow(i) for i, name in enumerate(names)})
    assert [p for p, _, _ in sources.read_input(str(tmp_path / "all.tar.gz"))] == [
        "o/r0",
        "o/r1",
        None,
    ]
    (tmp_path / "workflows.csv.gz").write_bytes(gzip.compress(b"a,b\n"))
    for said in "'file_hash' is not in list", "not a regular file":
        done = prepared(
            f"--input={tmp_path}/workflows", f"--data_dir={tmp_path}/d", check=False, timeout=60
        )
        assert done.returncode == 1 and "workflows.csv.gz" in done.stderr and said in done.stderr
        (tmp_path / "workflows.csv.gz").unlink()
        os.mkfifo(tmp_path / "workflows.csv.gz")


# ---- what is hostile


def fifo(p):
    os.mkfifo(p / "x.yml")


def loop(p):
    os.symlink("x.yml", p / "x.yml")


def links_in_tar(p):
    with tarfile.open(p / "x.tar", "w") as t:
        info = tarfile.TarInfo("x.yml")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        t.addfile(info)


def hard_link_in_tar(p):
    with tarfile.open(p / "x.tar", "w") as t:
        info = tarfile.TarInfo("x.yml")
        info.type, info.linkname = tarfile.LNKTYPE, "../y/good.yml"
        t.addfile(info)


def path_upwards_in_zip(p):
    with zipfile.ZipFile(p / "x.zip", "w") as z:
        z.writestr("../x.yml", workflow())


def link_in_zip(p):
    with zipfile.ZipFile(p / "x.zip", "w") as z:
        info = zipfile.ZipInfo("x.yml")
        info.external_attr = 0o120777 << 16
        z.writestr(info, "/etc/passwd")


def zip_bomb(p):
    with zipfile.ZipFile(p / "x.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for i in range(40):
            z.writestr(f"{i}.yml", " " * (1 << 20))


def tar_header_bomb(p):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 30 << 20
    (p / "x.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(30 << 20)))


def unreadable(p):
    (p / "x.yml").write_text(workflow())
    os.chmod(p / "x.yml", 0)
    if os.access(p / "x.yml", os.R_OK):
        os.unlink(
            p / "x.yml"
        )  # we are root, whom nothing stops: a dangling link cannot be read by anyone
        os.symlink("nowhere", p / "x.yml")


hostile_sources = {
    "fifo": (fifo, "not a regular file"),
    "link loop": (loop, "unreadable"),
    "unreadable": (unreadable, "unreadable"),
    "large": (
        lambda p: ((p / "x.yml").touch(), os.truncate(p / "x.yml", 100 << 20)),
        "larger than",
    ),
    "large line": (lambda p: (p / "x.jsonl").write_bytes(b'"' * (5 << 20)), "too long a line"),
    "large in tar": (lambda p: tar(p / "x.tgz", {"x.yml": " " * (2 << 20)}), "larger than"),
    "gzip bomb": (lambda p: (p / "x.jsonl.gz").write_bytes(gzip.compress(bytes(20 << 20))), "bomb"),
    "large gzip": (
        lambda p: (p / "x.yml.gz").write_bytes(gzip.compress(bytes(2 << 20))),
        "larger than",
    ),
    "tar bomb": (
        lambda p: tar(p / "x.tgz", {f"{i}.yml": " " * (1 << 20) for i in range(20)}),
        "bomb",
    ),
    "tar header bomb": (tar_header_bomb, "bomb"),
    "zip bomb": (zip_bomb, "bomb"),
    "truncated gzip": (
        lambda p: (p / "x.jsonl.gz").write_bytes(gzip.compress(os.urandom(5000))[:-50]),
        "unreadable",
    ),
    "truncated tar": (
        lambda p: (
            tar(p / "x.tar", {"x.yml": workflow() * 99}, "w"),
            os.truncate(p / "x.tar", 900),
        ),
        "unreadable",
    ),
    "no tar": (lambda p: (p / "x.tar").write_bytes(b"no" * 999), "unreadable"),
    "no zip": (lambda p: (p / "x.zip").write_bytes(b"no" * 999), "unreadable"),
    "absolute path": (lambda p: tar(p / "x.tar", {"/etc/x.yml": workflow()}, "w"), "unsafe path"),
    "path upwards": (lambda p: tar(p / "x.tar", {"../x.yml": workflow()}, "w"), "unsafe path"),
    "path upwards in zip": (path_upwards_in_zip, "unsafe path"),
    "hard link in tar": (hard_link_in_tar, "not a regular file"),
    "link in tar": (links_in_tar, "not a regular file"),
    "link in zip": (link_in_zip, "not a regular file"),
    "no object": (lambda p: (p / "x.jsonl").write_text("[1]\n"), "not a JSON object"),
    "deep line": (lambda p: (p / "x.jsonl").write_text("[" * 100_000), "not a JSON object"),
    "other fields": (lambda p: (p / "x.jsonl").write_text('{"a": 1}\n'), "no field json"),
}


@pytest.mark.parametrize("case", hostile_sources)
def test_a_hostile_source_is_skipped_with_its_reason_and_hides_nothing_else(
    case, tmp_path, monkeypatch
):
    monkeypatch.setattr(sources, "bomb_mb", 10)
    make, reason = hostile_sources[case]
    make(tmp_path)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "good.yml").write_text(workflow())
    (tmp_path / "y" / "up").symlink_to(tmp_path)
    found = list(sources.read_input(str(tmp_path)))
    assert reason in next(data for _, name, data in found if isinstance(data, str))
    assert [data for _, name, data in found if name == "y/good.yml"] == [workflow().encode()]


def test_folders_named_like_workflows_and_the_data_folder_itself_are_no_workflows(tmp_path):
    (tmp_path / "x.yml").mkdir()
    (tmp_path / "x.yml" / "a.yml").write_text(workflow())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "meta.json").write_text("{}")
    deep = tmp_path
    for _ in range(1200):  # deeper than Python recurses
        deep = deep / "d"
        os.mkdir(deep)
    assert [
        name for _, name, _ in sources.read_input(str(tmp_path), avoid=os.stat(tmp_path / "out"))
    ] == ["x.yml/a.yml"]
    while deep != tmp_path:
        os.rmdir(deep)
        deep = deep.parent


bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12)
)
hostile_texts = {
    "empty": (b" \n", "empty"),
    "nothing": (b"", "empty"),
    "alias bomb": (bomb.encode(), "aliases expanded"),
    "recursive alias": (b"on: &a [*a]", "inside its anchor"),
    "deep YAML": (b"[" * 10_000, "nest"),
    "deep JSON": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nest"),
    "deep array": (b'{"on":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nest"),
    "invalid UTF-8": (b"on: \xff\xfe", "not UTF-8"),
    "invalid UTF-8 in JSON": (b'{"on": "\xff"}', "not UTF-8"),
    "cut UTF-16": (workflow().encode("utf-16")[:-1], "not UTF-16"),
    "NUL": (b"on: push\0", "U+0000"),
    "NULs": (bytes(99), "U+0000"),
    "duplicate key": (workflow().encode() + b"on: push\n", "duplicate"),
    "duplicate JSON key": (b'{"on":"push","on":"push","jobs":{"a":{"runs-on":"x"}}}', "duplicate"),
    "number as key": (workflow().encode() + b"1: 2\n", "'1' was unexpected"),
    "sequence as key": (workflow().encode() + b"[1]: 2\n", "cannot be a key"),
    "python tag": (b'!!python/object/apply:os.system ["false"]', "python/object/apply"),
    "merge key": (b"x: &x {on: push}\n<<: *x\n", "merge keys"),
    "two documents": (workflow().encode() + b"---\n" + workflow().encode(), "a second document"),
    "scalar": (b"42", "42 is not"),
    "binary": (bytes(range(256)), "not UTF-8"),
    "no jobs": (b"on: push", "jobs"),
    "NaN": (b'{"on": "push", "jobs": NaN}', "NaN"),
    "huge integer": (b'{"on": ' + b"9" * 9999 + b"}", "not a number"),
}


@pytest.mark.parametrize("case", hostile_texts)
def test_a_hostile_text_is_skipped_with_its_reason(case):
    data, reason = hostile_texts[case]
    ((project, name, *result),) = prepare.convert([("p", "x.yml", data)])
    assert len(result) == 1 and reason in result[0] and prepare.in_general(result[0])


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + workflow().encode(),
        workflow().encode("utf-16"),
        workflow().replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + tct.yaml_to_json(workflow()).encode(),
        b"{on: push, jobs: {a: {runs-on: x}}}",
    ],
)
def test_other_spellings_of_a_workflow_are_read(data):
    assert len(prepare.convert([(None, "x", data)])[0]) == 6


def test_near_duplicates_differ_in_versions_hashes_and_names_and_in_nothing_else():
    def near(*changes):
        text = tct.yaml_to_json(
            "name: CI\non: push\njobs:\n  a:\n    runs-on: ubuntu-22.04\n    steps:\n"
            "      - {uses: actions/checkout@v4, with: {ref: 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567}}\n"
            "      - run: |\n          echo start\n          deadbeef00112233445566778899aabb  x.tar\n          pip install tox==3.1.2\n"
        )
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        return prepare.masked_digest(text)

    for old, new in (
        ('"CI"', '"Tests \\"a\\" and more"'),
        ("22.04", "24.04"),
        ("@v4", "@main"),
        ("@v4", "@b4ffde65f46336ab88eb53be808477a3936bae11"),
        ("0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", "ffeb2c3d4e5f60718293a4b5c6d7e8f90123abcd"),
        ("deadbeef00112233445566778899aabb", "00112233445566778899aabbfeedbeef"),
        ("3.1.2", "4.10"),
    ):
        assert near((old, new)) == near(), (old, new)
    for old, new in (
        ("echo start", "echo end"),
        ("checkout", "cache"),
        ('"push"', '"release"'),
        ("tox", "facade"),
    ):
        assert near((old, new)) != near(), (old, new)


def test_reasons_are_counted_by_kind_not_by_file():
    assert (
        prepare.in_general('$.jobs.a-b.steps[12].name: 7 is not of type "string"')
        == '$.jobs.*.steps[].name: ... is not of type "string"'
    )
    assert prepare.in_general("line 3, column 4: found x (while y, line 1)") == "YAML: found x"
    assert prepare.in_general("unreadable: No such file") == "unreadable"


# ---- what is written


def test_a_dataset_holds_every_workflow_once_and_no_project_twice(tmp_path):
    text = [json.dumps({"yaml": workflow(i), "project": f"p{i % 40}"}) for i in range(300)]
    (tmp_path / "in.jsonl").write_text("\n".join([*text, text[0], '{"yaml": "on: push"}']))
    before = digest(tmp_path)
    done = prepared(f"--input={tmp_path}/in.jsonl", f"--data_dir={tmp_path}/d", "--num_workers=2")
    assert "300 workflows" in done.stdout and "1 exact" in done.stdout
    assert {**digest(tmp_path / "d"), **before} and hashlib.sha256(
        (tmp_path / "in.jsonl").read_bytes()
    ).hexdigest() == before["in.jsonl"]
    folder = tmp_path / "d"
    assert sorted(os.listdir(folder)) == [
        "meta.json",
        "skipped.jsonl",
        "train.bin",
        "train.idx",
        "train.proj",
        "val.bin",
        "val.idx",
        "val.proj",
    ]
    found = {split: documents(folder, split) for split in ("train", "val")}
    assert sorted(found["train"] + found["val"]) == sorted(
        tct.decode(tct.encode(tct.yaml_to_json(workflow(i))))[0] for i in range(300)
    )
    sides = {split: {text.split()[-1] for text in found[split]} for split in found}
    projects = {
        split: {i % 40 for i in range(300) if tct.yaml_to_json(workflow(i)) in found[split]}
        for split in found
    }
    assert (
        not projects["train"] & projects["val"]
        and len(projects["train"] | projects["val"]) == 40
        and all(sides.values())
    )
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["train"]["documents"] == len(found["train"]) and meta["val"]["projects"] == len(
        projects["val"]
    )
    assert meta["val"]["bytes"] == sum(len(text) for text in found["val"])
    assert meta["val"]["sha256"] == hashlib.sha256((folder / "val.bin").read_bytes()).hexdigest()
    skipped = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
    assert [(s["path"], s["reason"]) for s in skipped] == [
        ("in.jsonl:301", "exact duplicate"),
        ("in.jsonl:302", '$: "jobs" is a required property'),
    ]


def test_the_same_input_and_seed_give_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    source = lines(tmp_path / "in.jsonl", 300, 50)
    prepared(source, f"--data_dir={tmp_path}/a", "--num_workers=1")
    prepared(source, f"--data_dir={tmp_path}/b", "--num_workers=2")
    prepared(source, f"--data_dir={tmp_path}/c", "--seed=7")
    a, b, c = (digest(tmp_path / name) for name in "abc")
    assert a == b and a["train.bin"] != c["train.bin"]


def test_a_project_stays_on_its_side_when_others_join(tmp_path):
    for n, name in (20, "a"), (60, "b"):
        prepared(
            lines(tmp_path / "in.jsonl", n, n), f"--data_dir={tmp_path}/{name}", "--train_split=0.5"
        )
    for split in "train", "val":
        assert set(documents(tmp_path / "a", split)) <= set(documents(tmp_path / "b", split))


def test_near_duplicates_of_unknown_projects_fall_on_one_side(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(40):
        for version in range(5):
            text = (
                workflow(i).replace("name: CI", f"name: Build {i}")
                + f"      - uses: actions/checkout@v{version}.{i}\n"
            )
            (tmp_path / "in" / f"{i}-{version}.yml").write_text(text)
    (tmp_path / "in" / "again.yml").write_text(text)
    done = prepared(f"--input={tmp_path}/in", f"--data_dir={tmp_path}/d", "--train_split=0.5")
    duplicates = json.loads((tmp_path / "d" / "meta.json").read_text())["duplicates"]
    assert duplicates == {"exact": 1, "near": 160, "val_with_near_duplicate_in_train": 0}
    assert (
        "1 exact" in done.stdout
        and "160 near" in done.stdout
        and "  0 workflows of val have a near" in done.stdout
    )
    sides = [
        {json.loads(text)["name"] for text in documents(tmp_path / "d", split)}
        for split in ("train", "val")
    ]
    assert all(sides) and not sides[0] & sides[1]


@pytest.mark.parametrize("projects", [1, 2, None])
def test_ten_files_give_both_sides_something(tmp_path, projects):
    prepared(
        lines(tmp_path / "in.jsonl", 20, projects),
        f"--data_dir={tmp_path}/d",
        "--max_files=10",
        "--train_split=0.99",
    )
    train, val = documents(tmp_path / "d", "train"), documents(tmp_path / "d", "val")
    assert train and val and len(train + val) == 10


@pytest.mark.parametrize(
    "text, said",
    [
        ("on: push", '"jobs" is a required'),
        (workflow(), "validation split would be empty"),
        (None, "No such file"),
    ],
)
def test_what_cannot_become_a_dataset_ends_in_one_line_that_says_why(tmp_path, text, said):
    if text:
        (tmp_path / "x.yml").write_text(text)
    done = prepared(f"--input={tmp_path}/x.yml", f"--data_dir={tmp_path}/d", check=False)
    assert (
        done.returncode == 1
        and said in done.stderr
        and done.stderr.count("\n") == 1
        and not os.listdir(tmp_path / "d")
    )


def test_exported_windows_start_at_each_stride_and_cover_the_document(tmp_path):
    torch = pytest.importorskip("torch")
    long = workflow() + "".join(
        f"      - run: {''.join(str(i * k).translate(letters) for k in range(9))}\n"
        for i in range(99)
    )
    (tmp_path / "in.jsonl").write_text(
        "".join(
            json.dumps({"yaml": t, "project": p}) + "\n"
            for t, p in ((long, "a"), (workflow(5), "b"))
        )
    )
    prepared(
        f"--input={tmp_path}/in.jsonl",
        f"--data_dir={tmp_path}/d",
        "--export_windows=True",
        "--context=64",
        "--stride=16",
    )
    windows = {
        split: torch.load(tmp_path / "d" / f"{split}.pt", weights_only=True)
        for split in ("train", "val")
    }
    tokens = max(
        (np.fromfile(tmp_path / "d" / f"{split}.bin", np.uint16).tolist() for split in windows),
        key=len,
    )
    split = max(windows, key=lambda split: len(windows[split]))
    assert windows[split].dtype == torch.int16 and windows[split].shape == (
        1 + -(-(len(tokens) - 63) // 16),
        64,
    )
    for position, row in enumerate(windows[split].tolist()):
        want = [position, *tokens[16 * position : 16 * position + 63]]
        assert row == want + [8191] * (64 - len(want))
    assert 16 * position + 63 >= len(tokens) > 16 * position + 47
    prepared(f"--input={tmp_path}/in.jsonl", f"--data_dir={tmp_path}/d")
    assert not (tmp_path / "d" / "train.pt").exists()  # those of an earlier dataset would not match


def test_inspect_passes_a_sound_folder_and_finds_a_changed_token(tmp_path):
    prepared(lines(tmp_path / "in.jsonl", 30, 10), f"--data_dir={tmp_path}/d")
    done = prepared(f"--inspect={tmp_path}/d")
    assert "verified" in done.stdout and "ubuntu-latest" in done.stdout and "runs-on" in done.stdout
    tokens = np.fromfile(tmp_path / "d" / "val.bin", np.uint16)
    tokens[3] ^= 1
    tokens.tofile(tmp_path / "d" / "val.bin")
    (tmp_path / "d" / "train.proj").write_bytes(
        (tmp_path / "d" / "val.proj").read_bytes()[:8] * len(documents(tmp_path / "d", "train"))
    )
    done = prepared(f"--inspect={tmp_path}/d", check=False)
    assert done.returncode == 1 and "sha256 differs" in done.stdout and "both sides" in done.stdout
    assert prepared(f"--inspect={tmp_path}", check=False).stderr.count("\n") == 1


# ---- what goes wrong while it runs


@pytest.fixture
def before(tmp_path):
    """A finished dataset, with a file of the user's beside it, and its digest."""
    prepared(lines(tmp_path / "first.jsonl", 9, 9), f"--data_dir={tmp_path}/d")
    (tmp_path / "d" / "mine.txt").write_text("mine")
    return digest(tmp_path / "d")


def test_a_full_disk_leaves_the_old_dataset_as_it_was(tmp_path, before):
    done = prepared(
        lines(tmp_path / "in.jsonl", 900, 90),
        f"--data_dir={tmp_path}/d",
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode == 1 and "File too large" in done.stderr and done.stderr.count("\n") == 1
    assert digest(tmp_path / "d") == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_the_old_dataset_and_the_next_one_cleans_up(
    tmp_path, before, sent
):
    source = lines(tmp_path / "in.jsonl", 20_000, 90)
    run = subprocess.Popen(
        [
            sys.executable,
            os.path.join(root, "prepare.py"),
            source,
            f"--data_dir={tmp_path}/d",
            "--num_workers=2",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(os.listdir(tmp_path / "d")) == len(before):
        time.sleep(0.02)
    time.sleep(0.3)
    os.killpg(run.pid, sent) if sent == signal.SIGINT else run.kill()
    said = run.communicate(timeout=60)[
        1
    ]  # it ends when the workers, who hold the pipe too, have ended
    left = {name: hash_ for name, hash_ in before.items()}
    assert {name: (tmp_path / "d" / name).is_file() for name in left} == dict.fromkeys(left, True)
    if sent == signal.SIGINT:
        assert (
            run.returncode == 130
            and said.count("\n") == 1
            and "interrupted" in said
            and digest(tmp_path / "d") == before
        )
    prepared(lines(tmp_path / "first.jsonl", 9, 9), f"--data_dir={tmp_path}/d")
    assert digest(tmp_path / "d") == before


# ---- the package index


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index on this machine: {path: bytes or a list of statuses to answer first}; what was asked for is in .asked."""
    pytest.importorskip("pypi_simple")
    files = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            answer = files.get(self.path, 404)
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            self.send_response(answer if isinstance(answer, int) else 200)
            body = b"" if isinstance(answer, int) else answer
            self.send_header(
                "Content-Type",
                "text/html" if self.path.startswith("/simple") else "application/octet-stream",
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.files = [], files
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pypi.index.cache_clear()
    pypi.pip_config.cache_clear()
    yield server
    server.shutdown()
    server.server_close()
    pypi.index.cache_clear()


def publish(server, tmp_path, name, answer=None):
    tar(
        tmp_path / name,
        {
            f"{name}-1/.github/workflows/ci.yml": workflow(),
            f"{name}-1/setup.py": "raise SystemExit",
        },
    )
    data = (tmp_path / name).read_bytes()
    server.files[f"/simple/{name}/"] = f'<a href="/f/{name}-1.tar.gz">{name}-1.tar.gz</a>'.encode()
    server.files[f"/f/{name}-1.tar.gz"] = answer or data
    return pypi.Row(
        name, "1", f"{name}-1.tar.gz", len(data), hashlib.sha256(data).hexdigest(), 1, 1
    )


def test_sdists_are_fetched_once_verified_and_counted_where_they_are_not_to_be_had(index, tmp_path):
    good, flaky, gone, empty = (
        publish(index, tmp_path, name) for name in ("good", "flaky", "gone", "empty")
    )
    index.files["/f/flaky-1.tar.gz"] = [503, index.files["/f/flaky-1.tar.gz"]]
    forged = publish(index, tmp_path, "forged", b"evil")
    longer = publish(index, tmp_path, "longer", bytes(9_000_000))
    del index.files["/simple/gone/"], index.files["/f/empty-1.tar.gz"]
    rows, cache = [good, flaky, gone, empty, forged, longer], str(tmp_path / "cache")
    found = {row.project: (path, problem) for row, path, problem in pypi.sdists(rows, cache)}
    assert list(found) == ["good", "flaky", "gone", "empty", "forged", "longer"]
    assert [problem for path, problem in found.values()] == [
        None,
        None,
        "the project is gone from the index",
        "the file is gone from the index",
    ] + ["its sha256 is not the manifest's"] * 2
    assert sorted(os.listdir(cache)) == ["flaky-1.tar.gz", "good-1.tar.gz"]
    assert [
        (p, d)
        for p, n, d in sources.read_one(found["good"][0], "x.tar.gz", "good", workflows_only=True)
    ] == [("good", workflow().encode())]
    index.asked.clear()
    assert all(path for row, path, problem in pypi.sdists(rows[:2], cache)) and not index.asked
    (tmp_path / "cache" / "good-1.tar.gz").write_bytes(b"spoilt")
    assert all(path for row, path, problem in pypi.sdists(rows[:2], cache)) and index.asked == [
        "/simple/good/",
        "/f/good-1.tar.gz",
    ]


def test_without_a_network_one_line_names_the_way_out(index, tmp_path, monkeypatch, capsys):
    row = publish(index, tmp_path, "good")
    index.server_close()
    index.shutdown()
    with pytest.raises(ConnectionError) as e:
        list(pypi.sdists([row] * 20, str(tmp_path / "cache")))
    monkeypatch.setattr(prepare, "bar", io.BytesIO(), raising=False)
    prepare.in_one_line(e.type, e.value, e.tb)
    said = capsys.readouterr().err
    assert "--input=" in said and said.count("\n") == 1


def test_the_manifest_is_sound_and_its_best_rows_come_first():
    rows = pypi.read_manifest(float("inf"))
    assert len({row.filename for row in rows}) == len(rows) > 7000 and all(
        len(row.sha256) == 64 for row in rows
    )
    few = pypi.read_manifest(1)
    assert few == rows[: len(few)] and sum(row.size_bytes for row in few) <= 1e6 < sum(
        row.size_bytes for row in rows[: len(few) + 1]
    )
