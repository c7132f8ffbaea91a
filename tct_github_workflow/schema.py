"""The GitHub Actions workflow schema as data: its text, its names, its validator and readable reasons for a refusal.

github-workflow.schema.json is the file that SchemaStore publishes (Apache-2.0), as check-jsonschema
0.39.0 ships it, byte for byte; schema_relaxed.json lists what it refuses and GitHub takes: changes
to it as a JSON Patch (RFC 6902), each with its reason. They bring no new name, so that the alphabet,
which is made of the file's names, and all token ids stay what they are without them.
"""

import functools
import hashlib
import json
import re
from pathlib import Path

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
    """(keys, constants): every property name and every string of an `enum` or `const`, in the order
    of SchemaStore's file."""
    keys, constants = {}, {}

    def scan(node):
        if not isinstance(node, dict):
            return
        constants.update(
            dict.fromkeys(
                c for c in [*node.get("enum", []), node.get("const")] if isinstance(c, str)
            )
        )
        for word, value in node.items():
            if word in ("properties", "patternProperties", "definitions"):
                if word == "properties":
                    keys.update(dict.fromkeys(value))
                for child in value.values():
                    scan(child)
            elif word not in ("enum", "const", "default"):
                for child in value if isinstance(value, list) else [value]:
                    scan(child)

    scan(json.loads(_TEXT))
    return list(keys), list(constants)


def json_path(parts):
    """['jobs', 'a b', 0] -> $.jobs["a b"][0]"""
    return "$" + "".join(
        f"[{p}]"
        if isinstance(p, int)
        else f".{p}"
        if p.replace("-", "_").isidentifier()
        else f"[{json.dumps(p, ensure_ascii=False)}]"
        for p in parts
    )


def in_general(where, problem):
    """The kind of an error: names of jobs, numbers of steps and the document's own values left out."""
    where = re.sub(r'^\$\.jobs(\.[\w-]+|\["[^]]*"\])', "$.jobs.*", where)
    where = re.sub(r"\[\d+\]", "[]", where)
    problem = re.sub(r"^.* (is not|has) ", r"... \1 ", problem, flags=re.S)
    return f"{where}: {problem}"


def why_invalid(document):
    """EncodeError for a document that the validator refuses: the JSON path and what the schema wanted there.

    A failed oneOf or anyOf has one list of errors for each branch; the branch that the author most likely meant is the one whose
    own level fits best (right type, fewest unknown and missing keys), and the reason is that branch's deepest error.
    """

    def here(error, depth):  # how badly a branch misses at its own level
        if len(error.instance_path) > depth:
            return 0
        kind = error.kind.name
        return (
            100
            if kind in ("type", "constant", "enum")
            else min(99, len(getattr(error.kind, "unexpected", " ")))
        )

    def deepest(errors):
        found = []
        for error in errors:
            branches = [b for b in getattr(error.kind, "context", []) if b]
            depth = len(error.instance_path)
            if branches and len(branches) == len(
                error.kind.context
            ):  # none fits (else: more than one does)
                best = min(branches, key=lambda b: sum(here(e, depth) for e in b))
                # all branches are of another type: what the value may be is said best by naming all of them
                if sum(here(e, depth) for e in best) < 100:
                    found.append(deepest(best))
                    continue
                wanted = [
                    e.message.rpartition(" is not ")[2]
                    for b in branches
                    for e in b
                    if here(e, depth) >= 100
                ]
                shown = json.dumps(error.instance, ensure_ascii=False)
                found.append(
                    (
                        depth,
                        error.instance_path,
                        f"{shown:.60} is not " + " or ".join(dict.fromkeys(wanted)),
                    )
                )
            else:
                message = error.message
                if branches and not all(
                    error.kind.context
                ):  # keys of which only one may be there, as far as branches ask for keys
                    options = functools.reduce(
                        lambda node, part: node[part], error.schema_path, SCHEMA
                    )
                    keys = [
                        k
                        for option, b in zip(options, error.kind.context)
                        if not b
                        for k in option.get("required", [])
                    ]
                    message = (
                        f"only one of {', '.join(map(json.dumps, keys))} may be there"
                        if len(keys) > 1
                        else message
                    )
                found.append((depth, error.instance_path, message))
        return max(found, key=lambda f: f[0])

    _, path, message = deepest(list(validator.iter_errors(document)))
    message = message.replace("\n", "\\n").replace("\r", "\\r")
    if len(message) >= 400:
        message = f"{message[:190]} ... {message[-200:]}"
    where = json_path(path)
    return EncodeError(message, where, in_general(where, message))
