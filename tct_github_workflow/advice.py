"""What GitHub takes in a workflow and nobody can mean: the other reading of clean_rules.json.

problems({"on": "push", "jobs": {"a": {"runs-on": "x"}}}, [])
    -> [(("jobs", "a"), "steps", "a job without steps does nothing")]

These are rules of actionlint's that real workflows keep. Shared with the matcher is no code, and of
data only clean_syntax.py's tables of names.

    steps      a job has steps, or uses a workflow
    empty      `needs` names some job, `run` is some script, a combination of a matrix some value;
               `env`, `with` and `strategy` hold something
    needs      a job needs another once
    workflow   a job calls a file in .github/workflows, of another repository at a ref
    variable   environment variables have names that a shell can read
    shell      a shell is one that runners have, or a command with {0} in it
    condition  an `if` with ${{ }} is that and nothing else: with text around it, it always holds
    oddity     expressions are such as people write, see oddities.py
    glob       branches, tags and paths are named by patterns that something can match
    matrix     a matrix, or a list in it, is computed by fromJSON() alone, and its names are not
    value      a number or truth value is computed by a single ${{ }}
    description
               of a workflow, which nobody reads
"""

import re

from .conversion import FILTERS, needs_of
from .expression_parser import OPEN, is_whole, read_tokens, split
from .oddities import oddities

SHELLS = frozenset(["bash", "cmd", "powershell", "pwsh", "python", "sh"])
NOT_IN_NAMES = re.compile(r"[ \t\r\n&=]|\$\{\{")
WORKFLOWS = ".github/workflows"  # the folder of those that a job may call
OWNER_AND_REPOSITORY = re.compile(r"[^/]+/[^/]+/")
WORKFLOW_FILE = re.compile(r"[^/]+\.ya?ml")
BLANK_OR_CONTROL = re.compile(r"[\0-\x20]")
SINGLE_VALUES = ("timeout-minutes", "continue-on-error", "fail-fast", "max-parallel")
REF_FILTERS = ("branches", "branches-ignore", "tags", "tags-ignore")
PATH_FILTERS = ("paths", "paths-ignore")
IN_CLASS = "[!.0-9A-Z^_a-z]"
CLASS = re.compile(rf"\[((?:{IN_CLASS}-[0-9A-Za-z]|{IN_CLASS})+)\]")  # [a-z0-9]


def problems(workflow, expressions):
    """list of (path as a tuple, rule, message).

    workflow: its values are of the right kinds; expressions: [(path, text)] in it.
    """
    found = []
    for path, text in expressions:
        found += [(path, "oddity", f"{text:.60}: {odd}") for odd in oddities(text)]

    def report(path, rule, message):
        found.append((path, rule, message))

    if "description" in workflow:
        report(("description",), "description", "nobody reads it: a comment would do")
    check_filters(workflow.get("on"), report)
    check_variables(workflow, (), report)
    check_shell(workflow.get("defaults"), ("defaults",), report)
    for name, job in workflow.get("jobs", {}).items():
        check_job(job, ("jobs", name), report)
    return found


def check_job(job, path, report):
    if "uses" not in job and "steps" not in job:
        report(path, "steps", "a job without steps does nothing")
    check_needs(job, (*path, "needs"), report)
    check_workflow(job.get("uses"), (*path, "uses"), report)
    check_variables(job, path, report)
    check_variables(job.get("container"), (*path, "container"), report)
    check_shell(job.get("defaults"), (*path, "defaults"), report)
    check_single(job, path, report)
    check_not_empty(job, "strategy", path, report)
    check_not_empty(job, "with", path, report)
    if job.get("container") == "":
        report((*path, "container"), "empty", "a container of no image")
    check_strategy(job.get("strategy"), (*path, "strategy"), report)
    check_condition(job, path, report)
    check_condition(job.get("snapshot"), (*path, "snapshot"), report)
    services = job.get("services")
    for name in services if isinstance(services, dict) else ():
        check_variables(services[name], (*path, "services", name), report)
    for i, step in enumerate(job.get("steps") or ()):
        check_variables(step, (*path, "steps", i), report)
        check_shell({"run": step}, (*path, "steps", i), report)
        check_condition(step, (*path, "steps", i), report)
        check_single(step, (*path, "steps", i), report)
        check_not_empty(step, "with", (*path, "steps", i), report)
        if step.get("run") == "":
            report((*path, "steps", i, "run"), "empty", "a script of nothing")


def check_needs(job, path, report):
    """The jobs that a job needs."""
    if job.get("needs") == []:
        report(path, "empty", "a list of no jobs")
    seen = set()
    for name in needs_of(job):
        if name in seen:
            report(path, "needs", f"{name:.60} is needed twice")
        seen.add(name)


def check_workflow(uses, path, report):
    """The workflow that a job calls."""
    if uses is not None and not is_workflow(str(uses)):
        wanted = f"./{WORKFLOWS}/file.yml or owner/repository/{WORKFLOWS}/file.yml@ref"
        report(path, "workflow", f"{uses!s:.60} is not {wanted}")


def is_workflow(uses):
    """Whether a job may call what a text names."""
    file, at, ref = uses.partition("@")
    owner, _, name = file.rpartition(f"{WORKFLOWS}/")
    if BLANK_OR_CONTROL.search(uses) or not WORKFLOW_FILE.fullmatch(name):
        return False
    if owner == "./":
        return not at
    return OWNER_AND_REPOSITORY.fullmatch(owner) is not None and ref != ""


