"""Extend data/pypi_manifest.tsv: how it was made, and how to add projects of your own choice.

    python data/extend_manifest.py names.txt   # one PyPI project a line; known ones are passed over

Each project's newest source distribution of at most MAX_MB is fetched into data/cache (as in
data/pypi.py: from pip's index, with nothing of it run) and its workflow files are counted: all of
them, and those whose text no earlier sdist holds. Sdists with a new one join the manifest; those
without any workflow leave the cache. Earlier sdists that the cache lacks (fill it with
`python data/pypi.py 1111`) cannot be compared with.

The rows of the default data stay as they are. What follows is sorted by new workflows per byte: the
most text for the least download.

The manifest is written after every SAVE_EVERY projects and at the end, also at Ctrl-C or kill. Run
again it passes over what has joined and asks for the others anew; sdists with workflows are in the
cache by then.
"""

import atexit
import collections
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from config import fail, say_when_stopped  # noqa: E402
from data import pypi  # noqa: E402
from data.digest import digest  # noqa: E402
from data.files import write_whole  # noqa: E402
from data.progress import progress_bar  # noqa: E402
from data.sources import read_file  # noqa: E402

MAX_MB = 3.0  # of a source distribution
SAVE_EVERY = 1000  # projects


class Manifest:
    """The rows, and which workflows they have."""

    def __init__(self):
        self.rows = pypi.read_manifest(float("inf"))
        self.n_before = len(self.rows)
        # The default data, and the first row that does not fit: a smaller one in its place might.
        self.n_fixed = len(pypi.read_manifest(pypi.DEFAULT_MB)) + 1
        self.seen = set()  # hashes of the workflows in the rows' sdists
        for row in self.rows:
            self.seen |= workflow_hashes(row)

    def add(self, row, hashes):
        """Adds the row if one of its workflows is new. Returns how many are."""
        n_new = len(hashes - self.seen)
        if n_new:
            self.rows.append(row._replace(new_workflows=n_new))
            self.seen |= hashes
        return n_new

    def write(self):
        """Writes the rows; if there are new ones, it sorts those that are not fixed."""
        others = self.rows[self.n_fixed :]
        if len(self.rows) > self.n_before:
            others.sort(key=lambda row: -row.new_workflows / row.size_bytes)
        with write_whole(pypi.MANIFEST) as f:
            for row in [pypi.Row._fields, *self.rows[: self.n_fixed], *others]:
                f.write("\t".join(map(str, row)) + "\n")


def read_names(path):
    """The lines of a file, without blank ones."""
    try:
        with open(path, encoding="utf-8") as f:
            lines = [line.strip() for line in f]
    except (OSError, UnicodeDecodeError) as e:
        fail(f"{path}: {getattr(e, 'strerror', None) or 'not UTF-8'}; give a text file of names")
    return [name for name in lines if name]


def unknown(names, rows):
    """Those names that no row has, each once, as the index spells them."""
    from packaging.utils import canonicalize_name  # comes with pypi_simple

    known = {canonicalize_name(row.project) for row in rows}
    names = dict.fromkeys(canonicalize_name(name) for name in names)
    return [name for name in names if name not in known]


def workflow_hashes(row):
    """The hashes of the workflow files in a cached sdist; none if the cache lacks it."""
    path = pypi.path_in_cache(row, pypi.CACHE)
    if not os.path.exists(path):
        return set()
    workflows = read_file(path, row.filename, workflows_only=True)
    return {digest(workflow.data) for workflow in workflows if workflow.data is not None}


def newest(project):
    """(the Row of a project's newest sdist, where the index has it).

    The Row is without counts, and with MAX_MB where no size is told. Raises pypi.Unavailable if
    there is none of that size.
    """
    from packaging.version import InvalidVersion, Version

    best = None  # (Version, package)
    for package in pypi.packages_of(project):
        if not is_usable(package):
            continue
        try:
            version = Version(package.version)
        except InvalidVersion:
            continue
        if best is None or version > best[0]:
            best = (version, package)
    if best is None:
        raise pypi.Unavailable(f"no source distribution of at most {MAX_MB:g} MB")
    package = best[1]
    size = package.size or int(MAX_MB * 1e6)
    sha256 = package.digests["sha256"]
    row = pypi.Row(project, package.version, package.filename, size, sha256, 0, 0)
    return row, package.url


def is_usable(package):
    """Whether this file of a project is a source distribution to count."""
    if package.package_type != "sdist" or package.is_yanked:
        return False
    return (package.size or 0) <= MAX_MB * 1e6 and "sha256" in package.digests


def count(project):
    """(the Row of its newest sdist, the hashes of the workflows in it). Raises what fetch() does.

    The sdist stays in the cache if it has any.
    """
    row, url = newest(project)
    path = pypi.fetch(row, pypi.CACHE, url)
    row = row._replace(size_bytes=os.path.getsize(path))
    hashes = workflow_hashes(row)
    if not hashes:
        os.unlink(path)
    return row._replace(workflows=len(hashes)), hashes


def extend(manifest, names, bar):
    """Adds the projects to the manifest. Returns a Counter of what came of them."""
    counts = collections.Counter()
    counted = pypi.in_threads(count, names)
    for n_asked, (_, answer, problem) in enumerate(counted, 1):
        if problem:
            counts[problem] += 1
        else:
            n_new = manifest.add(*answer)
            counts["with a new workflow" if n_new else "without a new workflow"] += 1
            counts["new workflows"] += n_new
        bar.set_postfix_str(f"{counts['new workflows']:,} new workflows", refresh=False)
        bar.update()
        if n_asked % SAVE_EVERY == 0:
            manifest.write()
    return counts


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: python data/extend_manifest.py names.txt")
    names = read_names(sys.argv[1])
    pypi.index()  # says what to install where it is missing
    os.makedirs(pypi.CACHE, exist_ok=True)
    atexit.register(pypi.remove_parts, pypi.CACHE)
    print("reading     the manifest, and its source distributions in the cache", flush=True)
    manifest = Manifest()
    names = unknown(names, manifest.rows)
    if not names:
        fail(f"{sys.argv[1]} names no project that the manifest lacks")
    manifest.write()  # where that is impossible it shows now
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with progress_bar(" projects", len(names)) as bar:
            counts = extend(manifest, names, bar)
    finally:
        manifest.write()
    for what, n in counts.most_common():
        print(f"{n:>7,}  {what}")


if __name__ == "__main__":
    say_when_stopped("what was found is in the manifest; run it again to continue")
    try:
        main()
    except ConnectionError as e:
        fail(f"no package index can be reached ({e}). Is the network up, the proxy set?")
    except OSError as e:
        fail(f"{e.filename or pypi.HERE}: {e.strerror or e}")
