"""The schema: what is relaxed in the published one, and that this brings no new name."""

import json
from pathlib import Path

import tct_github_workflow as tct
from tct_github_workflow import alphabet, json_text, schema


def test_what_github_takes_beyond_the_published_schema():
    # schema_relaxed.json; the names, and so all ids, are those of the published file alone
    relaxed = {
        "description": "x",
        "on": {"push": {"branches": "main"}},
        "env": {"X": None},
        "jobs": {
            "t": {
                "runs-on": "x",
                "needs": [],
                "strategy": {"fail-fast": False},
                "steps": [{"uses": "a/b@c", "with": {"x": None}}],
            },
            "u": {"uses": "a/b/c.yml@d", "strategy": {"matrix": {"x": [{"y": None}]}}},
        },
    }
    assert tct.decode(tct.encode(json.dumps(relaxed)))[0] == json_text.dump_json(relaxed)
    assert tct.check(json.dumps(relaxed)) == []


def test_the_relaxed_schema_brings_no_new_name():
    published = json.loads(
        (Path(schema.__file__).parent / "github-workflow.schema.json").read_bytes()
    )
    for change in json.loads(schema.RELAXED_FILE.read_bytes()):
        assert change["reason"]
        schema.apply_patch(published, [change])
    assert published == schema.SCHEMA
    keys, constants = names_in(schema.SCHEMA)
    assert keys <= set(alphabet.KEYS) and constants <= set(alphabet.CONSTANTS)


def names_in(node):
    """The property names and constants of a schema."""
    keys, constants = set(), set()
    for child in node if isinstance(node, list) else node.values():
        if isinstance(child, (dict, list)):
            inner_keys, inner_constants = names_in(child)
            keys |= inner_keys
            constants |= inner_constants
    if isinstance(node, dict) and isinstance(node.get("properties"), dict):
        keys |= node["properties"].keys()
    if isinstance(node, dict) and isinstance(node.get("enum"), list):
        constants |= {constant for constant in node["enum"] if isinstance(constant, str)}
    return keys, constants
