"""GitHub's rules between the values of a workflow: ids, needs, cron, inputs, matrices.

problems({"on": "push", "jobs": {"a": {"needs": "b", "runs-on": "x"}}})
    -> [(("jobs",), "needs", "every job needs another: none can start"), ...]

check.Reader has read the document: every value is of the kind that its place asks for, though keys
may be missing. These are the rules of the second pass of GitHub's parser (npm package
@actions/workflow-parser 0.3.61, model/convert.js), and those marked "Server", which the conversion
in GitHub's runner has on top.
"""

import functools
import re
from typing import NamedTuple

from .expression_parser import BLANKS, is_expression

FILTERS = ("include", "exclude")  # keys of a matrix that are no rows
MAX_ID = 99  # characters
ID = re.compile("[A-Za-z_][A-Za-z0-9_-]*")
MAX_GROUP = 400  # characters of a concurrency group
GROUP_OWNERS = ("org", "organization", "ent", "enterprise")

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
CRON_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
# What JavaScript's Number() reads: the cron parser takes 5, but also 05, 5.0 and 0x5
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
BASED_NUMBER = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")


def problems(workflow):
    """list of (path as a tuple, rule, message)."""
    found = []

    def report(path, rule, message):
        found.append((path, rule, message))

    jobs = workflow.get("jobs", {})
    check_events(workflow.get("on"), report)
    check_concurrency(workflow.get("concurrency"), ("concurrency",), report)
    check_needs(jobs, report)
    for name, job in jobs.items():
        check_job(name, job, ("jobs", name), report)
    return found


# --- events ---------------------------------------------------------------------------------------


def check_events(events, report):
    if not isinstance(events, dict):
        return
    for i, schedule in enumerate(events.get("schedule") or []):
        cron = as_text(schedule.get("cron", "* * * * *"))
        reason = why_no_cron(cron)
        if reason:
            report(("on", "schedule", i, "cron"), "cron", reason)
    for event in ("workflow_call", "workflow_dispatch"):
        settings = events.get(event) or {}
        inputs = settings.get("inputs") or {}
        for name, declared in inputs.items():
            check_input(declared, ("on", event, "inputs", name), report)


def check_input(declared, path, report):
    """An input of a workflow: a default of its type, options if it is a choice."""
    kind = declared.get("type", "string")
    if "default" in declared:
        reason = why_no_default(declared["default"], kind)
        if reason:
            report((*path, "default"), "input", reason)
    if kind == "choice" and not declared.get("options"):
        report(path, "input", "a choice without options")
    if kind != "choice" and "options" in declared:
        report((*path, "options"), "input", f"options, but the type is {kind}, not choice")


def why_no_default(default, kind):
    """Why a value is no default of an input of that type; None if it is."""
    if is_expression(default):
        return None
    if kind == "boolean" and not isinstance(default, bool):
        return "the default of a boolean is true or false"
    if kind in ("string", "choice", "environment") and not is_text(default):
        return f"the default of a {kind} is text: quote it"
    return None


def is_text(value):
    """Whether GitHub reads a scalar as text where text, numbers and booleans may stand."""
    return value is None or isinstance(value, str)


