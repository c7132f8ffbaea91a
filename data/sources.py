"""
Reads workflows out of whatever holds them: one generator of (project, name, bytes), with limits, for prepare.py.

    for project, name, data in read_input('my_workflows'): ...

Where there are no bytes to be had, data is a str that says why. Read are: a folder of .json, .yml, .yaml files or files
without a suffix, .jsonl, .tar and .zip (each of them also .gz, .xz, .bz2, even twice), or any one of these; a git clone, a
tree of clones or an archive of them gives its .github/workflows/*.y*ml and nothing else. project is None if not known.
Nothing is written, unpacked to disk or executed; links to folders are not followed; FIFOs and devices are not opened.
"""

import array
import bz2
import csv
import glob
import gzip
import hashlib
import io
import itertools
import json
import lzma
import os
import pathlib
import re
import stat
import tarfile
import zipfile
import zlib

import numpy as np

max_kb = 1024  # a workflow file larger than this many KiB is skipped; GitHub has the same limit
bomb_mb = 256  # an archive may unpack to this many MiB, or to 200 times its own size; past both it is a bomb

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    csv.Error,
)
MAGIC = {
    b"\x1f\x8b": lambda f: gzip.GzipFile(fileobj=f),
    b"\xfd7zXZ": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
KINDS = {
    ".tar": "tar",
    ".tgz": "tar",
    ".zip": "zip",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "file",
    ".yml": "file",
    ".yaml": "file",
    "": "file",
}
COMPRESSED = re.compile(r"(\.(gz|xz|bz2))+$", re.I)
IN_CLONE = re.compile(r"(?:^|/)\.github/workflows/[^/]+\.ya?ml$")


def kind(name):
    """'tar', 'zip', 'jsonl', 'file' (of one workflow), or None: not for us."""
    return KINDS.get(os.path.splitext(COMPRESSED.sub("", name))[1].lower())


def too_large(n_bytes):
    return f"larger than {max_kb} KiB" if n_bytes > max_kb << 10 else None


def digest(text):
    """64 bits of a hash of a str or bytes."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class Limited(io.RawIOBase):
    """f as a stream that breaks off once it has given more than limit bytes. n: bytes given so far."""

    def __init__(self, f, limit):
        self.f, self.limit, self.n = f, limit, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        got = self.f.readinto(buffer)
        self.n += got
        if self.n > self.limit:
            raise OSError("unpacks to too much, like a bomb")
        return got


def unpacked(raw):
    """(a buffered stream of what raw holds below all its compression, the Limited that feeds it)."""
    size = os.fstat(raw.fileno()).st_size
    limited = Limited(raw, max(bomb_mb << 20, 200 * size))
    for _ in range(4):
        f = io.BufferedReader(limited, 1 << 16)
        opener = next((o for magic, o in MAGIC.items() if f.peek(8).startswith(magic)), None)
        if opener is None:
            return f, limited
        limited = Limited(opener(f), limited.limit)
    raise OSError("compressed more than three times")


def walk(root, avoid=None):
    """Yields (name below root, project, DirEntry) of the files that may hold workflows, sorted; a str that says what
    is wrong may stand in place of the entry. A folder with .github in it, or .git, is a clone and so a project, except that
    a root with .git alone may be a data set kept in git. avoid: os.stat() of a folder to stay out of."""
    folders = [("", None)]
    while folders:
        folder, clone = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                entries = sorted(entries, key=lambda e: e.name)
        except OSError as e:
            yield folder, clone, e.strerror
            continue
        if clone is None and any(
            e.name == ".github" or e.name == ".git" and folder for e in entries
        ):
            clone = folder
        below = []
        for e in entries:
            name = f"{folder}/{e.name}" if folder else e.name
            if e.is_dir(follow_symlinks=False):
                hidden = e.name == ".git" or clone is None and e.name[0] == "."
                if not hidden and not (
                    avoid and os.path.samestat(e.stat(follow_symlinks=False), avoid)
                ):
                    below.append((name, clone))
            elif IN_CLONE.search(name) if clone is not None else e.name[0] != "." and kind(e.name):
                yield name, clone or None, e
        folders += reversed(below)


def members(archive, workflows_only=False):
    """The same choice among the (name, read) of an archive: (project, name, bytes or str)."""
    clones = set()
    for name, read in archive:
        parts = name.removeprefix("./").split("/")
        marks = [i for i, part in enumerate(parts) if part == ".github" or part == ".git" and i]
        if marks:
            clones.add("/".join(parts[: marks[0]]))
        project = next(
            (p for p in itertools.accumulate(parts, "{}/{}".format) if p in clones), None
        )
        if workflows_only or project or "" in clones:
            if not IN_CLONE.search(name):
                continue
        elif parts[-1][:1] in ("", ".") or kind(parts[-1]) != "file":
            continue
        yield (
            project,
            name,
            "unsafe path in an archive"
            if name[:1] == "/" or ".." in parts or "\\" in name
            else read(),
        )


def tar_members(f, limited):
    total = limited.limit
    limited.limit = min(total, 4 << 20)
    with tarfile.open(fileobj=f, mode="r|") as tar:
        while (m := tar.next()) is not None:
            limited.limit = min(
                total, limited.n + m.size + (4 << 20)
            )  # this file and one header, which may be a bomb too
            tar.members.clear()  # tarfile remembers every header that it saw
            if not m.isdir():
                yield (
                    m.name,
                    lambda: (
                        (too_large(m.size) or tar.extractfile(m).read())
                        if m.isreg()
                        else "not a regular file"
                    ),
                )


def zip_members(raw):
    left = max(bomb_mb << 20, 200 * os.fstat(raw.fileno()).st_size)
    with zipfile.ZipFile(raw) as archive:
        for m in archive.infolist():

            def read():
                if stat.S_IFMT(m.external_attr >> 16) not in (0, stat.S_IFREG):
                    return "not a regular file"
                try:
                    with archive.open(m) as f:
                        return too_large(m.file_size) or f.read((max_kb << 10) + 1)
                except UNREADABLE as e:
                    return f"unreadable: {e}"

            left -= min(m.file_size, max_kb << 10)
            if left < 0:
                raise OSError("unpacks to too much, like a bomb")
            if not m.is_dir():
                yield m.filename, read


def json_lines(f):
    """The rows of a .jsonl file: the workflow in json, yaml, text or content, its project in project or repository."""
    longest = max_kb << 12  # bytes of a line: escapes take room
    for number in itertools.count(1):
        line = f.readline(longest)
        if not line:
            return
        project, data = None, "no field json, yaml, text or content"
        if len(line) == longest:
            data = "too long a line"
            while line and not line.endswith(b"\n"):
                line = f.readline(longest)
        else:
            try:
                row = json.loads(line)
                project = row.get("project") or row.get("repository")
                value = next(
                    (row[k] for k in ("json", "yaml", "text", "content") if row.get(k)), None
                )
                if value:  # minified, as prepare.py reads that fastest
                    text = (
                        value
                        if isinstance(value, str)
                        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                    )
                    data = text.encode("utf-8", "surrogatepass")
            except (ValueError, AttributeError, RecursionError) as e:
                data = f"not a JSON object: {e}"
        yield project and str(project), str(number), data


def read_one(path, name, project=None, bar=None, workflows_only=False):
    """All that the file at path holds, as (project, name or name:member, bytes or str). bar (tqdm) advances by its size."""
    done, what = 0, kind(name) or "file"
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):  # opening a FIFO would wait for ever
            yield project, name, "not a regular file"
        elif what == "file" and too_large(info.st_size):
            yield project, name, too_large(info.st_size)
        elif what == "file" and not COMPRESSED.search(name):
            with open(path, "rb", buffering=0) as raw:
                yield project, name, raw.read()
        else:
            with open(path, "rb") as raw:
                if what == "zip":
                    found = members(zip_members(raw), workflows_only)
                else:
                    f, limited = unpacked(raw)
                    found = (
                        members(tar_members(f, limited), workflows_only)
                        if what == "tar"
                        else json_lines(f)
                        if what == "jsonl"
                        else [(None, "", f.read((max_kb << 10) + 1))]
                    )
                for owner, member, data in found:
                    if isinstance(data, bytes) and too_large(len(data)):
                        data = too_large(len(data))
                    yield project or owner, f"{name}:{member}" if member else name, data
                    if bar is not None:
                        bar.update(raw.tell() - done)
                    done = raw.tell()
        if bar is not None:
            bar.update(info.st_size - done)
    except UNREADABLE as e:
        yield (
            project,
            name,
            f"unreadable: {e.strerror if isinstance(e, OSError) and e.strerror else e}",
        )


def histories(path):
    """The data set of workflow histories (doi.org/10.5281/zenodo.10259013) names each file by its hash; workflows.csv.gz,
    which this reads, tells the repository. Returns a function name -> repository or None. 12 bytes a row: there are millions."""
    hashes, owners, names = array.array("Q"), array.array("I"), {}
    with open(path, "rb") as raw:
        table = csv.reader(io.TextIOWrapper(unpacked(raw)[0], "utf-8", "replace", newline=""))
        header = next(table, [])
        file_hash, repository = header.index("file_hash"), header.index("repository")
        for row in table:
            if len(row) == len(header):
                hashes.append(digest(row[file_hash]))
                owners.append(names.setdefault(row[repository], len(names)))
    names, order = list(names), np.argsort(hashes, kind="stable")
    hashes = np.array(hashes, np.uint64)[order]

    def repository_of(name):
        wanted = np.uint64(digest(re.split("[/:]", name)[-1]))
        i = np.searchsorted(hashes, wanted)
        return names[owners[order[i]]] if i < len(hashes) and hashes[i] == wanted else None

    return repository_of


def read_input(path, bar=None, avoid=None):
    """Yields (project, name, bytes or str) of all that path holds, but for the folder whose os.stat() is avoid.
    bar (tqdm) counts bytes. Raises OSError for a path that is not there and for a broken workflows.csv."""
    size = os.stat(path).st_size
    beside = [os.path.join(path, ""), os.path.join(os.path.dirname(os.path.abspath(path)), "")]
    tables = sorted(
        found for folder in beside for found in glob.glob(glob.escape(folder) + "workflows.csv*")
    )
    try:
        if tables and not os.path.isfile(tables[0]):
            raise ValueError("not a regular file")  # opening a FIFO would wait for ever
        repository_of = histories(tables[0]) if tables else lambda name: None
    except UNREADABLE as e:
        raise OSError(0, f"unreadable ({e}); move it away to do without", tables[0]) from e
    if not os.path.isdir(path):
        found = [(os.path.basename(path), None, pathlib.Path(path))]
        if bar is not None:
            bar.total = size
    else:
        found = walk(path, avoid)
        if bar is not None:
            files = (e for _, _, e in walk(path, avoid) if not isinstance(e, str))
            bar.total = sum(
                os.lstat(e).st_size for e in files
            )  # e.stat() would be kept for each file
    for name, project, entry in found:
        if isinstance(entry, str):
            yield project, name, entry
            continue
        for owner, name, data in read_one(entry, name, project, bar):
            yield owner or repository_of(name), name, data
