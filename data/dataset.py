"""
Verifies and describes a prepared folder, for python prepare.py --inspect=data/pypi. Writes nothing.

Verified: the sha256 of the tokens, the offsets, that no project stands on both sides of the split, that each document
decodes, is valid and encodes to the very same tokens.
"""

import collections
import hashlib
import json
import os
import random

import numpy as np

import tct_github_workflow as tct


def examine(chunk):
    """[(where, tokens)] -> [(problem or None, events, runners, actions)]. Runs in the worker processes."""
    done = []
    for where, tokens in chunk:
        events, runners, actions, problem = [], [], [], None
        try:
            text, used, total = tct.decode(tokens)
            if used != total or list(tct.encode(text)) != tokens:
                problem = f"{where}: it encodes to other tokens"
            workflow = json.loads(text)
            events = [workflow["on"]] if isinstance(workflow["on"], str) else list(workflow["on"])
            for job in workflow["jobs"].values():
                if "runs-on" in job:
                    runners.append(
                        job["runs-on"]
                        if isinstance(job["runs-on"], str)
                        else json.dumps(job["runs-on"])
                    )
                actions += [
                    use["uses"].split("@")[0]
                    for use in [job, *job.get("steps", [])]
                    if "uses" in use
                ]
        except ValueError as e:  # a DecodeError or an EncodeError
            problem = f"{where}: {e}"
        done.append((problem, events, runners, actions))
    return done


def describe(folder, in_parallel, bar):
    """Prints what folder holds and what is wrong with it; returns the exit status. in_parallel, bar: prepare.py's."""
    with open(os.path.join(folder, "meta.json"), encoding="utf-8") as f:
        text = f.read()
    if '"format": 1,' not in text:
        raise OSError(0, "not written by prepare.py", f.name)
    meta = json.loads(text)
    print(f"{folder}: {meta['source']}; split by {meta['split_by']}")
    problems, projects, documents = [], [], []
    if meta["tokenizer_hash"] != tct.tokenizer_hash():
        problems.append(
            "it was written with another version of the tokenizer; run prepare.py again"
        )
    for split in "train", "val":
        tokens, offsets, owners = (
            np.fromfile(os.path.join(folder, f"{split}.{suffix}"), dtype)
            for suffix, dtype in (("bin", np.uint16), ("idx", np.int64), ("proj", np.uint64))
        )
        print(
            f"  {split:5}{meta[split]['documents']:>10,} workflows{meta[split]['projects']:>10,} projects"
            f"{meta[split]['tokens']:>14,} tokens{meta[split]['bytes'] / 1e6:>9.1f} MB"
        )
        projects.append(owners)
        if hashlib.sha256(tokens).hexdigest() != meta[split]["sha256"]:
            problems.append(
                f"{split}.bin is not the file that meta.json describes: its sha256 differs"
            )
        if (
            len(offsets) - 1 == len(owners) == meta[split]["documents"]
            and offsets[0] == 0
            and (np.diff(offsets) > 0).all()
            and offsets[-1] == len(tokens) == meta[split]["tokens"]
        ):
            documents += [
                (f"{split} document {i}", tokens[a:b])
                for i, (a, b) in enumerate(zip(offsets, offsets[1:]))
            ]
        else:
            problems.append(f"{split}.bin, {split}.idx and {split}.proj do not fit together")
    both = np.intersect1d(*projects).size
    if both:
        problems.append(f"{both:,} projects stand on both sides of the split")

    counters = [collections.Counter() for _ in range(3)]
    bar.total = len(documents)
    bar.unit, bar.unit_scale = " workflows", False
    for problem, *found in in_parallel(
        examine, ((where, tokens.tolist()) for where, tokens in documents)
    ):
        bar.update()
        problems += [problem] if problem else []
        for counter, values in zip(counters, found):
            counter.update(set(values))
    bar.close()

    lengths = np.array([len(tokens) for _, tokens in documents] or [0])
    print(
        f"\ntokens in a workflow: mean {lengths.mean():.0f}, median {np.median(lengths):.0f}, longest {lengths.max():,}; "
        f"{(lengths < meta['context']).mean():.1%} fit {meta['context']}"
    )
    edges = [0] + [2**k for k in range(4, int(lengths.max()).bit_length() + 1)]
    histogram = np.histogram(lengths, edges)[0] if len(edges) > 1 else []
    for low, high, n in zip(edges, edges[1:], histogram):
        print(f"{low:>9,} to {high - 1:>7,} {n:>9,}  {'#' * -(-48 * n // max(histogram))}")
    for title, counter in zip(("events", "runners", "actions"), counters):
        print(f"\nmost frequent {title}, share of the workflows with them")
        for value, n in counter.most_common(8):
            print(f"{n / len(documents):>8.1%}  {value[:68]}")
    for where, tokens in (
        random.Random(0).sample(documents, min(3, len(documents))) if not problems else []
    ):
        lines = tct.json_to_yaml(tct.decode(tokens.tolist())[0]).splitlines()
        print(
            f"\n---- {where}",
            *lines[:40],
            *[f"... and {len(lines) - 40} more lines"] * (len(lines) > 40),
            sep="\n",
        )
    print(
        "\n" + "\n".join(f"PROBLEM  {problem}" for problem in problems[:20])
        if problems
        else "\nverified: hashes, offsets, split; all workflows decode, are valid and encode to the same tokens"
    )
    return 1 if problems else 0
