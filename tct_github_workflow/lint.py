"""python -m tct_github_workflow --check FILE...: what check() finds in workflow files.

    ci.yml:7:14 reference: steps.buidl: no step before this one has that id

Line and column are those of the YAML (or JSON) text, from 1. Exit code 1 if there is a problem, 2
if a file cannot be read as a workflow's text at all, else 0.
"""

import sys

import yaml

from .check import check_document
from .errors import EncodeError
from .json_text import parse_json
from .schema import json_path
from .yaml_text import yaml_to_json

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
USAGE = (
    "usage: python -m tct_github_workflow --check <workflow.yml, .json or - for standard input>..."
)
# exit codes
FOUND = 1
UNREADABLE = 2


def main(paths):
    """Prints what is wrong with each file; returns the exit code."""
    if not paths:
        print(USAGE, file=sys.stderr)
        return UNREADABLE
    code = 0
    for path in paths:
        try:
            lines = problem_lines(path)
        except (EncodeError, OSError, UnicodeDecodeError) as e:
            print(f"{path}: {getattr(e, 'strerror', None) or e}", file=sys.stderr)
            code = UNREADABLE
            continue
        if lines:
            print("\n".join(lines))
            code = max(code, FOUND)
    return code


def problem_lines(path):
    """A line of text for each problem of a file, in the order of the file."""
    source = read_bytes(path)
    document = parse_json(to_json(path, source))
    problems = check_document(document)
    if not problems:
        return []
    positions = positions_of(source, document)
    found = [(positions.of(problem), problem) for problem in problems]
    found.sort(key=by_position)
    lines = []
    for (line, column), problem in found:
        lines.append(f"{path}:{line}:{column} {problem.rule}: {problem.message}")
    return lines


def by_position(entry):
    return entry[0]


def read_bytes(path):
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as f:
        return f.read()


def to_json(path, source):
    """The JSON text of a file's bytes."""
    if path.endswith(".json"):
        return source.decode("utf-8-sig")
    return yaml_to_json(source)  # JSON from standard input is YAML, too


class Positions:
    """Where in a text the values of a document stand: (line, column), from 1."""

    def __init__(self):
        self.keys = {"$": (1, 1)}  # JSON path -> position of the key, or of the item in a list
        self.values = {}  # JSON path -> position of the value, if it is a scalar

    def add(self, node, value, path):
        """Adds a YAML node and all in it. value: what it stands for; path: tuple."""
        if isinstance(value, dict):
            for (key_node, item_node), key in zip(node.value, value, strict=True):
                inner = (*path, key)
                self.keys[json_path(inner)] = start_of(key_node)
                self.add(item_node, value[key], inner)
        elif isinstance(value, list):
            for i, (item_node, item) in enumerate(zip(node.value, value, strict=True)):
                self.keys[json_path((*path, i))] = start_of(item_node)
                self.add(item_node, item, (*path, i))
        else:
            self.values[json_path(path)] = start_of(node)

    def of(self, problem):
        """The position of a problem: of the value, or of the key where that is the problem."""
        if problem.rule != "key" and problem.path in self.values:
            return self.values[problem.path]
        return self.keys.get(problem.path, (1, 1))


def positions_of(source, document):
    """The Positions of what a text holds. document: its objects."""
    positions = Positions()
    try:
        node = yaml.compose(source, Loader)
    except yaml.YAMLError:  # JSON that is no YAML: all problems are shown at its beginning
        return positions
    positions.add(node, document, ())
    return positions


def start_of(node):
    return node.start_mark.line + 1, node.start_mark.column + 1
