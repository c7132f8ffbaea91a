"""Reads workflows out of whatever holds them: one generator of Workflow records, with limits.

    for workflow in read_input("my_workflows"): ...

Read are: a folder of .json, .yml, .yaml files or files without a suffix, .jsonl, .tar and .zip
(each of them also .gz, .xz, .bz2, even twice), or any one of these; a git clone, a tree of clones
or an archive of them gives its .github/workflows/*.y*ml and nothing else. Nothing is written,
unpacked to disk or executed; links to folders are not followed; FIFOs and devices are not opened.

A new input format is a suffix in kinds.KINDS and a generator here that read_container() calls.
"""

import itertools
import json
import os
import re
import stat
from typing import NamedTuple

from data.archives import (
    MAX_KB,
    UNREADABLE,
    Content,
    tar_members,
    too_large,
    unpacked,
    zip_members,
)
from data.histories import histories_beside
from data.kinds import READABLE, foreign_kind, is_compressed, kind_of, misfit

IN_CLONE = re.compile(r"(?:^|/)\.github/workflows/[^/]+\.ya?ml$")
TEXT_FIELDS = ("json", "yaml", "text", "content")  # of a row of .jsonl: where the workflow may be
PROJECT_FIELDS = ("project", "repository")
DRIVE = re.compile(r"[A-Za-z]:/")
HEAD_BYTES = 512  # enough to tell the kinds apart


class Workflow(NamedTuple):
    """A file that may be a workflow, or what stands in the way of reading it."""

    project: str | None  # that it belongs to, like owner/repository; None if not known
    name: str  # path below the input; path:member for what lies in a file
    data: bytes | None  # the file as it was found
    problem: str | None = None  # why there is no data


class Entry(NamedTuple):
    """A file of a folder that may hold workflows, not yet opened."""

    name: str  # path below the folder
    project: str | None
    path: str | os.PathLike | None
    problem: str | None = None  # why there is no path


def read_input(path, bar=None, avoid=None):
    """Yields a Workflow for each file below path, but for the folder whose os.stat() is avoid.

    bar (tqdm) counts bytes. Raises OSError for a path that is not there or that nothing here can
    read, and for a broken workflows.csv.
    """
    info = os.stat(path)
    histories = histories_beside(path)
    if stat.S_ISDIR(info.st_mode):
        entries = walk(path, avoid)
        if bar is not None:
            bar.total = total_bytes(walk(path, avoid))
    else:
        refuse_foreign(path)
        entries = [Entry(os.path.basename(path), None, path)]
        if bar is not None:
            bar.total = info.st_size
    for entry in entries:
        for workflow in read_entry(entry, bar):
            if workflow.project is None and histories is not None:
                workflow = workflow._replace(project=histories.repository_of(workflow.name))
            yield workflow


def refuse_foreign(path):
    """Raises OSError for a file of a kind that nothing here reads: who named it wants it read."""
    head = b""
    if os.path.isfile(path):
        with open(path, "rb") as f:
            head = f.read(HEAD_BYTES)
    what = foreign_kind(path, head)
    if what:
        raise OSError(0, f"this is {what}, which is not read here. Read are {READABLE}", path)


# ---- folders


def walk(root, avoid=None):
    """Yields an Entry for each file below root that may hold workflows, sorted.

    A folder with .github in it, or .git, is a clone and so a project, except that a root with .git
    alone may be a data set kept in git. avoid: os.stat() of a folder to stay out of.
    """
    folders = [("", None)]  # still to be read: path below root, the clone that it lies in
    while folders:
        folder, clone = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as found:
                found = sorted(found, key=lambda entry: entry.name)
        except OSError as e:
            yield Entry(folder, clone, None, e.strerror)
            continue
        if clone is None and is_clone(folder, found):
            clone = folder
        below = []
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if is_wanted_folder(entry, clone, avoid):
                    below.append((name, clone))
            elif is_wanted_file(name, clone):
                yield Entry(name, clone or None, entry)
        folders += reversed(below)


def is_clone(folder, entries):
    """Whether a folder, '' for the root, with these entries is a git clone."""
    names = [entry.name for entry in entries]
    return ".github" in names or bool(folder) and ".git" in names


def is_wanted_folder(entry, clone, avoid):
    if entry.name == ".git":
        return False
    if clone is None and entry.name.startswith("."):
        return False
    return avoid is None or not os.path.samestat(entry.stat(follow_symlinks=False), avoid)


def is_wanted_file(name, clone):
    if clone is not None:
        return IN_CLONE.search(name) is not None
    base = name.rpartition("/")[2]
    return base[:1] not in ("", ".") and kind_of(base) is not None


def total_bytes(entries):
    # DirEntry.stat() would be kept for each file, so lstat
    return sum(os.lstat(entry.path).st_size for entry in entries if entry.path is not None)


# ---- files


def read_entry(entry, bar=None):
    """Yields a Workflow for each in the file of an Entry. bar (tqdm) advances by its size."""
    if entry.problem:
        yield Workflow(entry.project, entry.name, None, entry.problem)
    else:
        yield from read_file(entry.path, entry.name, entry.project, bar)


