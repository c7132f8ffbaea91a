"""The workflow schema as data: its text, its names, its validator, and why it refuses a document.

    json_path(["jobs", "a b", 0])          ->  $.jobs["a b"][0]
    why_invalid({"on": "push"})            ->  EncodeError: $: "jobs" is a required property

github-workflow.schema.json is the file that SchemaStore publishes (Apache-2.0), as check-jsonschema
0.39.0 ships it, byte for byte; schema_relaxed.json lists what it refuses and GitHub takes: changes
to it as a JSON Patch (RFC 6902), each with its reason. They bring no new name, so that the
alphabet, which is made of the file's names, and all token ids stay what they are without them.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

import jsonschema_rs

from .errors import EncodeError

_TEXT = (Path(__file__).parent / "github-workflow.schema.json").read_bytes()
RELAXED_FILE = Path(__file__).parent / "schema_relaxed.json"


def apply_patch(schema, changes):
    """Changes a schema in place, by the operations add, remove and replace of a JSON Patch."""
    for change in changes:
        *parents, last = change["path"].split("/")[1:]
        node = schema
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node[part]
        if change["op"] == "remove":
            del node[last]
        elif last == "-":
            node.append(change["value"])
        else:
            node[last] = change["value"]


SCHEMA = json.loads(_TEXT)
apply_patch(SCHEMA, json.loads(RELAXED_FILE.read_bytes()))
validator = jsonschema_rs.validator_for(SCHEMA)


def schema_hash():
    """sha256 of SchemaStore's file, in hex."""
    return hashlib.sha256(_TEXT).hexdigest()


def names():
    """(keys, constants): every property name and every string of an `enum` or `const`.

    Both in the order of SchemaStore's file.
    """
    keys = {}  # dicts for their order, values unused
    constants = {}
    collect_names(json.loads(_TEXT), keys, constants)
    return list(keys), list(constants)


def collect_names(node, keys, constants):
    """Adds the names of one schema and of all schemas in it."""
    if not isinstance(node, dict):
        return
    for constant in [*node.get("enum", []), node.get("const")]:
        if isinstance(constant, str):
            constants[constant] = None
    for keyword, value in node.items():
        if keyword == "properties":
            keys.update(dict.fromkeys(value))
        for child in schemas_in(keyword, value):
            collect_names(child, keys, constants)


def schemas_in(keyword, value):
    """What may be schemas in the value of a keyword."""
    if keyword in ("enum", "const", "default"):
        return []
    if keyword in ("properties", "patternProperties", "definitions"):
        return value.values()
    return value if isinstance(value, list) else [value]


def json_path(parts):
    """['jobs', 'a b', 0] -> $.jobs["a b"][0]"""
    path = "$"
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.replace("-", "_").isidentifier():
            path += f".{part}"
        else:
            path += f"[{json.dumps(part, ensure_ascii=False)}]"
    return path


# --- why a document is refused

WRONG_TYPE = 100  # how badly a branch misses whose type is wrong: more than by any keys


class Reason(NamedTuple):
    """One thing that the schema did not find as it wanted."""

    path: list
    message: str


def why_invalid(document):
    """EncodeError for a document that the validator refuses: the JSON path, and what was wanted.

    A failed oneOf or anyOf has one list of errors for each branch; the branch that the author most
    likely meant is the one whose own level fits best (right type, fewest unknown and missing keys),
    and the reason is that branch's deepest error.
    """
    path, message = deepest(validator.iter_errors(document))
    message = message.replace("\n", "\\n").replace("\r", "\\r")
    if len(message) >= 400:
        message = f"{message[:190]} ... {message[-200:]}"
    where = json_path(path)
    return EncodeError(message, where, in_general(where, message))


def in_general(where, problem):
    """The kind of an error: without names of jobs, numbers of steps and the document's values."""
    where = re.sub(r'^\$\.jobs(\.[\w-]+|\["[^]]*"\])', "$.jobs.*", where)
    where = re.sub(r"\[\d+\]", "[]", where)
    problem = re.sub(r"^.* (is not|has) ", r"... \1 ", problem, flags=re.DOTALL)
    return f"{where}: {problem}"


def deepest(errors):
    """The Reason whose path is the longest; the first of several."""
    return max([reason_of(error) for error in errors], key=lambda reason: len(reason.path))


def reason_of(error):
    branches = getattr(error.kind, "context", [])  # the errors of each branch of oneOf or anyOf
    if not branches or not any(branches):
        return Reason(error.instance_path, error.message)
    if not all(branches):  # more than one fits
        return Reason(error.instance_path, only_one_of(error, branches) or error.message)
    depth = len(error.instance_path)
    best = min(branches, key=lambda branch: misfit(branch, depth))
    if misfit(best, depth) < WRONG_TYPE:
        return deepest(best)
    # all branches are of another type: what the value may be is said best by naming all of them
    wanted = {}  # for their order
    for branch in branches:
        for e in branch:
            if misfit([e], depth) >= WRONG_TYPE:
                wanted[e.message.rpartition(" is not ")[2]] = None
    shown = json.dumps(error.instance, ensure_ascii=False)
    return Reason(error.instance_path, f"{shown:.60} is not " + " or ".join(wanted))


def misfit(errors, depth):
    """How badly a branch with these errors misses at its own level, `depth` keys down."""
    total = 0
    for error in errors:
        if len(error.instance_path) > depth:
            continue
        if error.kind.name in ("type", "constant", "enum"):
            total += WRONG_TYPE
        else:
            total += min(WRONG_TYPE - 1, len(getattr(error.kind, "unexpected", " ")))
    return total


def only_one_of(error, branches):
    """The message for keys that exclude each other; None where branches ask for fewer than two."""
    options = SCHEMA
    for part in error.schema_path:
        options = options[part]
    keys = []
    for option, errors in zip(options, branches, strict=False):
        if not errors:
            keys += option.get("required", [])
    if len(keys) < 2:
        return None
    return f"only one of {', '.join(map(json.dumps, keys))} may be there"
