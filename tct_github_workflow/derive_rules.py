"""Makes github_rules.json, GitHub's own rules for workflows, from GitHub's definitions.

    python -m tct_github_workflow.derive_rules node_modules/@actions/workflow-parser

Reads:  the installed npm package @actions/workflow-parser (MIT), its package.json and LICENSE, and
        in it dist/workflow-v1.0.min.json, GitHub's definitions
Writes: tct_github_workflow/github_rules.json

The definitions say which keys, kinds of value and expressions GitHub's parser reads in each place.
What its second pass and GitHub's servers check besides (ids, needs, cron, inputs, uses, groups,
matrices, mappings that must not be an expression) is added here. The result is a JSON schema with
four keywords more:

    expr    {"place": a name in "places", "kind": see situations.py}: a string in which
            expressions are read
    exprKeys  the same of the keys of an object that hold an expression
    role    "jobs" of the mapping of jobs, "needs" of a job's name in `needs`, "step-id" of a step's
            id: rules between names (and their length, 99 at most) that the matcher knows
    cron    true: five fields that GitHub's parser reads

A definition is named github: and GitHub's name; @place is added where it depends on the contexts.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

from .alphabet import CONSTANT, KEY

OUTPUT = Path(__file__).parent / "github_rules.json"
DEFINITIONS = "dist/workflow-v1.0.min.json"
ROOT = "workflow-root-strict"
KINDS = (
    "null",
    "boolean",
    "number",
    "string",
    "sequence",
    "mapping",
    "one-of",
    "allowed-values",
)
BUILT_IN = {
    "null": {"null": {}},
    "boolean": {"boolean": {}},
    "number": {"number": {}},
    "string": {"string": {}},
    "sequence": {"sequence": {"item-type": "any"}},
    "mapping": {"mapping": {"loose-key-type": "string", "loose-value-type": "any"}},
    "any": {"one-of": ["null", "boolean", "number", "string", "sequence", "mapping"]},
}
MANY = 1 << 20  # GitHub's MAX
OPENING = r"\$\{\{"
NO_EXPRESSION = {"type": "string", "not": {"pattern": OPENING}}
ID = {
    "type": "string",
    "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$",
    "allOf": [{"not": {"pattern": "^__"}}],
}
# what the runner takes for an action: docker://image, ./path, or owner/repository[/path]@ref
ACTION = r"^(?:docker://.*|\./.*|\.\\.*|\$/.*|[/\\]*[^@/\\]+[/\\]+[^@/\\][^@]*@[^@]+)$"
RUNNER_GROUP = r"^(?:[^/]*|(?:org|organization|ent|enterprise)/[^/]+)$"
# behind a switch of GitHub's that is off
LATER_STEPS = ("wait-step", "wait-all-step", "cancel-step", "parallel-step")
LATER_KEYS = ("background", "parallel")
PLAIN_KEYS = ("services",)  # mappings in which no key is an expression
# kinds of text that are not as GitHub's definitions have them: of a group the length counts, of a
# matrix whether there is an expression in it
KIND_OF_TEXT = {"workflow-concurrency": "group", "job-concurrency": "group", "any": "traced"}
# mappings that must not be an expression as a whole: (mapping, key)
PLAIN_MAPPINGS = {
    ("run-step", "env"),
    ("regular-step", "env"),
    ("job-factory", "env"),
    ("job-factory", "outputs"),
    ("job-factory", "services"),
    ("workflow-job", "with"),
    ("workflow-job", "secrets"),
}


class Deriver:
    """GitHub's definitions -> a JSON schema, definition by definition, from the root."""

    def __init__(self, definitions):
        self.github = {**BUILT_IN, **definitions}
        self.places = {}  # name -> {"contexts", "functions"}
        self.place_names = {}  # contexts as GitHub lists them -> name
        self.schema = {}  # the definitions of the result

    def reference(self, name, context=(), plain=False):
        """A $ref to the schema of a definition within a context.

        plain: a mapping here must not be an expression as a whole.
        """
        context = self.within(context, name)
        key = "github:" + name  # apart from SchemaStore's definitions
        if context:
            key += "@" + self.place(context, name)
        if plain:
            key += " plain"
        if key not in self.schema:
            self.schema[key] = None  # a definition may hold itself
            self.schema[key] = self.build(name, context, plain)
        return {"$ref": f"#/definitions/{key}"}

    def within(self, context, name):
        """The contexts and functions in a definition: its own and those around it."""
        own = self.github[name].get("context", ())
        return tuple(dict.fromkeys((*context, *own))) if own else context

    def place(self, context, name):
        """The name of a list of contexts and functions: the definition that first has it."""
        if context not in self.place_names:
            contexts = []
            functions = {}
            for item in context:
                call = re.fullmatch(r"(\w+)\((\d+),(\d+|MAX)\)", item)
                if call:
                    most = MANY if call[3] == "MAX" else int(call[3])
                    functions[call[1]] = [int(call[2]), most]
                else:
                    contexts.append(item)
            self.place_names[context] = name
            self.places[name] = {"contexts": contexts, "functions": functions}
        return self.place_names[context]

    def expression(self, context, name, kind):
        return {"type": "string", "expr": {"place": self.place(context, name), "kind": kind}}

    def text(self, context, name, nonempty=False):
        """Any text, with expressions in it where the place has some."""
        if context:
            kind = "some" if nonempty else "text"
            return self.expression(context, name, KIND_OF_TEXT.get(name, kind))
        return {**NO_EXPRESSION, **({"minLength": 1} if nonempty else {})}

    # --- one definition ---------------------------------------------------------------------------
    def build(self, name, context, plain):
        special = getattr(self, "build_" + name.replace("-", "_"), None)
        if special:
            return special(name, context)
        alternatives = self.scalars(name, context)
        is_whole = context and not plain and not self.strings(name)
        if is_whole:
            alternatives.append(self.expression(context, name, "whole"))
        for sequence in self.of_kind(name, "sequence"):
            items = self.github[sequence]["sequence"]["item-type"]
            items = self.reference(items, self.within(context, sequence))
            alternatives.append({"type": "array", "items": items})
        for mapping in self.of_kind(name, "mapping"):
            if mapping not in LATER_STEPS:
                alternatives.append(self.mapping(mapping, self.within(context, mapping)))
        return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}

    def kind(self, name):
        return next(kind for kind in KINDS if kind in self.github[name])

    def of_kind(self, name, kind):
        """The definitions of a kind that this one is, or is one of."""
        names = self.github[name].get("one-of", [name])
        return [other for other in names if self.kind(other) == kind]

    def leaves(self, name):
        """[(kind, its definition)] of all scalars that a definition allows."""
        definition = self.github[name]
        if "one-of" in definition:
            leaves = []
            for other in definition["one-of"]:
                leaves += self.leaves(other)
            return leaves
        if "allowed-values" in definition:
            return [("string", {"constant": word}) for word in definition["allowed-values"]]
        return [(self.kind(name), definition[self.kind(name)])]

    def strings(self, name):
        """Definitions of strings that are no constants."""
        found = [leaf for kind, leaf in self.leaves(name) if kind == "string"]
        return [leaf for leaf in found if "constant" not in leaf]

    def scalars(self, name, context):
        """Schemas of the scalars; where any string may stand GitHub reads other scalars as one."""
        leaves = self.leaves(name)
        strings = self.strings(name)
        nonempty = bool(strings) and all(leaf.get("require-non-empty") for leaf in strings)
        kinds = {kind for kind, _ in leaves}
        found = []
        if "null" in kinds or (strings and not nonempty):
            found.append({"type": "null"})
        for kind in ("boolean", "number"):
            if kind in kinds or strings:
                found.append({"type": kind})
        words = [leaf["constant"] for kind, leaf in leaves if "constant" in leaf]
        found += self.words(words)
        if strings:
            found.append(self.text(context, name, nonempty))
        return found

    def words(self, words):
        """Schemas of some words: those that have a symbol, the others as a pattern."""
        found = []
        constants = [word for word in dict.fromkeys(words) if word in CONSTANT]
        others = [re.escape(word) for word in dict.fromkeys(words) if word not in CONSTANT]
        if constants:
            found.append({"enum": constants})
        if others:
            found.append({"type": "string", "pattern": f"^(?:{'|'.join(others)})$"})
        return found

    def mapping(self, name, context):
        mapping = self.github[name]["mapping"]
        properties, patterns, required = self.named_keys(name, context)
        others = False
        text = None  # of keys with expressions
        if "loose-key-type" in mapping:
            others = self.reference(mapping["loose-value-type"], context)
            if context and name not in PLAIN_KEYS:
                text = self.expression(context, name, "has")["expr"]
                if properties:  # GitHub does not know which of the keys it will be
                    patterns[OPENING] = self.reference("any", context)
            else:
                patterns[OPENING] = False
            leaves = self.strings(mapping["loose-key-type"])
            if all(leaf.get("require-non-empty") for leaf in leaves):
                patterns["^$"] = False
        return without_empty(
            type="object",
            properties=properties,
            patternProperties=patterns,
            additionalProperties=others,
            exprKeys=text,
            required=required,
        )

    def named_keys(self, name, context):
        """(properties, patternProperties, required) for the keys that a mapping lists by name."""
        properties = {}
        patterns = {}
        required = []
        for key, value in self.github[name]["mapping"].get("properties", {}).items():
            if key in LATER_KEYS:
                continue
            value = {"type": value} if isinstance(value, str) else value
            plain = (name, key) in PLAIN_MAPPINGS
            schema = self.reference(value["type"], context, plain)
            if key in KEY:
                properties[key] = schema
            else:
                patterns[f"^{re.escape(key)}$"] = schema
            if value.get("required"):
                required.append(key)
        if name in ("container-mapping", "service-container-mapping"):
            required.append("image")
        if name == "runs-on-mapping":
            properties["group"] = self.runner_group(context)
        if name == "concurrency-mapping":
            properties["group"] = self.concurrency_group(context)
        return properties, patterns, required

    # --- what GitHub's second pass asks besides ---------------------------------------------------
    def build_jobs(self, name, context):
        job = self.reference("job", context)
        patterns = {ID["pattern"]: job, "^__": False}
        return {
            "type": "object",
            "role": "jobs",
            "patternProperties": patterns,
            "additionalProperties": False,
        }

    def build_step_id(self, name, context):
        return {**ID, "role": "step-id"}

    def build_needs(self, name, context):
        job = {**ID, "role": "needs"}
        return {"anyOf": [{"type": "array", "items": job}, job]}

    def build_cron_pattern(self, name, context):
        return {"type": "string", "cron": True}

    def build_step_uses(self, name, context):
        return {**NO_EXPRESSION, "pattern": ACTION}

    def build_condition(self, name, context):
        literals = [{"type": "boolean"}, {"type": "number"}, {"type": "null"}]
        kinds = [self.expression(context, name, kind) for kind in ("bare", "has")]
        return {"anyOf": literals + kinds}

    build_job_if = build_step_if = build_snapshot_if = build_condition

    def runner_group(self, context):
        """A group of runners: of an organization or enterprise if there is a slash."""
        literals = [{"type": "boolean"}, {"type": "number"}]
        group = {**NO_EXPRESSION, "minLength": 1, "pattern": RUNNER_GROUP}
        return {"anyOf": [*literals, group, self.expression(context, "runs-on-mapping", "has")]}

    def concurrency_group(self, context):
        group = self.expression(context, "concurrency-mapping", "group")
        return {"anyOf": [{"type": "boolean"}, {"type": "number"}, group]}

    def build_matrix(self, name, context):
        """It has a key or include; what it excludes has keys (its own: matrix_rows.py)."""
        whole = self.expression(context, name, "whole")
        matrix = self.mapping(name, context)
        exclude = self.reference("matrix-filter", context)
        some_keys = {"items": {"minProperties": 1}}
        matrix["patternProperties"]["^exclude$"] = {"allOf": [exclude, some_keys]}
        matrix["anyOf"] = [{"not": {"required": ["exclude"]}}, {"minProperties": 2}]
        return {"anyOf": [whole, matrix]}

    def build_workflow_dispatch_input(self, name, context):
        text = [{"type": "null"}, NO_EXPRESSION]
        return self.inputs(name, context, text, [], {"string", "environment"}, {"choice"})

    def build_workflow_call_input_definition(self, name, context):
        default = "workflow-call-input-default"
        context_of_default = self.within(context, default)
        text = [{"type": "null"}, self.text(context_of_default, default)]
        whole = [self.expression(context_of_default, default, "whole")]
        return self.inputs(name, context, text, whole, {"string"}, set())

    def inputs(self, name, context, text, whole, text_types, choice_types):
        """The default is of the type; options are there for a choice and for nothing else."""
        scalar = [{"type": "boolean"}, {"type": "number"}, *text]
        alternatives = [
            self.input(name, context, sorted(text_types), text),
            self.input(name, context, ["boolean"], [{"type": "boolean"}, *whole]),
            self.input(name, context, ["number"], scalar),
        ]
        if choice_types:
            alternatives.append(self.input(name, context, sorted(choice_types), text, True))
            alternatives.append(self.input(name, context, [], text))
        return {"anyOf": alternatives}

    def input(self, name, context, types, default, has_options=False):
        properties = {}
        for key, value in self.github[name]["mapping"]["properties"].items():
            value = value if isinstance(value, str) else value["type"]
            if key not in ("type", "default", "options"):
                properties[key] = self.reference(value, context)
        properties["type"] = {"enum": types} if types else False
        properties["default"] = {"anyOf": default}
        properties["options"] = False
        required = ["type"] if types else []
        if has_options:
            items = self.reference("string")
            properties["options"] = {"type": "array", "items": items, "minItems": 1}
            required.append("options")
        return without_empty(
            type="object", properties=properties, additionalProperties=False, required=required
        )


