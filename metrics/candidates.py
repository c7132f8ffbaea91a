"""Workflows from anywhere, judged: all that prepare.py reads, and what sample.py writes."""

import json
import os

from data.sources import read_input
from metrics.validity import Candidate, judge_file, judge_tokens, judge_unreadable


def read_candidates(path):
    """[Candidate] of a file or folder. Raises OSError or ValueError where it cannot be read."""
    own = os.path.join(path, "samples.jsonl") if os.path.isdir(path) else path
    if own.endswith(".jsonl") and os.path.exists(own):
        with open(own, encoding="utf-8") as f:
            lines = f.readlines()
        if lines and '"tokens"' in lines[0]:
            return parse_samples(lines)
    candidates = []
    for workflow in read_input(path):
        if workflow.data is None:
            judged = judge_unreadable(workflow.problem)
        else:
            judged = judge_file(workflow.data)
        candidates.append(Candidate(judged, "given"))
    return candidates


def parse_samples(lines):
    """[Candidate] of the lines of a samples.jsonl. Raises ValueError, naming the line."""
    candidates = []
    for i, line in enumerate(lines):
        try:
            row = json.loads(line)
            tokens = list(row["tokens"])
            finish = row.get("finish", "given")
            n_drawn = row.get("drawn", len(tokens))
            n_refused = row.get("refused", 0)
        except (ValueError, LookupError, TypeError, AttributeError) as e:
            raise ValueError(f"line {i + 1} is not one of sample.py's: {e}") from e
        candidates.append(Candidate(judge_tokens(tokens), finish, n_drawn, n_refused))
    return candidates
