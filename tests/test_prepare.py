"""Facts about prepare.py: what becomes of a workflow, the split, the files, what goes wrong."""

import json
import os
import pty
import resource
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import prepare
import tct_github_workflow as tct
from data.digest import masked_digest
from data.sources import Workflow
from data.windows import load
from tests.preparing import (
    LETTERS,
    PREPARE,
    documents,
    hashes,
    prepared,
    workflow,
    write_rows,
)

# ---- one workflow

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
for level in range(12):
    BOMB += f"a{level + 1}: &a{level + 1} [{', '.join([f'*a{level}'] * 9)}]\n"

HOSTILE = {  # what: (the file, what is said of it)
    "empty": (b" \n", "empty"),
    "nothing": (b"", "empty"),
    "alias bomb": (BOMB.encode(), "aliases expanded"),
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


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_text_is_skipped_with_its_reason(case):
    data, reason = HOSTILE[case]
    skipped = prepare.convert(Workflow("p", "x.yml", data))
    assert isinstance(skipped, prepare.Skipped) and (skipped.project, skipped.name) == (
        "p",
        "x.yml",
    )
    assert reason in skipped.detail and skipped.reason


REFUSED = {  # rule: (what, by what) of a workflow that the schema takes
    "needs": ("    runs-on:", "    needs: build\n    runs-on:"),
    "expression": ("run: echo", "run: ${{ github. }}"),
    "context": ("run: echo", "if: secrets.TOKEN\n        run: echo"),
    "value": ("[push]", "{repository_dispatch: {types: publish}}"),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_what_github_would_refuse_is_skipped_with_the_rule(rule):
    text = workflow().replace(*REFUSED[rule])
    tct.encode(tct.yaml_to_json(text))
    skipped = prepare.convert(Workflow("p", "x.yml", text.encode()))
    assert skipped.reason == f"GitHub refuses it: {rule}" and skipped.detail.startswith("$.")


def test_a_name_that_does_not_exist_is_no_reason_to_skip():
    text = workflow().replace("run: echo", "run: echo ${{ steps.gone.outputs.x }}")
    assert tct.check(tct.yaml_to_json(text))
    assert isinstance(prepare.convert(Workflow("p", "x.yml", text.encode())), prepare.Document)


def test_a_file_that_could_not_be_read_is_skipped_with_its_problem():
    skipped = prepare.convert(Workflow("p", "x.yml", None, "unreadable: Input/output error"))
    assert skipped == ("p", "x.yml", "unreadable", "unreadable: Input/output error")


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
    assert isinstance(prepare.convert(Workflow(None, "x", data)), prepare.Document)


def near(*changes):
    """The masked digest of a workflow with these changes."""
    text = tct.yaml_to_json(
        "name: CI\non: push\njobs:\n  a:\n    runs-on: ubuntu-22.04\n    steps:\n"
        "      - uses: actions/checkout@v4\n"
        "        with: {ref: 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567}\n"
        "      - run: |\n"
        "          echo start\n"
        "          deadbeef00112233445566778899aabb  x.tar\n"
        "          pip install tox==3.1.2\n"
    )
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return masked_digest(text)


@pytest.mark.parametrize(
    "old, new",
    [
        ('"CI"', '"Tests \\"a\\" and more"'),
        ("22.04", "24.04"),
        ("@v4", "@main"),
        ("@v4", "@b4ffde65f46336ab88eb53be808477a3936bae11"),
        ("0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", "ffeb2c3d4e5f60718293a4b5c6d7e8f90123abcd"),
        ("deadbeef00112233445566778899aabb", "00112233445566778899aabbfeedbeef"),
        ("3.1.2", "4.10"),
    ],
)
def test_near_duplicates_differ_in_versions_hashes_and_names(old, new):
    assert near((old, new)) == near()


@pytest.mark.parametrize(
    "old, new",
    [("echo start", "echo end"), ("checkout", "cache"), ('"push"', '"release"'), ("tox", "facade")],
)
def test_what_differs_in_anything_else_is_no_near_duplicate(old, new):
    assert near((old, new)) != near()


def test_a_reason_says_nothing_of_the_one_file():
    text = workflow().replace("run: echo", "name: {}\n        run: echo")
    skipped = prepare.convert(Workflow(None, "x", text.encode()))
    assert skipped.detail == '$.jobs.test.steps[0].name: {} is not of type "string"'
    assert skipped.reason == '$.jobs.*.steps[].name: ... is not of type "string"'


# ---- what is written


def test_a_dataset_holds_every_workflow_once_and_no_project_twice(tmp_path):
    rows = [json.dumps({"yaml": workflow(i), "project": f"p{i % 40}"}) for i in range(300)]
    (tmp_path / "in.jsonl").write_text("\n".join([*rows, rows[0], '{"yaml": "on: push"}']))
    before = (tmp_path / "in.jsonl").read_bytes()
    folder = tmp_path / "d"
    done = prepared(f"--input={tmp_path}/in.jsonl", f"--data_dir={folder}", "--num_workers=2")
    assert "300 workflows" in done.stdout and "1 exact" in done.stdout
    assert (tmp_path / "in.jsonl").read_bytes() == before
    files = {"meta.json", "skipped.jsonl", "masks.bin", "train.masks"}
    for split in ("train", "val"):
        files |= {f"{split}.bin", f"{split}.idx", f"{split}.proj"}
    assert set(os.listdir(folder)) == files
    texts = {tct.decode(tct.encode(tct.yaml_to_json(workflow(i))))[0]: i for i in range(300)}
    found = {split: documents(folder, split) for split in ("train", "val")}
    assert sorted(found["train"] + found["val"]) == sorted(texts)
    projects = {}
    for split, split_texts in found.items():
        projects[split] = {texts[text] % 40 for text in split_texts}
    assert not projects["train"] & projects["val"]
    assert projects["train"] and projects["val"]
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["train"]["documents"] == len(found["train"])
    assert meta["val"]["projects"] == len(projects["val"])
    assert meta["val"]["bytes"] == sum(len(text) for text in found["val"])
    assert meta["val"]["sha256"] == hashes(folder)["val.bin"]
    skipped = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
    assert [(s["path"], s["reason"]) for s in skipped] == [
        ("in.jsonl:301", "exact duplicate"),
        ("in.jsonl:302", '$: "jobs" is a required property'),
    ]


def test_the_same_input_and_seed_give_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    source = write_rows(tmp_path / "in.jsonl", 300, 50)
    prepared(source, f"--data_dir={tmp_path}/a", "--num_workers=1")
    prepared(source, f"--data_dir={tmp_path}/b", "--num_workers=2")
    prepared(source, f"--data_dir={tmp_path}/c", "--seed=7")
    a, b, c = (hashes(tmp_path / name) for name in "abc")
    assert a == b and a["train.bin"] != c["train.bin"]


def test_a_project_stays_on_its_side_when_others_join(tmp_path):
    for n, name in (20, "a"), (60, "b"):
        source = write_rows(tmp_path / "in.jsonl", n, n)
        prepared(source, f"--data_dir={tmp_path}/{name}", "--train_split=0.5")
    for split in "train", "val":
        assert set(documents(tmp_path / "a", split)) <= set(documents(tmp_path / "b", split))


def test_near_duplicates_of_unknown_projects_fall_on_one_side(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(40):
        text = workflow(i).replace("name: CI", f"name: Build {i}")
        for version in range(5):
            step = f"      - uses: actions/checkout@v{version}.{i}\n"
            (tmp_path / "in" / f"{i}-{version}.yml").write_text(text + step)
    (tmp_path / "in" / "again.yml").write_text(text + step)
    done = prepared(f"--input={tmp_path}/in", f"--data_dir={tmp_path}/d", "--train_split=0.5")
    duplicates = json.loads((tmp_path / "d" / "meta.json").read_text())["duplicates"]
    assert duplicates == {"exact": 1, "near": 160, "val_with_near_duplicate_in_train": 0}
    assert "1 exact" in done.stdout and "160 near" in done.stdout
    assert "  0 workflows of val have a near" in done.stdout
    sides = []
    for split in "train", "val":
        sides.append({json.loads(text)["name"] for text in documents(tmp_path / "d", split)})
    assert all(sides) and not sides[0] & sides[1]


@pytest.mark.parametrize("projects", [1, 2, None])
def test_ten_files_give_both_sides_something(tmp_path, projects):
    source = write_rows(tmp_path / "in.jsonl", 20, projects)
    prepared(source, f"--data_dir={tmp_path}/d", "--max_files=10", "--train_split=0.99")
    train, val = documents(tmp_path / "d", "train"), documents(tmp_path / "d", "val")
    assert train and val and len(train + val) == 10


def test_a_split_of_ones_own_is_two_folders_each_all_on_one_side(tmp_path):
    for name, share in {"a": 1, "b": 0}.items():
        source = write_rows(tmp_path / "in.jsonl", 10, 5)
        done = prepared(source, f"--data_dir={tmp_path}/{name}", f"--train_split={share}")
        assert f"--data_dir={tmp_path}/{name},FOLDER" in done.stdout
        prepared(f"--inspect={tmp_path}/{name}")
    both = load(f"{tmp_path}/a,{tmp_path}/b")
    assert [len(both.tables[split]) for split in ("train", "val")] == [10, 10]
    for name, missing in {"a": "val", "b": "train"}.items():
        with pytest.raises(ValueError, match=f"no documents for {missing}. Name a second folder"):
            load(f"{tmp_path}/{name}")


def test_exported_windows_start_at_each_stride_and_cover_the_document(tmp_path):
    torch = pytest.importorskip("torch")
    long = workflow()
    for i in range(99):
        words = "".join(str(i * k).translate(LETTERS) for k in range(9))
        long += f"      - run: {words}\n"
    rows = [{"yaml": long, "project": "a"}, {"yaml": workflow(5), "project": "b"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = (f"--input={tmp_path}/in.jsonl", f"--data_dir={tmp_path}/d")
    prepared(*flags, "--export_windows=True", "--context=64", "--stride=16")
    windows, tokens = {}, {}
    for split in "train", "val":
        windows[split] = torch.load(tmp_path / "d" / f"{split}.pt", weights_only=True)
        tokens[split] = np.fromfile(tmp_path / "d" / f"{split}.bin", np.uint16).tolist()
    split = max(tokens, key=lambda split: len(tokens[split]))
    n_windows = 1 + -(-(len(tokens[split]) - 63) // 16)
    assert windows[split].dtype == torch.int16 and windows[split].shape == (n_windows, 64)
    for position, row in enumerate(windows[split].tolist()):
        want = [position, *tokens[split][16 * position : 16 * position + 63]]
        assert row == want + [8191] * (64 - len(want))
    assert 16 * position + 63 >= len(tokens[split]) > 16 * position + 47
    prepared(*flags)
    # those of an earlier dataset would not match
    assert not (tmp_path / "d" / "train.pt").exists()


# ---- where it is written


def test_a_trailing_slash_changes_nothing(tmp_path):
    source = write_rows(tmp_path / "in.jsonl", 9, 9)
    one = prepared(source, f"--data_dir={tmp_path}/d")
    two = prepared(source, f"--data_dir={tmp_path}/d/")
    assert one.stdout.splitlines()[-1] == two.stdout.splitlines()[-1]


def test_the_command_that_is_offered_can_be_copied(tmp_path):
    """A blank in the path broke it."""
    folder = tmp_path / "my data; $x"
    done = prepared(write_rows(tmp_path / "in.jsonl", 9, 9), f"--data_dir={folder}")
    offered = done.stdout.partition("next: ")[2]
    assert shlex.split(offered) == ["python", "train.py", f"--data_dir={folder}"]


def test_names_that_are_no_text_are_read_and_printed(tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/\xff in")
    os.mkdir(name)
    for i in range(9):
        with open(os.path.join(name, f"{i}.yml"), "w") as f:
            f.write(workflow(i))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    flags = (f"--input={name}", f"--data_dir={tmp_path}/d")
    assert r"\udcff in" in prepared(*flags, env=environment).stdout


UNUSABLE = {  # data_dir: what is said of it
    "file": "is not a folder",
    "file/d": "cannot be written to (Not a directory)",
    "a,b": "a comma",
    "in": "is the input itself",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_data_dir_that_cannot_be_one_is_named(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.yml").write_text(workflow())
    done = prepared(f"--input={tmp_path}/in", f"--data_dir={tmp_path}/{name}", check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"--data_dir={tmp_path}/{name}" in done.stderr and UNUSABLE[name] in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["file", "in"] and os.listdir(tmp_path / "in") == [
        "x.yml"
    ]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_the_place_of_a_file_is_named_before_anything_is_replaced(tmp_path):
    source = write_rows(tmp_path / "in.jsonl", 9, 9)
    prepared(source, f"--data_dir={tmp_path}/d")
    (tmp_path / "d" / "val.proj").unlink()
    before = hashes(tmp_path / "d")
    (tmp_path / "d" / "val.proj").mkdir()
    done = prepared(source, f"--data_dir={tmp_path}/d", "--seed=7", check=False)
    assert done.returncode == 1 and f"{tmp_path}/d/val.proj: is a folder" in done.stderr
    (tmp_path / "d" / "val.proj").rmdir()
    assert hashes(tmp_path / "d") == before


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
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    assert not os.listdir(tmp_path / "d")


def test_rows_in_a_file_that_is_named_like_one_workflow_are_explained(tmp_path):
    write_rows(tmp_path / "rows.json", 9)
    done = prepared(f"--input={tmp_path}/rows.json", f"--data_dir={tmp_path}/d", check=False)
    assert done.returncode == 1 and "must be called .jsonl" in done.stderr


def test_an_address_as_input_is_told_from_a_file_that_is_not_there(tmp_path):
    done = prepared("--input=https://example.org/x.git", f"--data_dir={tmp_path}/d", check=False)
    assert done.returncode == 1 and "git clone" in done.stderr and not (tmp_path / "d").exists()


def test_a_home_folder_is_found_also_where_the_shell_leaves_its_tilde(tmp_path):
    write_rows(tmp_path / "in.jsonl", 9, 9)
    environment = {**os.environ, "HOME": str(tmp_path)}
    prepared("--input=~/in.jsonl", "--data_dir=~/d", env=environment, cwd=tmp_path)
    assert (tmp_path / "d" / "meta.json").exists() and not (tmp_path / "~").exists()


# ---- what goes wrong while it runs


@pytest.fixture
def before(tmp_path):
    """A finished dataset, with a file of the user's beside it: its hashes."""
    prepared(write_rows(tmp_path / "first.jsonl", 9, 9), f"--data_dir={tmp_path}/d")
    (tmp_path / "d" / "mine.txt").write_text("mine")
    return hashes(tmp_path / "d")


def test_a_full_disk_leaves_the_old_dataset_as_it_was(tmp_path, before):
    done = prepared(
        write_rows(tmp_path / "in.jsonl", 900, 90),
        f"--data_dir={tmp_path}/d",
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"{tmp_path}/d: File too large" in done.stderr
    assert hashes(tmp_path / "d") == before


def started(tmp_path, n=20_000, **kwargs):
    """prepare.py under way, with two workers, and its first results in a temporary folder."""
    source = write_rows(tmp_path / "in.jsonl", n, 90)
    command = [sys.executable, PREPARE, source, f"--data_dir={tmp_path}/d", "--num_workers=2"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
    process = subprocess.Popen(command, text=True, start_new_session=True, **streams)
    n_before = len(os.listdir(tmp_path / "d"))
    while len(os.listdir(tmp_path / "d")) == n_before and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    return process


def test_two_runs_do_not_write_to_one_folder(tmp_path, before):
    """The second took the first's temporary folder for an abandoned one, and removed it."""
    process = started(tmp_path, n=4_000)
    os.killpg(process.pid, signal.SIGSTOP)  # a fast machine would be done before the second starts
    done = prepared(f"--input={tmp_path}/first.jsonl", f"--data_dir={tmp_path}/d", check=False)
    os.killpg(process.pid, signal.SIGCONT)
    assert done.returncode == 1 and "another prepare.py" in done.stderr
    assert process.wait(timeout=120) == 0, process.stderr.read()
    assert len(documents(tmp_path / "d", "train")) > 2_000
    process.communicate()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_the_old_dataset_and_nothing_half_written(tmp_path, before, sent):
    process = started(tmp_path)
    if sent == signal.SIGTERM:
        process.terminate()
    else:  # a terminal sends them to every process
        os.killpg(process.pid, sent)
    # it ends when the workers, who hold the pipe, too, have ended
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + sent
    assert said.count("\n") == 1 and "interrupted" in said
    assert hashes(tmp_path / "d") == before


def test_the_run_after_one_that_was_killed_cleans_up(tmp_path, before):
    process = started(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert set(before) < set(os.listdir(tmp_path / "d"))
    assert {name: (tmp_path / "d" / name).is_file() for name in before} == dict.fromkeys(
        before, True
    )
    prepared(write_rows(tmp_path / "first.jsonl", 9, 9), f"--data_dir={tmp_path}/d")
    assert hashes(tmp_path / "d") == before


def test_nohup_survives_a_terminal_that_goes_away(tmp_path, before):
    process = started(
        tmp_path, n=2_000, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    os.killpg(process.pid, signal.SIGHUP)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "2,000 workflows" in said


@pytest.mark.parametrize("screen", [">/dev/full", "2>&-", "| true", "terminal"])
def test_a_screen_that_vanishes_does_not_end_the_run(tmp_path, screen):
    source = write_rows(tmp_path / "in.jsonl", 300, 90)
    command = [sys.executable, PREPARE, source, f"--data_dir={tmp_path}/d"]
    if screen == "terminal":
        ours, its = pty.openpty()
        os.close(ours)
        done = subprocess.run(command, stdout=its, stderr=its, timeout=120)
        os.close(its)
    else:
        line = f"set -o pipefail; {shlex.join(command)} {screen}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=120)
        assert not done.stderr
    assert done.returncode == 0
    assert "meta.json" in os.listdir(tmp_path / "d")
    assert not any(name.startswith(prepare.TMP_PREFIX) for name in os.listdir(tmp_path / "d"))
