"""How sound workflows are: the rungs of a ladder that each climbs, and why it climbs no further."""

import collections
import json
import re
from dataclasses import dataclass

import tct_github_workflow as tct
from metrics.report import code, rate, table
from tct_github_workflow.check import problems_of
from tct_github_workflow.linear import parse
from tct_github_workflow.schema import validator, why_invalid
from tct_github_workflow.vocab import token_bytes

RUNGS = ("decodes", "is JSON", "fits the schema", "GitHub's rules", "names resolve")
SCHEMA_RUNG = RUNGS.index("fits the schema")
GITHUB_RUNG = RUNGS.index("GitHub's rules")
REFERENCES_RUNG = RUNGS.index("names resolve")
FINISHES = {  # of generate.Finish
    "stop": "finished by itself",
    "budget": "closed at the budget",
    "cut": "cut off at the budget",
}
SHOWN_REASONS = 12  # the most frequent ones


@dataclass(frozen=True)
class Judged:
    """A workflow, or what was meant to be one."""

    n_rungs: int  # of RUNGS climbed
    reason: str | None = None  # why no more
    kind: str = ""  # the reason without what is particular to this one, to count by
    workflow: dict | None = None  # None: it does not fit the schema

    def climbed(self, rung):
        """rung: its number in RUNGS."""
        return self.n_rungs > rung


@dataclass(frozen=True)
class Candidate:
    """One of a group of workflows that are judged together."""

    judged: Judged
    finish: str  # of generate.Finish; "real"; "given" where nobody knows
    n_drawn: int = 0  # tokens that the model drew
    n_refused: int = 0  # of them, that the matcher refused


# --------------------------------------------------------------------------------------------------
# judging one


def parse_tokens(tokens, errors="strict"):
    """The linear.Parse of token ids. errors: as in bytes.decode(), for a character cut in two."""
    return parse(b"".join(token_bytes(tokens)).decode(errors=errors))


def judge_tokens(tokens):
    """Judged, of a model's ids."""
    try:
        parsed = parse_tokens(tokens)
        if parsed.rest:
            raise tct.DecodeError("continues after its end")
        if not parsed.complete:
            raise tct.DecodeError("not complete")
    except UnicodeDecodeError as e:
        return Judged(0, f"not UTF-8: {e}", "not UTF-8")
    except tct.DecodeError as e:
        return Judged(0, str(e), e.kind)
    return judge_workflow(parsed.workflow)


def judge_file(data):
    """Judged, of the bytes of a file: YAML, of which JSON is a part."""
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        return Judged(0, f"not UTF-8: {e}", "not UTF-8")
    try:
        json_text = tct.yaml_to_json(data)
    except tct.EncodeError as e:
        return Judged(1, str(e), e.kind)
    judged = judge_workflow(json.loads(json_text))
    if judged.workflow is not None:
        try:
            tct.encode(json_text)
        except tct.EncodeError as e:  # it fits, but is nested too deep for us
            return Judged(SCHEMA_RUNG, str(e), e.kind)
    return judged


def judge_unreadable(problem):
    """Judged, of a file that could not be read. problem: why, as data.sources says it."""
    return Judged(0, problem, tct.EncodeError(problem).kind)


def judge_workflow(workflow):
    """Judged, of what is JSON. workflow: any JSON value."""
    if not validator.is_valid(workflow):
        error = why_invalid(workflow)
        return Judged(SCHEMA_RUNG, str(error), error.kind)
    problems = problems_of(workflow)
    for rung in (GITHUB_RUNG, REFERENCES_RUNG):
        for problem in problems:
            if rung == REFERENCES_RUNG or problem.rule != "reference":
                reason = f"{problem.path}: {problem.message}"
                return Judged(rung, reason, f"{RUNGS[rung]}: {problem.rule}", workflow)
    return Judged(len(RUNGS), workflow=workflow)


