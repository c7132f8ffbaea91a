"""What it takes to repeat an evaluation."""

import platform
import shlex
import sys

import numpy as np
import torch

import tct_github_workflow as tct
from metrics.report import table


def collect_facts(settings, data_dir, metas):
    """{fact: value}, of the data, the code and the settings. metas: meta.json of each folder."""
    hashes = {}
    for split in ("train", "val"):
        hashes[f"{split}_sha256"] = [meta[split]["sha256"] for meta in metas]
    return {
        "data": data_dir,
        **hashes,
        "tokenizer_hash": tct.tokenizer_hash(),
        "schema_hash": tct.schema_hash(),
        "seed": settings["seed"],
        "temperature": settings["temperature"],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def command_line():
    return shlex.join(["python", "eval.py", *sys.argv[1:]])


def facts_page(facts):
    """The section of results.md: a list of paragraphs. A fact that is None is left out."""
    rows = []
    for fact, value in facts.items():
        if value is not None:
            rows.append([fact, ", ".join(value) if isinstance(value, list) else value])
    return ["## To repeat it\n", table(["fact", "value"], *rows)]
