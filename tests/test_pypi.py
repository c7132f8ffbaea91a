"""Facts about data/pypi.py, the default input. No network: the package index is on this machine."""

import hashlib
import http.server
import os
import threading

import pytest

import prepare
from data import pypi
from data.sources import read_file
from tests.preparing import workflow, write_tar


class Index(http.server.ThreadingHTTPServer):
    """A package index on this machine."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}  # path: bytes, or statuses to answer with first and then bytes
        self.asked = []  # paths
        self.page_type = "text/html"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.files.get(self.path, 404)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        kind = "application/octet-stream"
        if self.path.startswith("/simple"):
            kind = self.server.page_type
        self.send_response(answer if isinstance(answer, int) else 200)
        body = b"" if isinstance(answer, int) else answer
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def index(monkeypatch):
    pytest.importorskip("pypi_simple")
    server = Index()
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
    """Puts an sdist on the index, or another answer in its place. Returns its Row."""
    files = {
        f"{name}-1/.github/workflows/ci.yml": workflow(),
        f"{name}-1/setup.py": "raise SystemExit",
    }
    write_tar(tmp_path / name, files)
    data = (tmp_path / name).read_bytes()
    server.files[f"/simple/{name}/"] = f'<a href="/f/{name}-1.tar.gz">{name}-1.tar.gz</a>'.encode()
    server.files[f"/f/{name}-1.tar.gz"] = answer or data
    sha256 = hashlib.sha256(data).hexdigest()
    return pypi.Row(name, "1", f"{name}-1.tar.gz", len(data), sha256, 1, 1)


def test_sdists_are_fetched_once_and_verified_and_those_not_to_be_had_say_why(index, tmp_path):
    names = ("good", "flaky", "gone", "empty")
    rows = [publish(index, tmp_path, name) for name in names]
    rows.append(publish(index, tmp_path, "forged", b"evil"))
    rows.append(publish(index, tmp_path, "longer", bytes(9_000_000)))
    index.files["/f/flaky-1.tar.gz"] = [503, index.files["/f/flaky-1.tar.gz"]]
    del index.files["/simple/gone/"], index.files["/f/empty-1.tar.gz"]
    cache = str(tmp_path / "cache")
    found = list(pypi.sdists(rows, cache))
    assert {sdist.row.project: sdist.problem for sdist in found} == {
        "good": None,
        "flaky": None,
        "gone": "the project is gone from the index",
        "empty": "the file is gone from the index",
        "forged": "its sha256 is not the manifest's",
        "longer": "its sha256 is not the manifest's",
    }
    assert sorted(os.listdir(cache)) == ["flaky-1.tar.gz", "good-1.tar.gz"]
    workflows = read_file(found[0].path, "x.tar.gz", "good", workflows_only=True)
    assert [(w.project, w.data) for w in workflows] == [("good", workflow().encode())]
    index.asked.clear()
    assert all(sdist.path for sdist in pypi.sdists(rows[:2], cache)) and not index.asked
    (tmp_path / "cache" / "good-1.tar.gz").write_bytes(b"spoilt")
    assert all(sdist.path for sdist in pypi.sdists(rows[:2], cache))
    assert index.asked == ["/simple/good/", "/f/good-1.tar.gz"]


def test_without_a_network_one_line_names_the_way_out(index, tmp_path):
    row = publish(index, tmp_path, "good")
    index.server_close()
    index.shutdown()
    with pytest.raises(ConnectionError) as e:
        list(pypi.sdists([row] * 20, str(tmp_path / "cache")))
    said = prepare.in_one_line(e.value)
    assert "--input=" in said and "\n" not in said


def test_a_cache_that_cannot_be_written_is_named(index, tmp_path):
    row = publish(index, tmp_path, "good")
    (tmp_path / "cache" / f"good-1.tar.gz.{os.getpid()}.part").mkdir(parents=True)
    with pytest.raises(OSError) as e:
        list(pypi.sdists([row], str(tmp_path / "cache")))
    assert str(tmp_path / "cache") in prepare.in_one_line(e.value)


def test_an_index_that_answers_with_something_else_is_said_to(index, tmp_path):
    row = publish(index, tmp_path, "good")
    page = b'{"meta": {"api-version": "9.0"}, "files": [], "name": "good"}'
    index.files["/simple/good/"] = page
    index.page_type = "application/vnd.pypi.simple.v1+json"
    for index.files["/simple/good/"] in (page, b"[]", b'{"meta": 1}'):
        (sdist,) = pypi.sdists([row], str(tmp_path / "cache"))
        assert "something else" in sdist.problem


def test_what_was_being_downloaded_when_a_run_was_interrupted_is_removed(tmp_path):
    for name in (f"a.{os.getpid()}.part", "b.1.part", "c.tar.gz"):
        (tmp_path / name).touch()
    pypi.remove_parts(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["b.1.part", "c.tar.gz"]


def test_the_manifest_is_sound_and_its_best_rows_come_first():
    rows = pypi.read_manifest(float("inf"))
    assert len({row.filename for row in rows}) == len(rows) > 7000
    assert all(len(row.sha256) == 64 for row in rows)
    few = pypi.read_manifest(1)
    size = sum(row.size_bytes for row in few)
    assert few == rows[: len(few)] and size <= 1e6 < size + rows[len(few)].size_bytes
