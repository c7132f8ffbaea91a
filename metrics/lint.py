"""What others say about workflows: zizmor and actionlint, where they are installed."""

import os
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

from metrics.report import progress, rate, table


class Linter(NamedTuple):
    name: str
    flags: list
    finding_codes: range  # exit codes; any other but 0 says that it could not do its work


LINTERS = [
    Linter("zizmor", ["--offline", "--no-progress", "--quiet"], range(10, 15)),
    Linter("actionlint", [], range(1, 2)),
]


def measure_lint(texts):
    """{linter: {"version", "findings", "failed"}}: in how many of these YAML texts it finds fault,
    and how many it cannot read."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    figures = {}
    for linter in LINTERS:
        program = shutil.which(linter.name, path=path)
        if not program:
            continue
        try:
            figures[linter.name] = run_linter(linter, program, texts)
        except OSError as e:
            print(f"{program} cannot be run: {e}", file=sys.stderr)
    return figures


def run_linter(linter, program, texts):
    version = subprocess.run([program, "--version"], capture_output=True, text=True)
    codes = []
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "workflow.yml")
        command = [program, *linter.flags, file]
        for text in progress(texts, linter.name):
            with open(file, "w", encoding="utf-8") as f:
                f.write(text)
            codes.append(subprocess.run(command, cwd=folder, capture_output=True).returncode)
    n_findings = sum(c in linter.finding_codes for c in codes)
    return {
        "version": version.stdout.split("\n")[0],
        "findings": n_findings,
        "failed": len(codes) - codes.count(0) - n_findings,
    }


def lint_page(groups):
    """The section of results.md: a list of paragraphs.

    groups: {name: {"n": how many workflows, and what measure_lint() returned}}.
    """
    linters = get_versions(groups)
    if not linters:
        return ["## Linted\n", "Found neither zizmor nor actionlint.\n"]
    rows = []
    for linter in linters:
        for figure, label in (("findings", "has findings"), ("failed", "cannot read it")):
            rates = [rate(group[linter][figure], group["n"]) for group in groups.values()]
            rows.append([f"{linter}: {label}", *rates])
    return ["## Linted\n", table(["workflows", *groups], *rows)]


def get_versions(groups):
    """{linter: its version} of those that were found."""
    return {name: figures["version"] for name, figures in groups["real"].items() if name != "n"}
