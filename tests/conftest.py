import os
import runpy
import signal
import sys
from pathlib import Path

import pytest

from tests.sampling import write_run
from tests.training import Trainer, write_data

ROOT = Path(__file__).parent.parent

# under nohup SIGHUP is ignored, by what the tests start as well; some send it
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "a")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    trainer = Trainer(tmp_path_factory.mktemp("trainer"))
    yield trainer
    trainer.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, as write_run() makes it."""
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script with these flags in this process: (exit code, stdout, stderr)."""

    def call(name, *flags):
        monkeypatch.setattr(sys, "argv", [name, *flags])
        # what a script replaces
        for name_in_sys in ("excepthook", "stdout", "stderr"):
            monkeypatch.setattr(sys, name_in_sys, getattr(sys, name_in_sys))
        code = 0
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as e:
            code = e.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def linters(tmp_path, monkeypatch):
    """Linters that only look for a word."""
    for name, findings in (("actionlint", 1), ("zizmor", 13)):
        (tmp_path / name).write_text(f"""#!/bin/sh
            for file; do :; done
            test "$1" = --version && echo {name} 0.1 && exit
            grep -q bad "$file" && exit {findings}
            grep -q odd "$file" && exit 3 || exit 0""")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