def without_empty(**schema):
    """A schema without the keywords that say nothing; False says something."""
    return {word: value for word, value in schema.items() if value or value is False}


def derive(package):
    """The rules as a dict. Raises ValueError if the folder is not the npm package."""
    package = Path(package)
    try:
        text = (package / DEFINITIONS).read_bytes()
        about = json.loads((package / "package.json").read_text())
        notice = (package / "LICENSE").read_text()
        definitions = json.loads(text)["definitions"]
    except (OSError, ValueError, KeyError) as error:
        hint = "install it by `npm install @actions/workflow-parser`"
        what = "not the npm package @actions/workflow-parser"
        raise ValueError(f"{package}: {what} ({error}): {hint}") from None
    deriver = Deriver(definitions)
    root = deriver.reference(ROOT)
    origin = {
        "package": about["name"],
        "version": about["version"],
        "file": DEFINITIONS,
        "sha256": hashlib.sha256(text).hexdigest(),
        "license": about["license"],
        "notice": " ".join(notice.split()),
        "made by": "python -m tct_github_workflow.derive_rules",
    }
    return {
        "origin": origin,
        "places": deriver.places,
        "root": root["$ref"],
        "definitions": deriver.schema,
    }


def dumps(rules):
    """JSON with a line for each place and definition, so that a change shows."""
    parts = []
    for name, part in rules.items():
        if isinstance(part, dict):
            lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in part.items()]
            part = "{\n" + ",\n".join(lines) + "\n }"
        else:
            part = json.dumps(part)
        parts.append(f" {json.dumps(name)}: {part}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments):
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, end="")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        rules = derive(arguments[0])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    OUTPUT.write_text(dumps(rules))
    origin = rules["origin"]
    print(f"{OUTPUT.name}: {len(rules['definitions'])} definitions, {len(rules['places'])} places,")
    print(f"from {origin['package']} {origin['version']}, {origin['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
