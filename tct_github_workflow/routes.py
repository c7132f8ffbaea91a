"""Where the names that expressions use are given, and what it takes to get there.

    steps.x   by the id of a step        needs.x   by `needs`        jobs.x   by the key of a job
    matrix.x  by a key of the matrix, or of a combination that it includes
    inputs.x  by an input of workflow_call or workflow_dispatch

A key that `exclude` names is given by a key of the matrix itself, a row (matrix_rows.py).

A *route* of a context is a key of an object that leads to where such names are given, with the
tokens that this takes besides those that close the object anyway, and besides the names. A matrix
that is computed has any name, so its route ends there.

By the rules "clean" a row of a matrix holds texts, for matrix.x, or mappings, for matrix.x.y. To
what comes later these are two names, x and x.Y, of which a job has one.
"""

import copy
from dataclasses import replace
from typing import NamedTuple

from .automaton import FAR
from .grammar import EMPTY, ArrayType, Value

CONTEXTS = ("steps", "needs", "matrix", "inputs", "jobs")
ROWS = "rows"  # instead of a context: the keys of a matrix itself
WANTED = (*CONTEXTS, ROWS)  # what may be wanted
# roles that a schema gives to its parts
JOBS = "jobs"
NEEDS = "needs"
STEP_ID = "step-id"
# roles of objects, given here
STEP = "step"
MATRIX = "matrix"  # and a combination that it includes
EXCLUDED = "excluded"  # a combination that it excludes
INPUTS = "inputs"
OUTPUTS = "outputs"
ROW = "row"  # of the values in a list, and of the list
MEMBER = "member"  # of a mapping in a list
COMPUTED = "computed"  # role of a string that computes a matrix, or what it includes
ANYTHING = None  # instead of names: what is computed may have any
# kinds of rows of a matrix, as they end the name
TEXTS = ""
MEMBERS = ".Y"  # in no name, as these are in lower case
KEYS_TO = {  # the keys on the way to where names are given
    "steps": ("steps",),
    "needs": ("needs",),
    "matrix": ("strategy", "matrix"),
    "inputs": ("on", "workflow_call", "workflow_dispatch", "inputs"),
    "jobs": ("jobs",),
    ROWS: (),
}
HERE = [(None, 0)]  # the route of a place where names are given


class Source(NamedTuple):
    """What a name of some context takes where it is given."""

    tokens: int  # besides its letters
    types: list  # [ObjectType] of which one at least must know the name as a key
    more: int = 0  # tokens of a row with mappings, more than of another


def add_routes(root):
    """Marks what gives names in the grammar of a whole document, a Value."""
    for workflow in root.objects:
        jobs = [obj for obj in under([workflow], "jobs") if obj.role == JOBS]
        if not jobs:
            continue
        events = under([workflow], "on")
        inputs = []
        for event in ("workflow_call", "workflow_dispatch"):
            inputs += under(under(events, event), "inputs")
        for obj in inputs:
            obj.role = INPUTS
            obj.routes["inputs"] = HERE
        for obj in jobs:
            obj.routes["jobs"] = HERE
        for job in under(jobs, "a"):
            mark_job(job)
        find_routes(workflow, "inputs")
        find_routes(workflow, "jobs")
        workflow.sources = sources(jobs, inputs)


def under(objects, key):
    """The ObjectTypes that may stand under a key of some others."""
    found = {}
    for obj in objects:
        value = obj.field(key)
        found.update(dict.fromkeys(value.objects if value else ()))
    return list(found)


def sources(jobs, inputs):
    """{context: Source}; of a matrix nothing is asked where a key of it may be computed."""
    job_tokens = max(obj.field("a").tokens for obj in jobs)
    step_tokens = max((array.items.tokens for array in step_arrays(jobs)), default=0)
    input_tokens = max((obj.field("a").tokens for obj in inputs), default=0)
    matrices = under(under(under(jobs, "a"), "strategy"), "matrix")
    is_free = any(map(has_computed_keys, matrices)) or not matrices
    rows = [obj.field("a") for obj in matrices]
    row_tokens = max((row.tokens for row in rows), default=0)
    more = max((tokens_of_row(row, MEMBERS) - row.tokens for row in rows), default=0)
    return {
        "matrix": None if is_free else Source(row_tokens + 1, matrices, more),
        "steps": Source(step_tokens + 2, jobs),  # the key `id`, END
        "needs": Source(1, jobs),
        "inputs": Source(input_tokens + 1, inputs),
        "jobs": Source(job_tokens + 1, jobs),
    }


def step_arrays(jobs):
    """The ArrayTypes of steps."""
    found = []
    for job in under(jobs, "a"):
        steps = job.field("steps")
        found += steps.arrays if steps else []
    return found


def mark_job(job):
    """Marks what a job, an ObjectType, has of steps, needs, a matrix and outputs."""
    mark_outputs(job)
    for array in arrays_under(job, "steps"):
        array.routes["steps"] = HERE
        for step in array.items.objects:
            step.role = STEP
    for array in arrays_under(job, "needs"):
        array.routes["needs"] = HERE
    strategy = job.field("strategy")
    if strategy:
        strategy.role = COMPUTED
        for obj in strategy.objects:
            if obj.field("matrix"):
                obj.field("matrix").role = COMPUTED
        for matrix in under(strategy.objects, "matrix"):
            mark_matrix(matrix)
    for context in ("steps", "needs", "matrix"):
        find_routes(job, context)


