"""Verifies and describes a prepared folder, for prepare.py --inspect=data/pypi; writes nothing.

Verified: the sha256 of the tokens, the offsets, that no project stands on both sides of the split,
that each document decodes, is valid and encodes to the very same tokens.
"""

import collections
import hashlib
import itertools
import json
import os
import random
from typing import NamedTuple

import numpy as np

import tct_github_workflow as tct
from data.parallel import in_parallel
from run.screen import print_head

META_KEYS = {"format", "source", "split_by", "tokenizer_hash", "context", "train", "val"}
SPLIT_KEYS = {"documents", "projects", "tokens", "bytes", "sha256"}
FEATURES = ("events", "runners", "actions")
BAR_COLUMNS = 48  # of the longest bar of the histogram


class Encoded(NamedTuple):
    """A document of the folder."""

    where: str
    tokens: np.ndarray


class Features(NamedTuple):
    """What a document uses, or what is wrong with it."""

    events: list = []
    runners: list = []
    actions: list = []
    problem: str | None = None


def inspect_folder(folder, num_workers, bar):
    """Prints what folder holds and what is wrong with it. Returns 1 if anything is, or else 0.

    bar: tqdm. Raises OSError where there is no prepared folder.
    """
    meta = read_meta(folder)
    print(f"{folder}: {meta['source']}; split by {meta['split_by']}")
    documents, problems = read_documents(folder, meta)
    features = []
    bar.total = len(documents)
    bar.unit = " workflows"
    bar.unit_scale = False
    for found in in_parallel(examine, documents, num_workers, n_tokens):
        bar.update()
        features.append(found)
        if found.problem:
            problems.append(found.problem)
    bar.close()
    print_lengths(documents, meta["context"])
    for name in FEATURES:
        print_most_frequent(name, features)
    if problems:
        print("", *[f"PROBLEM  {problem}" for problem in problems[:20]], sep="\n")
        return 1
    for document in random.Random(0).sample(documents, min(3, len(documents))):
        text = tct.json_to_yaml(tct.decode(document.tokens.tolist())[0])
        print_head(document.where, text)
    print(
        "\nverified: hashes, offsets, split; "
        "all workflows decode, are valid and encode to the same tokens"
    )
    return 0


def n_tokens(document):
    return len(document.tokens)


# ---- reading


def read_meta(folder):
    """meta.json as a dict. Raises an OSError that says what is wrong with it."""
    path = os.path.join(folder, "meta.json")
    if not os.path.isfile(path):
        problem = "a file" if os.path.isfile(folder) else "without a meta.json"
        raise OSError(0, f"is no prepared folder but {problem}: run prepare.py to make one", folder)
    try:
        with open(path, encoding="utf-8") as f:
            meta = json.load(f)
        is_sound = META_KEYS <= meta.keys() and meta["format"] == 1
        is_sound = is_sound and all(SPLIT_KEYS <= meta[split].keys() for split in ("train", "val"))
    except (ValueError, AttributeError):
        is_sound = False
    if not is_sound:
        raise OSError(0, "damaged, or not written by prepare.py: run it again", path)
    return meta


def read_documents(folder, meta):
    """([Encoded], problems) of both splits, as far as the files can be trusted."""
    documents = []
    problems = []
    projects = []
    if meta["tokenizer_hash"] != tct.tokenizer_hash():
        problems.append(
            "it was written with another version of the tokenizer; run prepare.py again"
        )
    for split in ("train", "val"):
        path = os.path.join(folder, split)
        tokens = np.fromfile(f"{path}.bin", np.uint16)
        offsets = np.fromfile(f"{path}.idx", np.int64)
        owners = np.fromfile(f"{path}.proj", np.uint64)
        print_counts(split, meta[split])
        projects.append(owners)
        if hashlib.sha256(tokens).hexdigest() != meta[split]["sha256"]:
            problems.append(
                f"{split}.bin is not the file that meta.json describes: its sha256 differs"
            )
        if not fit_together(tokens, offsets, owners, meta[split]):
            problems.append(f"{split}.bin, {split}.idx and {split}.proj do not fit together")
            continue
        for i, (start, end) in enumerate(itertools.pairwise(offsets)):
            documents.append(Encoded(f"{split} document {i}", tokens[start:end]))
    n_both = np.intersect1d(*projects).size
    if n_both:
        problems.append(f"{n_both:,} projects stand on both sides of the split")
    return documents, problems


def fit_together(tokens, offsets, owners, counts):
    """Whether a split's arrays are as long as each other and its part of meta.json say."""
    n = counts["documents"]
    if len(offsets) != n + 1 or len(owners) != n or len(tokens) != counts["tokens"]:
        return False
    return offsets[0] == 0 and offsets[-1] == len(tokens) and bool((np.diff(offsets) > 0).all())


# ---- examining, in the worker processes


def examine(document):
    """The Features of an Encoded."""
    try:
        return features_of(document)
    except ValueError as e:  # a DecodeError or an EncodeError
        return Features(problem=f"{document.where}: {e}")


def features_of(document):
    tokens = document.tokens.tolist()
    text, used, total = tct.decode(tokens)
    if used != total or list(tct.encode(text)) != tokens:
        return Features(problem=f"{document.where}: it encodes to other tokens")
    workflow = json.loads(text)
    events = workflow["on"]
    if isinstance(events, str):
        events = [events]
    runners = []
    actions = []
    for job in workflow["jobs"].values():
        if "runs-on" in job:
            runner = job["runs-on"]
            runners.append(runner if isinstance(runner, str) else json.dumps(runner))
        for user in [job, *job.get("steps", [])]:
            if "uses" in user:
                actions.append(user["uses"].split("@")[0])
    return Features(list(events), runners, actions)


# ---- printing


def print_counts(split, counts):
    print(
        f"  {split:5}{counts['documents']:>10,} workflows{counts['projects']:>10,} projects"
        f"{counts['tokens']:>14,} tokens{counts['bytes'] / 1e6:>9.1f} MB"
    )


def print_lengths(documents, context):
    """A summary and a histogram of the documents' tokens."""
    lengths = np.array([n_tokens(document) for document in documents] or [0])
    print(
        f"\ntokens in a workflow: mean {lengths.mean():.0f}, median {np.median(lengths):.0f}, "
        f"longest {lengths.max():,}; {(lengths < context).mean():.1%} fit {context}"
    )
    edges = [0] + [2**k for k in range(4, int(lengths.max()).bit_length() + 1)]
    if len(edges) == 1:
        return
    counts, _ = np.histogram(lengths, edges)
    for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True):
        bar = "#" * -(-BAR_COLUMNS * n // max(counts))
        print(f"{low:>9,} to {high - 1:>7,} {n:>9,}  {bar}")


def print_most_frequent(name, features):
    """The most frequent values of one of the FEATURES."""
    counter = collections.Counter()
    for found in features:
        counter.update(set(getattr(found, name)))
    print(f"\nmost frequent {name}, share of the workflows with them")
    for value, n in counter.most_common(8):
        print(f"{n / len(features):>8.1%}  {value[:68]}")