def read_file(path, name, project=None, bar=None, workflows_only=False):
    """Yields a Workflow for each in the file at path, which is called name.

    workflows_only: of an archive, take .github/workflows alone. A file that breaks off gives what
    came before, then a problem.
    """
    n_read = 0
    try:
        for workflow in read_whatever(path, name, bar, workflows_only):
            yield workflow._replace(project=project) if project else workflow
            n_read += 1
    except UNREADABLE as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        problem = f"unreadable: {reason}"
        if n_read:
            problem = f"damaged: {reason}. Only the {n_read:,} files before that were read"
        yield Workflow(project, name, None, problem)


def read_whatever(path, name, bar, workflows_only):
    """As read_file() does, but raises what a damaged file makes its reader raise."""
    info = os.stat(path)
    kind = kind_of(name) or "file"
    done = 0  # bytes that bar knows of
    if not stat.S_ISREG(info.st_mode):  # opening a FIFO would wait for ever
        yield Workflow(None, name, None, "not a regular file")
    elif kind == "file" and too_large(info.st_size):
        yield Workflow(None, name, None, too_large(info.st_size))
    elif kind == "file" and not is_compressed(name):
        with open(path, "rb", buffering=0) as raw:
            yield checked(Workflow(None, name, raw.read()))
    else:
        with open(path, "rb") as raw:
            for workflow in read_container(raw, name, kind, workflows_only):
                yield checked(workflow)
                if bar is not None:
                    bar.update(raw.tell() - done)
                done = raw.tell()
    if bar is not None:
        bar.update(info.st_size - done)


def checked(workflow):
    """The Workflow, or its problem: too large, or something else than text."""
    if workflow.data is None:
        return workflow
    problem = too_large(len(workflow.data))
    if not problem:
        what = misfit("file", workflow.data[:HEAD_BYTES])
        problem = what and f"not a workflow but {what}"
    if problem:
        return workflow._replace(data=None, problem=problem)
    return workflow


def read_container(raw, name, kind, workflows_only):
    """Yields the Workflows of an archive, of a .jsonl, or of one compressed file."""
    stream = raw
    limited = None
    if kind != "zip":
        stream, limited = unpacked(raw)
    what = misfit(kind, stream.peek(HEAD_BYTES))
    if what:
        yield Workflow(None, name, None, f"not what its name says but {what}")
    elif kind == "zip":
        yield from choose(zip_members(raw), name, workflows_only)
    elif kind == "tar":
        yield from choose(tar_members(stream, limited), name, workflows_only)
    elif kind == "jsonl":
        yield from json_lines(stream, name)
    else:
        yield Workflow(None, name, stream.read((MAX_KB << 10) + 1))


# ---- archives


def choose(members, archive, workflows_only=False):
    """Yields a Workflow for each Member of an archive that walk() would choose in a folder."""
    clones = set()  # folders with .github in them, or .git
    for member in members:
        # some programs on Windows write them
        path = member.name.replace("\\", "/")
        parts = path.removeprefix("./").split("/")
        clone = clone_of(parts)
        if clone is not None:
            clones.add(clone)
        project = first_of(parts, clones)
        in_clone = workflows_only or project or "" in clones
        if in_clone and not IN_CLONE.search(path):
            continue
        if not in_clone and not is_wanted_file(parts[-1], None):
            continue
        content = read_member(member, path, parts)
        yield Workflow(project, f"{archive}:{member.name}", content.data, content.problem)


def clone_of(parts):
    """The folder that .github, or .git, in this path makes a clone; None if neither is in it."""
    for i, part in enumerate(parts):
        if part == ".github" or part == ".git" and i:
            return "/".join(parts[:i])
    return None


def first_of(parts, clones):
    """The outermost folder of this path, or the path itself, that is among clones; or None."""
    for path in itertools.accumulate(parts, "{}/{}".format):
        if path in clones:
            return path
    return None


def read_member(member, path, parts):
    """The Content of a Member that was chosen."""
    if path.startswith("/") or ".." in parts or DRIVE.match(path):
        return Content(None, "unsafe path in an archive")
    if kind_of(path) != "file":
        return Content(None, "a file of several in an archive: unpack the archive first")
    return member.read()


# ---- .jsonl


def json_lines(f, name):
    """Yields a Workflow for each row of a .jsonl, from its TEXT_FIELDS and PROJECT_FIELDS."""
    longest = MAX_KB << 12  # bytes of a line: escapes take room
    for number in itertools.count(1):
        line = f.readline(longest)
        if not line:
            return
        where = f"{name}:{number}"
        if len(line) < longest:
            yield workflow_of_row(line, where)
            continue
        while line and not line.endswith(b"\n"):
            line = f.readline(longest)
        yield Workflow(None, where, None, "too long a line")


def workflow_of_row(line, where):
    try:
        row = json.loads(line)
        project = first_field(row, PROJECT_FIELDS)
        value = first_field(row, TEXT_FIELDS)
        if value and not isinstance(value, str):  # minified, as prepare.py reads that fastest
            value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, AttributeError, RecursionError) as e:
        return Workflow(None, where, None, f"not a JSON object: {e}")
    project = str(project) if project else None
    if not value:
        return Workflow(project, where, None, "no field json, yaml, text or content")
    return Workflow(project, where, value.encode("utf-8", "surrogatepass"))


def first_field(row, names):
    """The value of the first of these fields that has one."""
    return next((row[name] for name in names if row.get(name)), None)
