"""Names in expressions that are not what they are taken for: advice besides references.py.

    needs    needs.* stands after the job's `needs`
    output   needs.x.outputs.y is declared by a job x that is written before, or calls a workflow
    matrix   matrix.x is a value, matrix.x.y is in a mapping of its row, and no x is both; a row
             that is computed is what it is taken for first, if that stands before it; no text comes
             twice

GitHub minds no order of jobs and keys, but hardly anybody writes them otherwise.
"""

from .expression_parser import is_expression

# kinds of matrix.x
VALUE = "value"
MAPPING = "mapping"
COMPUTED = "computed"


def problems(workflow, uses):
    """list of (path, rule, message). uses: list of (path as a tuple, Expression)."""
    found = []
    jobs = workflow.get("jobs", {})
    matrices = {name: Matrix(job) for name, job in jobs.items()}
    for path, expression in uses:
        for name in expression.names:
            if name.context == "needs" and name.path:
                found += odd_needs(jobs, path, *name.path)
            elif name.context == "matrix" and name.path:
                _, job, key, *_ = path
                is_early = is_before(jobs[job], key, "strategy")
                found += odd_matrix(matrices[job], path, name.path, is_early)
    for name, matrix in matrices.items():
        path = ("jobs", name, "strategy", "matrix")
        found += [(path, "matrix", f"{key}: values and mappings") for key in matrix.mixed()]
        found += [(path, "matrix", f"{text:.60} twice in {key}") for key, text in matrix.twice]
    return found


def odd_needs(jobs, path, name, *rest):
    """The problems of needs.name and what is read of it, at a path."""
    _, job, key, *_ = path
    if name is None:
        is_known = is_before(jobs[job], "needs", key)
        return [] if is_known else [(path, "needs", "needs.* before the job's needs")]
    if len(rest) < 2 or rest[0] != "outputs" or rest[1] is None:
        return []
    for other in list(jobs)[: list(jobs).index(job)]:
        if other.lower() == name and declares(jobs[other], rest[1]):
            return []
    message = f"needs.{name}.outputs.{rest[1]}: no job {name} before declares it"
    return [(path, "output", message)]


def is_before(job, key, other):
    """Whether a key of a job stands before another one that it may have."""
    keys = [*job, other]
    return key in keys[: keys.index(other)]


def declares(job, output):
    return "uses" in job or output in map(str.lower, job.get("outputs") or ())


def odd_matrix(matrix, path, names, is_early):
    """The problem of matrix.x or matrix.x.y at a path. names: x, or x and y.

    is_early: it stands before the matrix.
    """
    kind = VALUE if len(names) == 1 else MAPPING
    is_there = len(names) == 1 or is_early or matrix.has_member(*names)
    if is_there and matrix.may_be(names[0], kind, is_early):
        return []
    return [(path, "matrix", f"{'.'.join(map(str, ('matrix', *names)))} is no {kind}")]


class Matrix:
    """What the keys of a job's matrix stand for, as far as it can be seen."""

    def __init__(self, job):
        strategy = job.get("strategy")
        self.kinds = {}  # key in lower case -> set of its kinds
        self.taken_for = {}  # key -> the kind that it is taken for before the matrix
        self.members = {}  # key -> set of the keys of the mappings in its row
        self.twice = []  # (key, text that is twice in its row)
        self.is_open = False  # whether some keys are computed
        matrix = strategy.get("matrix") if isinstance(strategy, dict) else strategy
        if is_expression(matrix):
            self.is_open = True
            return
        for key, row in (matrix or {}).items():
            if key == "include":
                self.add_combinations(row)
            elif key != "exclude":
                self.add_row(key.lower(), row)

    def add_combinations(self, rows):
        for combination in [rows] if is_expression(rows) else rows:
            if is_expression(combination):
                self.is_open = True
                return
            for name in combination if not self.is_open else ():
                self.kinds.setdefault(name.lower(), set()).add(VALUE)

    def add_row(self, key, row):
        texts = [value for value in row if isinstance(value, str)] if isinstance(row, list) else []
        self.twice += [(key, text) for text in set(texts) if texts.count(text) > 1]
        if self.is_open:
            return
        kinds = self.kinds.setdefault(key, set())
        if not is_expression(row):
            for mapping in row:
                if isinstance(mapping, dict):
                    self.members.setdefault(key, set()).update(map(str.lower, mapping))
            kinds.update(MAPPING if isinstance(value, dict) else VALUE for value in row)
        elif not kinds:
            kinds.add(COMPUTED)

    def has_member(self, key, member, *_):
        return key not in self.members or self.is_open or member in self.members[key]

    def may_be(self, key, kind, is_early):
        """Whether what has a key may be of a kind, where it is read."""
        if self.is_open and not is_early:
            return True
        kinds = self.kinds.get(key, {COMPUTED})
        taken_for = self.taken_for.get(key, kind)
        if is_early:
            self.taken_for[key] = taken_for
        if COMPUTED in kinds and not (is_early and VALUE in kinds):
            return kind == taken_for
        return kind == taken_for and kind in kinds

    def mixed(self):
        """Keys that are values here and mappings there."""
        return [key for key, kinds in self.kinds.items() if kinds == {VALUE, MAPPING}]