def as_text(value):
    """The text that GitHub makes of a scalar where it wants text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def why_no_cron(text):
    """Why GitHub takes a text for no cron schedule; None if it does."""
    fields = re.split(" +", text)
    if len(fields) != len(CRON_FIELDS):
        return f"a cron schedule of {len(fields)} fields, not 5: {text:.60}"
    for field, what in zip(fields, CRON_FIELDS, strict=True):
        numbers = CRON_NUMBERS[what]
        if not numbers.is_list(field):
            wanted = f"{numbers.least} to {numbers.most}"
            return f"no {what} of a cron schedule, {wanted}: {field:.60}"
    return None


def number_of(text):
    """The number that JavaScript reads in a text, or None."""
    text = text.strip(BLANKS)
    if not text or NUMBER.fullmatch(text):
        return float(text or 0)
    return int(text, 0) if BASED_NUMBER.fullmatch(text) else None


class CronNumbers(NamedTuple):
    """The numbers of one field of a cron schedule."""

    least: int
    most: int
    names: dict  # {name: number}, in lower case

    def is_list(self, text):
        """*, or numbers, ranges and steps with commas between them."""
        parts = text.split(",")
        if len(parts) > 1 and "" in parts:
            return False
        return all(map(self.is_step, parts))

    def is_step(self, text):
        """a/step, where a is * or a number or a range."""
        start, slash, step = text.partition("/")
        if not slash:
            return self.is_range(text)
        if not start or not number_of(step):
            return False
        return self.is_range(start) and self.has(step)

    def is_range(self, text):
        """a-b with a <= b, or * or a number."""
        first, dash, last = text.partition("-")
        if not dash:
            return text == "*" or self.has(text)
        if not first or not last:
            return False
        are_numbers = self.has(first) and self.has(last)
        return are_numbers and self.value(first) <= self.value(last)

    def has(self, text):
        value = self.value(text)
        return value is not None and self.least <= value <= self.most

    def value(self, text):
        """The number that a text stands for, or None."""
        name = text.lower()
        if name in self.names:
            return self.names[name]
        return number_of(text)


CRON_NUMBERS = {
    "minute": CronNumbers(0, 59, {}),
    "hour": CronNumbers(0, 23, {}),
    "day of the month": CronNumbers(1, 31, {}),
    "month": CronNumbers(1, 12, {name: i for i, name in enumerate(MONTHS, 1)}),
    "day of the week": CronNumbers(0, 6, {name: i for i, name in enumerate(DAYS)}),
}


# --- jobs -----------------------------------------------------------------------------------------


def check_needs(jobs, report):
    """Jobs need jobs of the workflow, not in a circle."""
    needs = {name: needs_of(job) for name, job in jobs.items()}
    if jobs and not any(needs.values()):
        return
    if all(needs.values()):
        report(("jobs",), "needs", "every job needs another: none can start")
    for name, needed in needs.items():
        for other in needed:
            if other not in jobs:
                report(("jobs", name, "needs"), "needs", f"there is no job {other:.60}")
    for name in never_ready(needs):
        report(("jobs", name, "needs"), "needs", f"{name:.60} is part of a circle, or needs one")


def never_ready(needs):
    """The jobs that cannot start, as they are part of a circle or need one that is.

    needs: {job: the jobs that it needs}; those that do not exist are not waited for.
    """
    waiting = {name: set(needed) & set(needs) for name, needed in needs.items()}
    while True:
        ready = [name for name, needed in waiting.items() if not needed]
        if not ready:
            return list(waiting)
        for name in ready:
            del waiting[name]
        for needed in waiting.values():
            needed.difference_update(ready)


def needs_of(job):
    """The ids of the jobs that a job needs."""
    needed = job.get("needs", [])
    if not isinstance(needed, list):
        needed = [needed]
    return [as_text(other) for other in needed]


def check_job(name, job, path, report):
    check_id(name, path, report)
    for key, check in JOB_CHECKS.items():
        if key in job:
            check(job[key], (*path, key), report)


def check_id(name, path, report):
    """The id of a job or step."""
    if not ID.fullmatch(name) or len(name) > MAX_ID:
        report(path, "id", f"an id is up to {MAX_ID} letters, digits, _ and -, no digit or - first")
    elif name.startswith("__"):
        report(path, "id", "ids that begin with __ are GitHub's own")


def check_steps(steps, path, report):
    """Ids of steps, each once, and the actions that they use."""
    seen = set()
    seen_in_lower_case = set()
    for i, step in enumerate(steps or []):
        if "uses" in step:
            check_action(step["uses"], (*path, i, "uses"), report)
        if "id" not in step:
            continue
        name = as_text(step["id"])
        where = (*path, i, "id")
        check_id(name, where, report)
        if name in seen:
            report(where, "id", f"the job has a step {name:.60} already")
        elif name.lower() in seen_in_lower_case:
            report(where, "id-case", f"a step differs from {name:.60} in case alone")
        seen.add(name)
        seen_in_lower_case.add(name.lower())


def check_action(uses, path, report):
    """What a step uses."""
    if uses is None:
        return
    uses = as_text(uses)
    if not is_action(uses):
        wanted = "owner/repository@ref, ./path or docker://image"
        report(path, "uses", f"{uses:.60} where GitHub wants {wanted}")


@functools.lru_cache(maxsize=1 << 12)
def is_action(uses):
    """Server: an action is docker://image, ./path or owner/repository[/path]@ref."""
    if uses.startswith(("docker://", "./", ".\\", "$/")):
        return True
    repository, _, ref = uses.partition("@")
    if not ref or "@" in ref:
        return False
    folders = [folder for folder in re.split(r"[/\\]", repository) if folder]
    return len(folders) >= 2


