"""check(): what GitHub would refuse in a workflow, and names in it that do not exist.

check('{"on": "push", "jobs": {"a": {"runs-on": "x", "steps": [{"run": "${{ env.A"}]}}}')
    -> [Problem("$.jobs.a.steps[0].run", "expression", "${{ without its }}")]

A plain recursive descent over the document, a Place of GitHub's definitions for each value, as the
first pass of its own parser does it (npm package @actions/workflow-parser 0.3.61,
template-reader.js); then conversion.py for rules between values, and references.py for names.
Nothing here is shared with the matcher, so that each tests the other.

Known differences from that package, none of which GitHub's own service shows: names that every
JavaScript object has (`constructor`) pass there for functions and numbers of a cron schedule, and
crash it as keys; its YAML reader refuses a flow sequence that is closed at the indentation of its
key, and crashes at a key that is a number; steps in `parallel`, a preview, are read there alone.

Rules, the values of Problem.rule:
    schema       the workflow schema, where none of the others says so
    key          a key that is unknown here, missing, or there twice but for its case
    value        a value of the wrong kind
    expression   an expression that does not parse, or stands where there can be none
    context      a context or function that the place does not have
    id, needs, cron, input, runner, container
                 see conversion.py
    id-case, uses, matrix, concurrency, limit
                 SERVER_RULES: GitHub's servers refuse it, the parser that it publishes does not
    reference    a name in an expression that does not exist: GitHub runs it, but reads nothing
    steps, empty, needs, workflow, variable, shell, condition, glob, matrix, value, description,
    oddity, output
                 where it is asked for: GitHub runs it, but nobody means it, see advice.py and
                 advice_names.py
"""

import functools
from dataclasses import dataclass

from . import advice, advice_names, conversion, references
from .definitions import ROOT, place
from .expression_parser import (
    BLANKS,
    DIRECTIVE,
    OPEN,
    Literal,
    as_one_expression,
    fold_literals,
    is_expression,
    is_whole,
    literal_of,
    split,
)
from .json_text import parse_json
from .schema import json_path, validator, why_invalid

MAX_TEXT = 20_000  # characters of a string with expressions
MAX_NESTING = 47  # mappings and lists, one in the other

SERVER_RULES = frozenset(["id-case", "uses", "matrix", "concurrency", "limit"])


@dataclass(frozen=True)
class Problem:
    """What is wrong with a workflow, and where."""

    path: str  # as in EncodeError: $.jobs.build.steps[0]
    rule: str
    message: str


def check(json_str, with_advice=False):
    """list of Problem, empty if GitHub takes the workflow and all names in it exist.

    with_advice: also what GitHub takes and nobody means.
    Raises EncodeError if json_str is not JSON text or not an object.
    """
    return check_document(parse_json(json_str), with_advice)


def check_document(document, with_advice=False):
    """check() of the objects that a workflow's JSON text stands for."""
    found = problems_of(document, with_advice)
    if not validator.is_valid(document):
        found = add_schema_problem(found, why_invalid(document))
    return found


def problems_of(document, with_advice=False):
    """check_document() without what the schema finds."""
    workflow = document
    reader = read(workflow)
    if reader.has_literals:
        workflow = fold_literals(document)
        reader = read(workflow)
    problems = reader.problems
    if not any(rule == "value" for _, rule, _ in problems):
        # From here on every value is of the kind that its place asks for.
        problems += conversion.problems(workflow)
        problems += references.problems(workflow, reader.uses)
        if with_advice:
            problems += advice.problems(workflow, reader.expressions)
            problems += advice_names.problems(document, reader.uses)
    return [
        Problem(json_path(path), rule, on_one_line(message)) for path, rule, message in problems
    ]


def on_one_line(message):
    return message.replace("\r", "\\r").replace("\n", "\\n")


def read(document):
    """The Reader of a whole document."""
    reader = Reader()
    reader.visit(document, root(), ())
    return reader


def add_schema_problem(problems, error):
    """The problems and the schema's, unless one of them is about the same place."""
    for problem in problems:
        if problem.path.startswith(error.where) or error.where.startswith(problem.path):
            return problems
    message = str(error).removeprefix(f"{error.where}: ")
    return [Problem(error.where, "schema", message), *problems]


@functools.cache
def root():
    return place(ROOT)


def is_plain_text(value, at):
    """Whether a value is text that may stand at a Place as it is: most values are."""
    if type(value) is not str or value == "":
        return False
    return at.is_free_text and OPEN not in value


