"""Extend data/pypi_manifest.tsv: how it was made, and how to add projects of your own choice.

    python data/extend_manifest.py names.txt   # one PyPI project a line; known ones are passed over

Each project's newest source distribution of at most MAX_MB is fetched into data/cache (as in
data/pypi.py: from pip's index, with nothing of it run) and its workflow files are counted: all of
them, and those whose text no earlier sdist holds. Sdists with a new one join the manifest, which is
then sorted by new workflows per byte: its head is the most text for the least download. Earlier
sdists that the cache lacks (fill it with `python data/pypi.py 1111`) cannot be compared with.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from config import fail  # noqa: E402
from data import pypi  # noqa: E402
from data.digest import digest  # noqa: E402
from data.files import write_whole  # noqa: E402
from data.sources import read_file  # noqa: E402

MAX_MB = 3.0  # of a source distribution


def read_names(path):
    """The lines of a file, each once, without blank ones."""
    try:
        with open(path, encoding="utf-8") as f:
            lines = [line.strip() for line in f]
    except (OSError, UnicodeDecodeError) as e:
        fail(f"{path}: {getattr(e, 'strerror', None) or 'not UTF-8'}; give a text file of names")
    return [name for name in dict.fromkeys(lines) if name]


def workflow_hashes(row):
    """The hashes of the workflow files in a cached sdist; none if the cache lacks it."""
    path = pypi.path_in_cache(row, pypi.CACHE)
    if not os.path.exists(path):
        return set()
    workflows = read_file(path, row.filename, workflows_only=True)
    return {digest(workflow.data) for workflow in workflows if workflow.data is not None}


def newest(project):
    """The Row of a project's newest sdist, without counts, and with MAX_MB where no size is told.

    Raises pypi.Unavailable if it has none of that size.
    """
    from packaging.version import InvalidVersion, Version  # comes with pypi_simple

    site, _ = pypi.index()
    best = None  # (Version, package)
    for package in site.get_project_page(project, timeout=pypi.TIMEOUT).packages:
        if not is_usable(package):
            continue
        try:
            version = Version(package.version)
        except InvalidVersion:
            continue
        if best is None or version > best[0]:
            best = (version, package)
    if best is None:
        raise pypi.Unavailable("no sdist of that size")
    package = best[1]
    size = package.size or int(MAX_MB * 1e6)
    sha256 = package.digests["sha256"]
    return pypi.Row(project, package.version, package.filename, size, sha256, 0, 0)


def is_usable(package):
    """Whether this file of a project is a source distribution to count."""
    if package.package_type != "sdist" or package.is_yanked:
        return False
    return (package.size or 0) <= MAX_MB * 1e6 and "sha256" in package.digests


def count(project, seen):
    """(its Row, the hashes of its workflows), after saying how many of them are not in seen."""
    import pypi_simple

    row = None
    hashes = set()
    try:
        row = newest(project)
        path = pypi.fetch(row, pypi.CACHE)
        hashes = workflow_hashes(row)
        row = row._replace(size_bytes=os.path.getsize(path))
        said = f"{len(hashes)} workflows, {len(hashes - seen)} new"
    except (pypi_simple.NoSuchProjectError, pypi.Unavailable, OSError) as e:
        said = str(e)
    print(f"{project}: {said}", flush=True)
    return row, hashes


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: python data/extend_manifest.py names.txt")
    names = read_names(sys.argv[1])
    os.makedirs(pypi.CACHE, exist_ok=True)
    rows = pypi.read_manifest(float("inf"))
    known = {row.project for row in rows}
    seen = set()
    for row in rows:
        seen |= workflow_hashes(row)
    pypi.index()  # says what to install where it is missing
    for project in names:
        if project in known:
            continue
        row, hashes = count(project, seen)
        n_new = len(hashes - seen)
        if n_new:
            rows.append(row._replace(workflows=len(hashes), new_workflows=n_new))
            seen |= hashes
    rows.sort(key=lambda row: -row.new_workflows / row.size_bytes)
    with write_whole(pypi.MANIFEST) as f:
        for row in [pypi.Row._fields, *rows]:
            f.write("\t".join(map(str, row)) + "\n")


if __name__ == "__main__":
    main()