def check_concurrency(concurrency, path, report):
    """Server: the name of a group has 1 to 400 characters."""
    group = concurrency
    if isinstance(concurrency, dict):
        group = concurrency.get("group")
        path = (*path, "group")
    if not isinstance(group, str) or is_expression(group):
        return
    if not 0 < len(group) <= MAX_GROUP:
        report(path, "concurrency", f"the name of a group has 1 to {MAX_GROUP} characters")


def check_runner(runs_on, path, report):
    """A group of runners may say whose it is: organization/name."""
    group = runs_on.get("group") if isinstance(runs_on, dict) else None
    is_name = isinstance(group, str) and not is_expression(group)
    if is_name and not is_group(group):
        report((*path, "group"), "runner", "a group is name, organization/name or enterprise/name")


def is_group(text):
    """Whether a text names a group of runners."""
    owner, slash, name = text.partition("/")
    if not slash:
        return True
    is_name = name != "" and "/" not in name
    return owner in GROUP_OWNERS and is_name


def check_image(container, path, report):
    """A container has an image, unless some of it is computed."""
    lacks_image = isinstance(container, dict) and "image" not in container
    if lacks_image and not has_expression(container):
        report(path, "container", "a container without an image")


def check_services(services, path, report):
    if isinstance(services, dict):
        for name, container in services.items():
            check_image(container, (*path, name), report)


def has_expression(value):
    """Whether some text in a value is computed."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return any(map(has_expression, value))
    return is_expression(value)


def check_matrix(strategy, path, report):
    """Server: a matrix has a key with values, or include; what it excludes are its own keys."""
    matrix = strategy.get("matrix") if isinstance(strategy, dict) else None
    if not isinstance(matrix, dict):
        return
    path = (*path, "matrix")
    keys = [key for key in matrix if key not in FILTERS]
    if not keys and not matrix.get("include"):
        report(path, "matrix", "a matrix without a key or include")
    for key in keys:
        if matrix[key] == []:
            report((*path, key), "matrix", "a key of a matrix without values")
    excluded = matrix.get("exclude")
    if isinstance(excluded, list) and not has_expression(matrix):
        check_exclude(excluded, keys, (*path, "exclude"), report)


def check_exclude(excluded, keys, path, report):
    known = {key.upper() for key in keys}
    for i, combination in enumerate(excluded):
        if combination == {}:
            report((*path, i), "matrix", "nothing to exclude")
        for key in combination:
            if key.upper() not in known:
                report((*path, i, key), "matrix", f"the matrix has no key {key:.60}")


JOB_CHECKS = {  # what checks the value of a key of a job
    "concurrency": check_concurrency,
    "runs-on": check_runner,
    "container": check_image,
    "services": check_services,
    "strategy": check_matrix,
    "steps": check_steps,
}