def check_variables(around, path, report):
    """The `env` of a workflow, job, step or container, and the names in it."""
    check_not_empty(around, "env", path, report)
    variables = around.get("env") if isinstance(around, dict) else None
    for name in variables if isinstance(variables, dict) else ():
        if NOT_IN_NAMES.search(name):
            report((*path, "env", name), "variable", f"no shell can read a variable {name:.60}")


def check_not_empty(around, key, path, report):
    """A section that could be left out."""
    if isinstance(around, dict) and around.get(key) == {}:
        report((*path, key), "empty", f"there is nothing in {key}")


def check_shell(defaults, path, report):
    """The shell of `defaults`. (A step is like the `run` in it, its path aside.)"""
    run = defaults.get("run") if isinstance(defaults, dict) else None
    if not isinstance(run, dict) or "shell" not in run:
        return
    shell = run["shell"]
    is_known = shell in SHELLS or "{0}" in str(shell) or OPEN in str(shell)
    if not is_known:
        wanted = f"one of {', '.join(sorted(SHELLS))}, or a command with {{0}}, is needed"
        path = (*path, "run", "shell") if path[-1] == "defaults" else (*path, "shell")
        report(path, "shell", f"no shell {shell!s:.60}: {wanted}")


def check_condition(around, path, report):
    """The `if` of a job or step."""
    condition = around.get("if") if isinstance(around, dict) else None
    if not isinstance(condition, str) or OPEN not in condition:
        return
    segments = split(condition)
    if len(segments) != 3 or segments[0] or segments[2]:
        report((*path, "if"), "condition", "with text around its ${{ }} it always holds")


def check_single(around, path, report):
    """Numbers and truth values of a job, step, strategy or group."""
    if not isinstance(around, dict):
        return
    for key in SINGLE_VALUES:
        value = around.get(key)
        if isinstance(value, str) and OPEN in value and not is_whole(split(value)):
            report((*path, key), "value", "a single ${{ }} is needed")


def check_strategy(strategy, path, report):
    """What computes the matrix of a job, or a part of it."""
    check_single(strategy, path, report)
    matrix = strategy.get("matrix") if isinstance(strategy, dict) else None
    path = (*path, "matrix")
    check_computed(matrix, path, report)
    for key, row in matrix.items() if isinstance(matrix, dict) else ():
        check_computed(row, (*path, key), report)
        if row == [] and key not in FILTERS:
            report((*path, key), "empty", "a row of nothing")
        for i, item in enumerate(row if isinstance(row, list) else ()):
            if isinstance(item, dict) or key in FILTERS:
                check_computed(item, (*path, key, i), report)
        check_values(row, (*path, key), report)


def check_values(row, path, report):
    """The values in a row of a matrix: no lists and mappings but those that have values alone."""
    for i, item in enumerate(row if isinstance(row, list) else ()):
        if item == {}:
            report((*path, i), "empty", "a combination of nothing")
        values = item.values() if isinstance(item, dict) else [item]
        if any(value is None or isinstance(value, (dict, list)) for value in values):
            report((*path, i), "matrix", "a value of a matrix is a text, number or truth value")


def check_computed(value, path, report):
    """A part of a matrix, which is text only if it computes that part."""
    if isinstance(value, str) and OPEN in value and not is_from_json(value):
        report(path, "matrix", f"only fromJSON() can compute it: {value:.60}")
    for name in value if isinstance(value, dict) else ():
        if OPEN in name:
            report((*path, name), "matrix", f"a name that is computed: {name:.60}")


def is_from_json(text):
    """Whether a text is nothing but ${{ fromJSON(...) }}."""
    segments = split(text)
    if not is_whole(segments):
        return False
    kinds = [kind for kind, _ in read_tokens(segments[1])]
    if kinds[:2] != ["name", "("] or not segments[1].lower().startswith("fromjson"):
        return False
    depth = 0
    for i, kind in enumerate(kinds):
        depth += (kind == "(") - (kind == ")")
        if kind == ")" and depth == 0:
            return kinds[i + 1] == "end"
    return False


def check_filters(events, report):
    """The patterns of branches, tags and paths in `on`."""
    if not isinstance(events, dict):
        return
    for event, options in events.items():
        for key in (*REF_FILTERS, *PATH_FILTERS):
            patterns = options.get(key, []) if isinstance(options, dict) else []
            for pattern in patterns if isinstance(patterns, list) else [patterns]:
                reason = why_no_glob(str(pattern), key in REF_FILTERS)
                if reason:
                    report(("on", event, key), "glob", f"{pattern!s:.60}: {reason}")


def why_no_glob(pattern, is_ref):
    """Why no branch or tag (is_ref), or no path, matches a pattern; None if some can."""
    text = pattern.removeprefix("!")
    if not text:
        return "there is nothing to match"
    for match in CLASS.finditer(text):
        if len(match[1]) == 1:
            return f"{match[0]} matches one character alone"
    text = CLASS.sub("x", text)
    if re.search(r"[\[\\]", text):
        return "a [ that is no class such as [a-z], or a \\"
    if re.search(r"(?:^|[*+?])[+?]", text):
        return "there is nothing that ? or + repeats"
    return why_no_ref(text) if is_ref else why_no_path(text)


def why_no_ref(text):
    if re.search(r"[\0-\x20:^~]", text):
        return "a branch or tag has no blank, :, ^ or ~ in its name"
    if text.startswith("/") or text.rstrip("+?").endswith(("/", ".")):
        return "a branch or tag does not begin with / or end with / or ."
    return None


def why_no_path(text):
    if re.search(r"[\0-\x1f]", text) or text != text.strip(" "):
        return "a path has no line break in it, and no blank at its ends"
    return None