# --------------------------------------------------------------------------------------------------
# measuring a group


def measure_validity(candidates):
    """Figures of a group: how many climb each rung, how they finished, why they stopped there."""
    judged = [candidate.judged for candidate in candidates]
    rungs = []
    for rung in range(len(RUNGS)):
        rungs.append(sum(j.climbed(rung) for j in judged))
    stopped = [c for c in candidates if c.finish == "stop"]
    n_drawn = sum(c.n_drawn for c in candidates)
    return {
        "n": len(candidates),
        "rungs": rungs,
        "finish": dict(collections.Counter(c.finish for c in candidates)),
        "reasons": count_reasons(judged),
        "stop_and_fit": sum(c.judged.climbed(SCHEMA_RUNG) for c in stopped),
        "refused": sum(c.n_refused for c in candidates) / max(1, n_drawn),
    }


def count_reasons(judged):
    """{kind of reason: (how many have it, an example)}, the most frequent first."""
    reasons = {}
    for j in judged:
        if j.reason:
            kind = re.sub(r"'[^']*'|(?<![\w-])\d+", "...", j.kind)
            n, example = reasons.get(kind, (0, j.reason))
            reasons[kind] = (n + 1, example)
    by_count = sorted(reasons, key=lambda kind: reasons[kind][0], reverse=True)
    return {kind: reasons[kind] for kind in by_count}


# --------------------------------------------------------------------------------------------------
# wording


def validity_page(groups, metas, how_sampled):
    """The section of results.md: a list of paragraphs.

    groups: {name: what measure_validity() returned}. metas: meta.json of each folder with the real
    ones. how_sampled: a sentence, or "" where nothing was sampled here.
    """
    shares = ", ".join(f"{share_found_valid(meta):.1%}" for meta in metas)
    page = [
        "## Validity\n",
        "Each rung counts what climbed those before it too; the last two are what "
        "tct.check finds. The validation set holds what "
        f"prepare.py found valid, of {shares} of the files that it read.{how_sampled}\n",
        validity_table(groups, with_refused=bool(how_sampled)),
    ]
    for name, group in groups.items():
        if group["reasons"]:
            page.append(reasons_table(name, group["reasons"]))
    return page


def share_found_valid(meta):
    kept = meta["train"]["documents"] + meta["val"]["documents"]
    skipped = sum(meta["skipped"].values()) - meta["skipped"].get("exact duplicate", 0)
    return kept / max(1, kept + skipped)


def validity_table(groups, with_refused):
    """A column for each group, a row for each rung, then how they ended."""
    head = ["", *(f"{name} ({group['n']:,})" for name, group in groups.items())]
    rows = []
    for i, rung in enumerate(RUNGS):
        rows.append([rung, *(rate(group["rungs"][i], group["n"]) for group in groups.values())])
    for finish, label in FINISHES.items():
        rows.append([label, *(count_of_finish(group, finish) for group in groups.values())])
    row = ["finished by itself and fits"]
    for group in groups.values():
        row.append(group["stop_and_fit"] if is_end_known(group) else "-")
    rows.append(row)
    if with_refused:
        share = f"{groups['samples']['refused']:.2%}"
        rows.append(["draws that the matcher refused", share, *["-"] * (len(groups) - 1)])
    return table(head, *rows)


def is_end_known(group):
    return not group["finish"].keys() & {"real", "given"}


def count_of_finish(group, finish):
    return group["finish"].get(finish, 0) if is_end_known(group) else "-"


def reasons_table(name, reasons):
    rows = []
    for kind, (n, example) in list(reasons.items())[:SHOWN_REASONS]:
        rows.append([code(kind, 100), n, code(example, 140)])
    others = list(reasons.values())[SHOWN_REASONS:]
    if others:
        rows.append([f"{len(others)} other reasons", sum(n for n, _ in others), ""])
    return table([f"why not: {name}", "count", "example"], *rows)
