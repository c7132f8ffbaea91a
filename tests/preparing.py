"""What tests of prepare.py and data/ need: workflows made up, archives of them, prepare.py run."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np

import tct_github_workflow as tct

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PREPARE = os.path.join(ROOT, "prepare.py")
LETTERS = str.maketrans("0123456789", "ghijklmnop")


def workflow(i=0):
    """Valid YAML; no two of them are near duplicates."""
    word = str(i).translate(LETTERS)
    return (
        "name: CI\non: [push]\njobs:\n  test:\n    runs-on: ubuntu-latest\n"
        f"    steps:\n      - run: echo {word} {word}\n"
    )


def prepared(*flags, check=True, **kwargs):
    """prepare.py with these flags, as a finished process; check: it must have ended well."""
    done = subprocess.run(
        [sys.executable, PREPARE, *flags],
        capture_output=True,
        text=True,
        **kwargs,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or not check, done.stderr
    return done


def write_rows(path, n, projects=None):
    """Writes a .jsonl of n workflows, of so many projects or none. Returns the flag to read it."""
    with open(path, "w") as f:
        for i in range(n):
            row = {"yaml": workflow(i), "project": f"p{i % projects}" if projects else None}
            f.write(json.dumps(row) + "\n")
    return f"--input={path}"


def write_tar(path, files, mode="w:gz"):
    """files: {name: text}."""
    with tarfile.open(path, mode) as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


def documents(folder, split):
    """The workflows of a prepared folder's split, as JSON texts."""
    tokens = np.fromfile(folder / f"{split}.bin", np.uint16)
    offsets = np.fromfile(folder / f"{split}.idx", np.int64)
    return [
        tct.decode(tokens[a:b].tolist())[0] for a, b in zip(offsets[:-1], offsets[1:], strict=True)
    ]


def hashes(folder):
    """{name: sha256} of the files in a folder."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in sorted(os.listdir(folder))
    }