class Reader:
    """One descent over a document."""

    def __init__(self):
        self.problems = []  # (path as a tuple, rule, message)
        self.uses = []  # (path, Expression), each expression in the document that names something
        self.expressions = []  # (path, text of each one that GitHub takes)
        self.has_literals = False  # whether there is a ${{ 'string' }}: read fold_literals() of it

    def report(self, path, rule, message):
        self.problems.append((path, rule, message))

    def visit(self, value, at, path):
        """Checks a value and all in it. at: its Place; path: tuple of keys and indices."""
        kind = type(value)
        if kind is str and OPEN in value:
            self.visit_expressions(value, at, path)
        elif kind is str or kind is Literal:
            self.visit_text(value, at, path)
        elif kind is dict:
            self.visit_mapping(value, at, path)
        elif kind is list:
            self.visit_list(value, at, path)
        elif kind not in at.types:
            self.refuse(value, at, path)

    def refuse(self, value, at, path):
        """Reports a value of the wrong kind."""
        shown = "an empty value" if value in (None, "") else f"{str(value):.60}"
        if isinstance(value, (dict, list)):
            shown = "a mapping" if isinstance(value, dict) else "a list"
        self.report(path, "value", f"{shown} where GitHub wants {at.describe()}")

    def visit_list(self, items, at, path):
        if len(path) == MAX_NESTING:
            self.report(path, "limit", f"nested deeper than {MAX_NESTING} levels")
        if at.items is None:
            self.refuse(items, at, path)
            return
        for i, item in enumerate(items):
            if not is_plain_text(item, at.items):
                self.visit(item, at.items, (*path, i))

    def visit_text(self, text, at, path):
        if not at.takes_text(text):
            self.refuse(text, at, path)
        elif at.is_condition:
            self.read_condition(text.strip(BLANKS), at, path)

    # --- mappings ---------------------------------------------------------------------------------

    def visit_mapping(self, mapping, at, path):
        if len(path) == MAX_NESTING:
            self.report(path, "limit", f"nested deeper than {MAX_NESTING} levels")
        if at.properties is None:
            self.refuse(mapping, at, path)
            return
        kinds = at.kinds
        properties = at.properties
        others = at.others_as_property
        for key, value in mapping.items():
            below, bits = properties.get(key, others)
            is_name = key != "" and OPEN not in key
            if below is None or not is_name:
                below, bits = self.other_key(key, at, (*path, key))
            if kinds & bits:
                kinds &= bits
                if not is_plain_text(value, below):
                    self.visit(value, below, (*path, key))
            elif bits:
                problem = f"GitHub does not know {key:.60} beside the other keys"
                self.report((*path, key), "key", problem)
        if at.others is not None and len(set(map(str.upper, mapping))) < len(mapping):
            self.check_duplicates(mapping, path)
        if at.needs_keys:
            self.check_required(mapping, at, kinds, path)

    def other_key(self, key, at, path):
        """(Place of the value, bits) of a key that is no property; bits are 0 after a problem."""
        if is_expression(key):
            segments = self.read_segments(key, at, path)
            if segments and at.has_plain_keys:
                self.report(path, "key", "an expression as a key")
            return at.of_computed_keys(), at.kinds
        if at.others is None:
            self.report(path, "key", f"GitHub knows no key {key:.60} here")
            return None, 0
        if not key and not at.may_have_empty_key:
            self.report(path, "key", "an empty key")
        return at.others, at.kinds

    def check_duplicates(self, mapping, path):
        """Keys of which GitHub takes one alone, since it reads them without case."""
        seen = set()
        for key in mapping:
            if key.upper() in seen and not is_expression(key):
                self.report((*path, key), "key", f"{key:.60} is there twice, but for its case")
            seen.add(key.upper())

    def check_required(self, mapping, at, kinds, path):
        """kinds: of mapping that all keys fit; there has to be one left, with its required keys."""
        problem = None
        if kinds & (kinds - 1):
            wanted = []
            for keys in at.required:
                wanted += keys
            problem = f"a mapping without {' or '.join(wanted)}"
        else:
            for key in at.required[kinds.bit_length() - 1]:
                if key not in mapping:
                    problem = f"the key {key} is missing"
        if problem and not any(map(is_expression, mapping)):
            self.report(path, "key", problem)

    # --- expressions ------------------------------------------------------------------------------

    def visit_expressions(self, text, at, path):
        """Checks a text with ${{ in it, which GitHub computes when it runs."""
        if str not in at.types and not at.allows_expressions:
            self.refuse(text, at, path)
            return
        segments = self.read_segments(text, at, path)
        if segments is None:
            return
        if segments[1] == "insert":
            self.report(path, "expression", "${{ insert }} as a value")
        elif at.is_condition:
            self.check_success(as_one_expression(segments), at, path)
        elif at.is_plain_mapping:
            self.report(path, "value", "an expression where GitHub wants a mapping")

    def read_segments(self, text, at, path):
        """Reads the expressions in a text. Returns split(text), or None after a problem."""
        n_problems = len(self.problems)
        segments = split(text)
        if segments is None:
            self.report(path, "expression", "${{ without its }}")
            return None
        if len(text) > MAX_TEXT:
            self.report(path, "limit", f"a text with expressions over {MAX_TEXT:,} characters")
        if literal_of(segments) is not None:
            self.has_literals = True
        elif not at.allows_expressions:
            self.report(path, "expression", "an expression where GitHub takes none")
        else:
            for expression in segments[1::2]:
                self.read_embedded(expression, segments, at, path)
        return segments if len(self.problems) == n_problems else None

    def read_embedded(self, expression, segments, at, path):
        """Reads what stands between ${{ and }}."""
        if not expression:
            self.report(path, "expression", "an empty expression")
        elif not DIRECTIVE.match(expression):
            self.read_expression(expression, at, path)
        elif expression != "insert" or not is_whole(segments):
            self.report(path, "expression", "insert is the whole key: ${{ insert }}")

    def read_expression(self, text, at, path):
        expression, problems = at.scope.read(text)
        for rule, message in problems:
            self.report(path, rule, message)
        if problems:
            return
        self.expressions.append((path, text))
        if expression.names:
            self.uses.append((path, expression))

    def read_condition(self, text, at, path):
        """An `if` without braces is one expression."""
        if not text:
            return
        n_problems = len(self.problems)
        self.read_expression(text, at, path)
        if len(self.problems) == n_problems:
            self.check_success(text, at, path)

    def check_success(self, text, at, path):
        """GitHub puts success() before a condition that does not ask for the status."""
        expression, problems = at.scope.read(text)
        if not problems and not expression.asks_status():
            _, problems = at.scope.read(f"success() && ({text})")
        for rule, message in problems:
            self.report(path, rule, message)
