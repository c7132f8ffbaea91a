"""Workflows for the tests: some written by hand, and real ones where TCT_CORPUS names a corpus.

TCT_CORPUS is a .jsonl.xz file with a workflow in the field `yaml` of each line, or a folder of
such files.
"""

import itertools
import json
import lzma
import os
from pathlib import Path

import pytest

import tct_github_workflow as tct
from tct_github_workflow import codec, json_text, linear, vocab

WRITTEN = [
    {"on": "push", "jobs": {"t": {"runs-on": "x"}}},
    {
        "name": "CI",
        "on": {
            "push": {"branches": ["main", "releases/**"], "paths-ignore": ["docs/**"]},
            "workflow_dispatch": None,
        },
        "permissions": {"contents": "read"},
        "env": {"A": 1, "name": "label", "C": True, "": "empty"},
        "jobs": {
            "build": {
                "runs-on": ["self-hosted", "linux"],
                "timeout-minutes": 2.5,
                "strategy": {
                    "fail-fast": False,
                    "matrix": {
                        "os": ["ubuntu-latest"],
                        "python": ["3.9", 3.1],
                        "include": [{"os": "x", "extra": {"deep": [[1], "\ue000\uf8ff é 中"]}}],
                    },
                },
                "steps": [
                    {
                        "name": "Get it",
                        "uses": "actions/checkout@v4",
                        "with": {"fetch-depth": 0, "path": "push"},
                    },
                    {
                        "run": "make\nmake test\n",
                        "shell": "bash",
                        "working-directory": "src",
                        "if": "${{ always() }}",
                    },
                    {"wait-all": None},
                ],
            },
            "call": {"needs": ["build"], "uses": "./.github/workflows/x.yml", "secrets": "inherit"},
        },
    },
    {
        "on": ["push", "pull_request"],
        "jobs": {
            "a": {
                "runs-on": "x",
                "steps": [{"parallel": [{"run": "a"}, {"uses": "b"}]}],
                "needs": "b",
            },
            "b": {"runs-on": {"group": "g", "labels": ["l"]}, "if": False, "env": "a ${{ b }} c"},
        },
    },
    {
        "on": {
            "issues": {"types": ["opened"], "anything": {"at": ["all", None, 1.5e-7, -3]}},
            "schedule": [{"cron": "0 0 * * *"}],
        },
        "concurrency": {"group": "g", "cancel-in-progress": "${{ x }}"},
        "jobs": {"a": {"runs-on": "x", "container": {"image": "i", "ports": [80]}}},
    },
    {
        "on": {"push": {"branches": ["main"]}, "schedule": [{"cron": "0 5 * * mon-fri"}]},
        "env": {"A": "${{ github.sha }}", "name": "x"},
        "jobs": {
            "test": {
                "needs": ["build", "lint"],
                "runs-on": "${{ matrix.os }}",
                "strategy": {"matrix": {"os": ["a", "b"]}},
                "steps": [
                    {"id": "get", "uses": "actions/checkout@v4", "with": {"path": "push"}},
                    {
                        "id": "got",
                        "run": "echo ${{ steps.get.outputs.ref || 'none' }}",
                        "env": {"B": 1},
                    },
                    {"if": "always() && !cancelled()", "run": "make\nmake test", "shell": "bash"},
                ],
            },
            "build": {"runs-on": "x", "steps": [{"id": "get", "run": "make"}]},
            "lint": {
                "needs": "build",
                "runs-on": "x",
                "outputs": {"o": "${{ env.A }}"},
                "steps": [{"run": "make lint"}],
            },
        },
    },
]

# YAML with most kinds of values and styles
HAND = """
name: Tests 😀
on: {push: {branches: [main, "v*"]}, pull_request: , schedule: [{cron: "0 5 * * 1"}]}
env: {BIG: 123456789012345678901234567890, ON: "on", "null": "null", "": ""}
jobs:
  test:
    runs-on: [self-hosted, "${{ matrix.os }}"]
    timeout-minutes: 12.5
    strategy:
      fail-fast: false
      matrix: {os: [ubuntu-latest, windows-latest], python: ["3.10", 3.13, 1.0e-7, -3, true]}
    services: {db: {image: "postgres:16", ports: ["5432:5432", 80]}}
    steps:
      - uses: actions/checkout@v4
      - name: ""
        run: "pip install -e .\\n\\nif true; then\\n    pytest -q --cov=é\\nfi\\n"
        env: {push: steps}
  release: {needs: [test], uses: ./.github/workflows/release.yml, secrets: inherit}
"""


def corpus_yaml(limit=None):
    """Real workflows as YAML, the first that TCT_CORPUS holds; skips the test without it."""
    name = os.environ.get("TCT_CORPUS")
    if not name:
        pytest.skip("real workflows: set TCT_CORPUS to a .jsonl.xz of some")
    path = Path(name)
    file = min(path.glob("*.jsonl.xz")) if path.is_dir() else path
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["yaml"] for line in itertools.islice(lines, limit)]


def corpus(limit):
    """JSON texts of the valid ones among the first real workflows; skips the test without them."""
    found = []
    for text in corpus_yaml(limit):
        try:
            found.append(json_text.dump_json(codec.load_workflow(tct.yaml_to_json(text))))
        except tct.EncodeError:
            pass
    return found


def written():
    """JSON texts of the workflows above."""
    return [json.dumps(document) for document in WRITTEN]


def tokens_of(document):
    """The canonical tokens of a document, valid or not."""
    return vocab.encode_symbols(linear.linearise(linear.escape(document)))


def token_ids():
    """{bytes of a token: its id}."""
    return {token: i for i, token in enumerate(vocab.vocab().bytes)}
