"""Whether a model is useful: it gets the beginning of a real job, and is to write the next step."""

import collections
import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metrics.looks import get_action
from metrics.report import rate, table
from metrics.validity import parse_tokens
from tct_github_workflow.alphabet import CLOSE, EOD, OBJECT
from tct_github_workflow.linear import escape, linearise
from tct_github_workflow.token_table import token_table
from tct_github_workflow.vocab import encode_symbols

STEPS_DEPTH = 3  # jobs, the job and its steps are open
ALL = ""  # no step: what comes after any


@dataclass(frozen=True)
class Task:
    """A workflow, cut before a step of a job."""

    prompt: list  # its ids up to there
    next_text: bytes  # what has to come next: the opening of the step
    job: str
    given: list  # the job's steps before the cut
    wanted: list  # those after it


class Guess(NamedTuple):
    """What somebody thinks comes next."""

    step: dict | None
    rest: list | None  # of the job's steps, that one first


# --------------------------------------------------------------------------------------------------
# tasks


def cut_tasks(workflows, n, seed):
    """Up to n Tasks, each a workflow cut before a step of a job; the seed draws all three."""
    rng = np.random.default_rng(seed)
    tasks = []
    for i in rng.permutation(len(workflows)).tolist():
        jobs = workflows[i]["jobs"]
        names = [name for name, job in jobs.items() if len(job.get("steps", [])) > 1]
        if names and len(tasks) < n:
            name = names[rng.integers(len(names))]
            at = int(rng.integers(1, len(jobs[name]["steps"])))
            tasks.append(cut_task(workflows[i], name, at))
    return tasks


def cut_task(workflow, name, at):
    """name: of the job. at: the number of its first step that is cut off."""
    job = workflow["jobs"][name]
    steps = job["steps"]
    begun_job = up_to(job, "steps", steps[:at])
    begun = up_to(workflow, "jobs", up_to(workflow["jobs"], name, begun_job))
    # The steps, the job, jobs and the document stay open. The next step's opening is given as
    # text, not as a token of its own, which no training document has: encode() merges it with
    # what follows.
    open_end = linearise(escape(begun)).removesuffix(CLOSE * STEPS_DEPTH + EOD)
    return Task(encode_symbols(open_end), OBJECT.encode(), name, steps[:at], steps[at:])


def up_to(mapping, key, value):
    """The fields of mapping before `key`, in order, then `key` with this value."""
    begun = {}
    for k, v in mapping.items():
        if k == key:
            break
        begun[k] = v
    begun[key] = value
    return begun


def has_ended_steps(tokens):
    """An until() for generate(): whether the list of steps that a task left open is closed."""
    table = token_table()
    if not table.n_closed[tokens[-1]]:  # most tokens close nothing
        return False
    depth = table.n_opened[tokens].sum() - table.n_closed[tokens].sum()
    return depth < STEPS_DEPTH


def read_guess(task, tokens, finish):
    """The Guess of a model. tokens, finish: as in generate.Sample."""
    workflow = parse_tokens(tokens, errors="ignore").workflow
    rest = workflow["jobs"][task.job]["steps"][len(task.given) :]
    return Guess(rest[0], None if finish == "budget" else rest)


# --------------------------------------------------------------------------------------------------
# measuring


def measure_completion(tasks, guesses, train):
    """How many guesses are right, beside two baselines learned from the training workflows.

    guesses: the model's, one for each task. train: dicts, iterated over once.
    """
    steps_after, rests_after = count_successors(train)
    everywhere = Guess(most_frequent(steps_after[ALL]), most_frequent(rests_after[ALL]))
    informed = []
    for task in tasks:
        before = to_text(task.given[-1])
        if before not in steps_after:
            before = ALL
        step = most_frequent(steps_after[before])
        informed.append(Guess(step, most_frequent(rests_after[before])))
    return {
        "cuts": len(tasks),
        "uses": sum("uses" in task.wanted[0] for task in tasks),
        "model": score(tasks, guesses),
        "most frequent": score(tasks, [everywhere] * len(tasks)),
        "most frequent after the same step": score(tasks, informed),
    }


def count_successors(workflows):
    """({step: Counter of next steps}, {step: Counter of rests of the job}), all of them as text.

    ALL stands for any step.
    """
    steps_after = collections.defaultdict(collections.Counter)
    rests_after = collections.defaultdict(collections.Counter)
    for workflow in workflows:
        for job in workflow["jobs"].values():
            steps = job.get("steps", [])
            for i in range(1, len(steps)):
                for before in (ALL, to_text(steps[i - 1])):
                    steps_after[before][to_text(steps[i])] += 1
                    rests_after[before][to_text(steps[i:])] += 1
    return steps_after, rests_after


def to_text(value):
    return json.dumps(value, sort_keys=True)


def most_frequent(counter):
    if not counter:
        return None
    [(text, _)] = counter.most_common(1)
    return json.loads(text)


def score(tasks, guesses):
    """How many guesses are right, by each measure of MEASURES."""
    right = dict.fromkeys((measure.name for measure in MEASURES), 0)
    for task, guess in zip(tasks, guesses, strict=True):
        step = guess.step or {}
        wanted = task.wanted[0]
        is_action = "uses" in wanted
        right["exact"] += guess.step == wanted
        right["action"] += is_action and get_action(step) == get_action(wanted)
        right["kind"] += ("uses" in step) == is_action
        right["job"] += guess.rest == task.wanted
    return right


# --------------------------------------------------------------------------------------------------
# wording


class Measure(NamedTuple):
    name: str  # in score()'s result
    among: str  # what it is counted among, in measure_completion()'s result
    label: str


MEASURES = [
    Measure("exact", "cuts", "next step exactly"),
    Measure("action", "uses", "same action, version aside"),
    Measure("kind", "cuts", "same kind (action or script)"),
    Measure("job", "cuts", "rest of the job exactly"),
]


def completion_page(figures, max_cut_tokens):
    """The section of results.md: a list of paragraphs."""
    guessers = [name for name in figures if name not in ("cuts", "uses")]
    rows = []
    for measure in MEASURES:
        n = figures[measure.among]
        rows.append([measure.label, *(rate(figures[who][measure.name], n) for who in guessers)])
    return [
        "## Useful: the next step\n",
        f"{figures['cuts']} validation workflows, each cut at a random step of a random job. The "
        f"model writes on, greedily, constrained, at most {max_cut_tokens} tokens. In "
        f"{figures['uses']} the next step is an action. (GH-WCOM, arXiv 2308.16774, reports up to "
        "34.23% exact predictions, on other data, with paths, URLs and versions abstracted away: "
        "not the same task.)\n",
        table(["", *guessers], *rows),
    ]