def mark_outputs(job):
    for obj in under([job], "outputs"):
        obj.role = OUTPUTS


def arrays_under(obj, key):
    value = obj.field(key)
    return value.arrays if value else []


def mark_matrix(obj):
    """Marks the ObjectType of a matrix, and of the combinations that it includes or excludes."""
    if obj.role == MATRIX:
        return
    mark_keys(obj)
    for other in obj.others:
        if other.accepts("include"):
            other.value = with_combinations(other.value, mark_keys)
            other.value.role = COMPUTED
        elif other.accepts("exclude"):
            other.value = with_combinations(other.value, mark_excluded)
        else:
            mark_row(other.value)
    mark_rows(obj)
    obj.field.cache_clear()


def mark_row(value):
    """Marks the kinds of a row, where each list is of one kind."""
    if any(array.items.arrays for array in value.arrays):
        return
    marked = with_combinations(value, mark_member).arrays
    with_members = [array for array in marked if array.items.objects]
    texts = [unique(array) for array in value.arrays if not array.items.objects]
    value.kinds = [
        (row_of(texts, []), (TEXTS,)),
        (row_of(with_members, []), (MEMBERS,)),
        (row_of([], value.expressions), (TEXTS, MEMBERS)),
    ]


def unique(array):
    """An ArrayType in which no string comes twice."""
    items = copy.copy(array.items)
    items.role = ROW
    array = ArrayType(items, array.least)
    array.role = ROW
    return array


def row_of(arrays, expressions):
    """A Value that is one of these alone."""
    row = Value()
    row.arrays = arrays
    row.expressions = expressions
    row.tokens, row.levels = row.size()
    return row


def tokens_of_row(value, kind):
    """Tokens of a Value that is a row of a kind, FAR if it is none."""
    if not value.kinds:
        return FAR if kind == MEMBERS else value.tokens
    return min(row.tokens for row, kinds in value.kinds if kind in kinds)


def mark_keys(obj):
    """Marks an ObjectType whose keys `matrix` has as names: all of them, if one is computed."""
    obj.role = MATRIX
    obj.routes["matrix"] = [] if has_computed_keys(obj) else HERE
    for other in obj.others:
        if other.expressions:
            tokens = other.text.bytes_to_end[other.text.start] + 1 + other.value.tokens
            obj.routes["matrix"] = [(None, tokens)]


def has_computed_keys(obj):
    return any(other.expressions for other in obj.others)


def with_combinations(value, mark):
    """A copy of a Value in a matrix, the ObjectTypes in its lists marked."""
    value = copy.copy(value)
    value.routes = {}
    arrays = []
    for array in value.arrays:
        items = copy.copy(array.items)
        items.objects = [replace(obj, routes={}) for obj in items.objects]
        for obj in items.objects:
            mark(obj)
        arrays.append(ArrayType(items, array.least))
    value.arrays = arrays
    return value


def mark_excluded(obj):
    obj.role = EXCLUDED


def mark_member(obj):
    obj.role = MEMBER


def mark_rows(obj):
    """Marks the ObjectType of a matrix as what has rows: a value that is computed is one way."""
    options = []
    for other in obj.others:
        texts = [text for text in other.value.expressions if text.is_computed]
        tokens = min(text.bytes_to_end[text.start] + 1 for text in texts)
        other.value.routes[ROWS] = tokens
        for row, _ in other.value.kinds:
            if row.expressions:
                row.routes[ROWS] = tokens
        if not other.few and not other.expressions:
            start = other.text.start
            key_tokens = other.text.bytes_to_end[start] + 2  # one more: short ones may be taken
            options.append(key_tokens + tokens)
    obj.routes[ROWS] = [(None, min(options))]


def find_routes(obj, context):
    """Fills obj.routes with the keys that lead to the names of a context."""
    if context in obj.routes:
        return
    routes = []
    for key in KEYS_TO[context]:
        value = obj.field(key)
        if value and cost_of_route(value, context) < FAR:
            routes.append((obj.fold(key), 1 + cost_of_route(value, context)))
    if routes:
        obj.routes[context] = routes


def cost_of_route(value, context):
    """Tokens of a Value that leads to names of a context, without the names."""
    if context not in value.routes:
        options = []
        if context == "matrix" and value.role == COMPUTED:
            options += [text.bytes_to_end[text.start] + 1 for text in value.expressions]
        for obj in value.objects:
            find_routes(obj, context)
            tokens, _ = obj.close(EMPTY, 0)
            options += [1 + tokens + cost for _, cost in obj.routes.get(context, ())]
        for array in value.arrays:
            if context in array.routes:
                options.append(2 + array.least * array.items.tokens)
        value.routes[context] = min(options, default=FAR)
    return value.routes[context]
