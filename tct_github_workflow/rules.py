"""The rules that a workflow is held to: SchemaStore's schema, and GitHub's own besides.

"schema"      what SchemaStore's schema allows
"github"      what GitHub's parser accepts, too: github_rules.json, which derive_rules.py makes
"references"  besides, names in expressions resolve: steps.x, needs.x, matrix.x, inputs.x, jobs.x
"clean"       without what GitHub takes and nobody means, too: clean_rules.json, changes to
              github_rules.json as a JSON Patch, each with its reason (actionlint names the same)
"""

import copy
import functools
import json
from pathlib import Path

from .expressions import ExpressionText
from .schema import SCHEMA, apply_patch

NAMES = ("schema", "github", "references", "clean")
DEFAULT_RULES = "references"
GITHUB_FILE = Path(__file__).parent / "github_rules.json"
CLEAN_FILE = Path(__file__).parent / "clean_rules.json"


@functools.cache
def github_rules():
    """The content of github_rules.json."""
    return json.loads(GITHUB_FILE.read_bytes())


@functools.cache
def expression_text(place, kind, is_clean=False):
    """The one automaton of strings with expressions of a place of github_rules.json.

    is_clean: by the rules "clean".
    """
    place = github_rules()["places"][place]
    functions = place["functions"]
    more_functions = {}
    for other in github_rules()["places"].values():
        theirs = other["functions"]
        shared = functions.keys() & theirs.keys()
        if all(functions[name] == theirs[name] for name in shared):
            more_functions = {**theirs, **more_functions}
    return ExpressionText(place["contexts"], functions, kind, more_functions, is_clean)


def schema_of(rules):
    """The JSON schema, with the keywords of derive_rules.py, that a name in NAMES stands for."""
    if rules == "schema":
        return SCHEMA
    github = github_rules()
    if rules == "clean":
        github = copy.deepcopy(github)
        apply_patch(github, json.loads(CLEAN_FILE.read_bytes()))
        mark_clean(github["definitions"])
    both = [*SCHEMA.get("allOf", ()), {"$ref": github["root"]}]
    definitions = {**SCHEMA["definitions"], **github["definitions"]}
    return {**SCHEMA, "definitions": definitions, "allOf": both}


def mark_clean(schema):
    """Says of all expressions in a schema that they are those of clean_syntax.py."""
    children = schema if isinstance(schema, list) else schema.values()
    for child in children:
        if isinstance(child, (dict, list)):
            mark_clean(child)
    if isinstance(schema, dict) and {"place", "kind"} <= schema.keys():
        schema["is_clean"] = True
