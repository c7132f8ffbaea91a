"""Names in expressions that do not exist: steps.x, needs.x, matrix.x, inputs.x, jobs.x.

GitHub runs a workflow with such a name and reads nothing there, so it is nearly always a mistake.
What is known only when the workflow runs (a matrix from fromJSON, an index that is computed) can be
anything. Names are compared without case, as GitHub does.

    steps    a step before this one in its job; outside of the steps, any step of the job
    needs    a job that this job needs itself
    matrix   a key of the job's matrix, or of a combination that it includes
    inputs   an input that workflow_call or workflow_dispatch declares
    jobs     a job of the workflow
"""

import functools

from .conversion import FILTERS, as_text, needs_of
from .expression_parser import is_expression

ANYTHING = None  # instead of a set of names: any name may exist
MISSING = {
    "steps": "no step before this one has that id",
    "needs": "the job does not need it",
    "matrix": "the job's matrix has no such key",
    "inputs": "the workflow declares no such input",
    "jobs": "there is no such job",
}


def problems(workflow, uses):
    """list of (path, "reference", message). uses: list of (path as a tuple, Expression)."""
    found = []
    names = NamesOf(workflow)
    for path, expression in uses:
        for name in expression.names:
            if name.context not in MISSING or not name.path or name.path[0] is None:
                continue
            known = names.known(name.context, path)
            if known is not ANYTHING and name.path[0] not in known:
                shown = f"{name.context}.{name.path[0]}"
                found.append((path, "reference", f"{shown}: {MISSING[name.context]}"))
    return found


class NamesOf:
    """The names that there are in a workflow, looked up when they are first asked for."""

    def __init__(self, workflow):
        self.workflow = workflow
        self.known_in_jobs = {}  # (context, job) -> names

    def known(self, context, path):
        """The names of a context for an expression at a path: a set or list, or ANYTHING."""
        if context == "inputs":
            return self.inputs
        if context == "jobs":
            return self.jobs
        key = (context, path[1])
        if key not in self.known_in_jobs:
            self.known_in_jobs[key] = known_in_job(context, self.workflow["jobs"][path[1]])
        known = self.known_in_jobs[key]
        is_in_step = context == "steps" and path[2] == "steps"
        return known[: path[3]] if is_in_step else known

    @functools.cached_property
    def inputs(self):
        events = self.workflow.get("on")
        names = set()
        for event in ("workflow_call", "workflow_dispatch"):
            declared = events.get(event) if isinstance(events, dict) else None
            names.update(map(str.lower, (declared or {}).get("inputs") or ()))
        return names

    @functools.cached_property
    def jobs(self):
        return {name.lower() for name in self.workflow.get("jobs", ())}


def known_in_job(context, job):
    if context == "needs":
        return {other.lower() for other in needs_of(job)}
    if context == "matrix":
        return matrix_keys(job.get("strategy"))
    # As many as there are steps, in their order: a step without an id has None.
    ids = []
    for step in job.get("steps") or []:
        ids.append(as_text(step["id"]).lower() if "id" in step else None)
    return ids


def matrix_keys(strategy):
    """The keys of a job's matrix, or ANYTHING."""
    matrix = strategy.get("matrix") if isinstance(strategy, dict) else strategy
    if is_expression(matrix):
        return ANYTHING
    matrix = matrix if isinstance(matrix, dict) else {}
    include = matrix.get("include") or []
    combinations = include if isinstance(include, list) else [include]
    keys = set()
    for mapping in [matrix, *combinations]:
        if not isinstance(mapping, dict) or any(map(is_expression, mapping)):
            return ANYTHING
        keys.update(map(str.lower, mapping))
    return keys.difference(FILTERS)
