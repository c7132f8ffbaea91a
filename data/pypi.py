"""
The default data: source distributions on PyPI that carry GitHub Actions workflows, listed in data/pypi_manifest.tsv.

prepare.py reads them with `for row, path, problem in sdists(read_manifest(36), 'data/cache')`. A file is fetched once, from
the index that pip is configured for (a mirror, a proxy and a certificate set for pip are honoured), checked against the
manifest's sha256 and kept in the cache; nothing is unpacked or installed, so no code of a package ever runs.

    python data/pypi.py 36          # only fill the cache: the first rows of the manifest, 36 MB in all

reads  data/pypi_manifest.tsv       project, version, filename, size_bytes, sha256, workflows,
                                    new_workflows: those that no earlier row has
writes data/cache/<filename>
"""

import ast
import collections
import functools
import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

manifest = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pypi_manifest.tsv")
connections = 16  # parallel downloads; be polite
attempts = 4  # tries a file, with pauses of 0.5, 1, 2... seconds
timeout = (10, 60)  # seconds to connect, seconds without a byte

Row = collections.namedtuple(
    "Row", "project version filename size_bytes sha256 workflows new_workflows"
)


def read_manifest(download_mb, path=manifest):
    """The manifest's first rows that add up to at most download_mb (10**6 bytes)."""
    rows, budget = [], download_mb * 1e6
    with open(path, encoding="utf-8") as f:
        next(f)  # the header
        for line in f:
            row = Row(*line.rstrip("\n").split("\t"))
            row = row._replace(
                size_bytes=int(row.size_bytes),
                workflows=int(row.workflows),
                new_workflows=int(row.new_workflows),
            )
            budget -= row.size_bytes
            if budget < 0:
                break
            rows.append(row)
    return rows


@functools.cache
def pip_config():
    return subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    ).stdout


def pip_setting(name):
    """pip's own setting, or None: the environment (PIP_INDEX_URL...) first, then its configuration files."""
    found = dict(line.split("=", 1) for line in pip_config().splitlines() if "=" in line)
    for section in ":env:", "download", "install", "global":
        if f"{section}.{name}" in found:
            return ast.literal_eval(found[f"{section}.{name}"])
    return os.environ.get(
        "PIP_" + name.upper().replace("-", "_")
    )  # no pip in this environment (uv): the variable alone


@functools.cache
def index():
    """(PyPISimple, its session): the package index as pip sees it, with pip's proxy and certificate, and retries."""
    try:
        import pypi_simple
        import requests
        from urllib3.util.retry import Retry
    except ImportError as e:
        raise SystemExit(
            f"the PyPI download needs a package that is not installed ({e.name}): pip install pypi-simple\n"
            "or bring your own workflows: python prepare.py --input=a_folder"
        ) from None
    session = requests.Session()
    retry = Retry(
        total=attempts, connect=2, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504)
    )
    for scheme in "http://", "https://":
        session.mount(
            scheme, requests.adapters.HTTPAdapter(pool_maxsize=connections, max_retries=retry)
        )
    if proxy := pip_setting("proxy"):
        session.proxies = {"http": proxy, "https": proxy}
    if cert := pip_setting("cert"):
        session.verify = cert
    session.headers["Accept-Encoding"] = (
        "identity"  # the bytes as they are stored, as pip asks for them
    )
    return pypi_simple.PyPISimple(
        pip_setting("index-url") or pypi_simple.PYPI_SIMPLE_ENDPOINT, session=session
    ), session


def is_cached(row, path):
    try:
        with open(path, "rb") as f:
            return (
                os.fstat(f.fileno()).st_size == row.size_bytes
                and hashlib.sha256(f.read()).hexdigest() == row.sha256
            )
    except FileNotFoundError:
        return False


def fetch(row, cache):
    """(path, None), or (None, why it cannot be had), or an exception of requests: the network."""
    path = os.path.join(cache, os.path.basename(row.filename))
    if is_cached(row, path):
        return path, None
    site, session = index()
    import requests
    from pypi_simple import NoSuchProjectError

    try:
        page = site.get_project_page(row.project, timeout=timeout)
    except NoSuchProjectError:
        return None, "the project is gone from the index"
    url = next((p.url for p in page.packages if p.filename == row.filename), None)
    if url is None:
        return None, "the file is gone from the index"
    part = f"{path}.{os.getpid()}.part"
    for attempt in range(attempts):
        try:
            digest, size = hashlib.sha256(), 0
            with session.get(url, stream=True, timeout=timeout) as answer, open(part, "wb") as f:
                if answer.status_code in (403, 404, 410):
                    return None, "the file is gone from the index"
                answer.raise_for_status()
                for block in answer.iter_content(1 << 16):
                    digest.update(block)
                    size += len(block)
                    if (
                        size > row.size_bytes
                    ):  # not the manifest's file: stop before it fills the disk
                        break
                    f.write(block)
            if digest.hexdigest() != row.sha256:
                return None, "its sha256 is not the manifest's"
            os.replace(part, path)
            return path, None
        except (
            requests.RequestException
        ):  # broken off in the middle: the session's own retries do not cover that
            if attempt == attempts - 1:
                raise
            time.sleep(0.5 * 2**attempt)
        finally:
            if os.path.exists(part):
                os.unlink(part)


def sdists(rows, cache):
    """Yields (row, path, problem) in the manifest's order, downloading what the cache lacks; path is None where there is a
    problem. Raises ConnectionError if the index cannot be reached."""
    os.makedirs(cache, exist_ok=True)
    if not all(os.path.exists(os.path.join(cache, os.path.basename(row.filename))) for row in rows):
        index()  # once, before the threads ask for it
    pool = ThreadPoolExecutor(connections)
    ahead, failed, reached = collections.deque(), 0, False
    rows = iter(rows)
    try:
        while True:
            while len(ahead) < 2 * connections and (row := next(rows, None)):
                ahead.append((row, pool.submit(fetch, row, cache)))
            if not ahead:
                return
            row, future = ahead.popleft()
            try:
                path, problem = future.result()
                failed, reached = 0, True
            except OSError as e:  # every exception of requests is one
                if type(e).__module__.split(".")[0] != "requests":
                    raise  # the cache cannot be written
                failed += 1
                if not reached or failed == connections:
                    raise ConnectionError(f"{type(e).__name__} on {row.project}") from e
                path, problem = None, f"download failed ({type(e).__name__})"
            yield row, path, problem
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


if __name__ == "__main__":
    wanted = read_manifest(float(sys.argv[1]) if len(sys.argv) > 1 else 36)
    for done, (row, path, problem) in enumerate(
        sdists(wanted, os.path.join(os.path.dirname(manifest), "cache")), 1
    ):
        print(f"{done}/{len(wanted)} {path or problem}", flush=True)
