"""
Extend data/pypi_manifest.tsv: how it was made, and how to add projects of your own choice.

    python data/extend_manifest.py names.txt      # one PyPI project a line; those in the manifest are passed over

Each project's newest source distribution of at most max_mb is fetched into data/cache (as in data/pypi.py: from pip's
index, with nothing of it run) and its workflow files are counted: all of them, and those whose text no earlier sdist
holds. Sdists with a new one join the manifest, which is then sorted by new workflows per byte: its head is the most text
for the least download.
Earlier sdists that the cache lacks (fill it with `python data/pypi.py 1111`) cannot be compared with.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from data import pypi  # noqa: E402
from data.sources import digest, read_one  # noqa: E402

max_mb = 3.0  # of a source distribution

cache = os.path.join(os.path.dirname(pypi.manifest), "cache")
os.makedirs(cache, exist_ok=True)
if len(sys.argv) != 2:
    raise SystemExit("usage: python data/extend_manifest.py names.txt")


def workflows(row):
    """The hashes of the workflow files in a cached sdist."""
    path = os.path.join(cache, row.filename)
    return {
        digest(data)
        for _, _, data in read_one(path, row.filename, workflows_only=True)
        if isinstance(data, bytes)
    }


rows = pypi.read_manifest(float("inf"))
known = {row.project for row in rows}
seen = set().union(
    *(workflows(row) for row in rows if os.path.exists(os.path.join(cache, row.filename)))
)
site, session = pypi.index()
import pypi_simple  # noqa: E402 (index() has said what to install where it is missing)
from packaging.version import InvalidVersion, Version  # noqa: E402 (comes with it)


def newest(project):
    """The Row of a project's newest sdist, or None; without counts, and with max_mb where the index tells no size."""
    found = []
    for p in site.get_project_page(project, timeout=pypi.timeout).packages:
        if (
            p.package_type == "sdist"
            and not p.is_yanked
            and (p.size or 0) <= max_mb * 1e6
            and "sha256" in p.digests
        ):
            try:
                found.append((Version(p.version), p))
            except InvalidVersion:
                continue
    if found:
        p = max(found, key=lambda pair: pair[0])[1]
        return pypi.Row(
            project, p.version, p.filename, p.size or int(max_mb * 1e6), p.digests["sha256"], 0, 0
        )


with open(sys.argv[1], encoding="utf-8") as f:
    names = list(dict.fromkeys(line.strip() for line in f if line.strip()))
for project in names:
    if project in known:
        continue
    try:
        row = newest(project)
        path, problem = pypi.fetch(row, cache) if row else (None, "no sdist of that size")
    except (pypi_simple.NoSuchProjectError, OSError) as e:
        path, problem = None, str(e)
    found = workflows(row) if path else set()
    print(f"{project}: {problem or f'{len(found)} workflows, {len(found - seen)} new'}", flush=True)
    if found - seen:
        rows.append(
            row._replace(
                size_bytes=os.path.getsize(path),
                workflows=len(found),
                new_workflows=len(found - seen),
            )
        )
        seen |= found
rows.sort(key=lambda row: -row.new_workflows / row.size_bytes)
with open(pypi.manifest + ".part", "w", encoding="utf-8") as f:
    f.writelines("\t".join(map(str, row)) + "\n" for row in [pypi.Row._fields, *rows])
os.replace(pypi.manifest + ".part", pypi.manifest)
