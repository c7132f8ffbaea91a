"""Small workflows and expressions, good and damaged, for check() and the matcher; all made up here.

    python -m tct_github_workflow.tests.github_cases node_modules

asks GitHub's own parser which of them it takes (node, and in that folder the npm packages
@actions/workflow-parser 0.3.61 and esbuild), and writes github_verdicts.jsonl.gz beside this file:
{"workflow": {...}, "accepted": true} or {"expression": "...", "place": "step-if", "accepted": ...}
a line. So the tests need neither.
"""

import copy
import gzip
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tct_github_workflow.definitions import definitions
from tct_github_workflow.yaml_writer import json_to_yaml

FILE = Path(__file__).parent / "github_verdicts.jsonl.gz"
SCRIPT = Path(__file__).parent / "github_verdicts.mjs"
N_WORKFLOWS = 3_000
N_EXPRESSIONS = 5_000
SEED = 13
BUNDLE = (
    "--bundle",
    "--platform=node",
    "--format=esm",
    "--log-level=error",
    "--banner:js=import{createRequire}from'module';const require=createRequire(import.meta.url);",
)

# Places with contexts of their own, each in a workflow below
PLACES = (
    "run-name",
    "workflow-env",
    "workflow-output-context",
    "workflow-call-input-default",
    "strategy",
    "job-if",
    "job-env",
    "step-if",
    "step-env",
    "string-runner-context-no-secrets",
    "container-registry-credentials",
)

WORKFLOWS = (
    {
        "name": "Build",
        "run-name": "${{ github.actor }} builds ${{ inputs.target }}",
        "on": {
            "push": {"branches": ["main"], "tags-ignore": ["v0.*"]},
            "pull_request": {"types": ["opened", "synchronize"], "paths": ["src/**"]},
            "schedule": [{"cron": "15 4 * * mon-fri"}, {"cron": "*/10 0-6,22 1 jan,jul 0"}],
            "workflow_dispatch": {
                "inputs": {
                    "target": {"type": "choice", "options": ["a", "b"], "default": "a"},
                    "dry": {"type": "boolean", "default": True, "required": False},
                    "count": {"type": "number", "default": 3},
                    "where": {"type": "environment", "description": "where"},
                    "note": {"default": "none"},
                }
            },
        },
        "permissions": {"contents": "read", "id-token": "write"},
        "env": {"LEVEL": 3, "TOKEN": "${{ secrets.TOKEN }}", "EMPTY": ""},
        "defaults": {"run": {"shell": "bash", "working-directory": "src"}},
        "concurrency": {"group": "build-${{ github.ref }}", "cancel-in-progress": True},
        "jobs": {
            "test": {
                "name": "Test on ${{ matrix.os }}",
                "runs-on": "${{ matrix.os }}",
                "if": "github.event_name != 'schedule' || inputs.dry",
                "timeout-minutes": 30,
                "continue-on-error": "${{ matrix.os == 'windows-latest' }}",
                "strategy": {
                    "fail-fast": False,
                    "max-parallel": "${{ fromJSON(vars.PARALLEL) }}",
                    "matrix": {
                        "os": ["ubuntu-latest", "windows-latest"],
                        "python": [3.9, "3.13"],
                        "include": [{"os": "macos-latest", "extra": True}],
                        "exclude": [{"os": "windows-latest", "python": 3.9}],
                    },
                },
                "env": {"DIR": "${{ matrix.python }}/${{ github.sha }}"},
                "outputs": {"version": "${{ steps.version.outputs.text }}"},
                "steps": [
                    {"uses": "actions/checkout@v4", "with": {"fetch-depth": 0}},
                    {"id": "version", "run": "echo text=1 >> $GITHUB_OUTPUT", "shell": "bash"},
                    {
                        "name": "Run ${{ matrix.python }}",
                        "if": "${{ always() && steps.version.outcome == 'success' }}",
                        "run": "make test\nmake ${{ inputs.target }} OUT='${{ env.DIR }}'\n",
                        "env": {"HASH": "${{ hashFiles('**/lock', 'x') }}"},
                        "timeout-minutes": "${{ fromJSON('5') }}",
                        "working-directory": "${{ runner.temp }}",
                    },
                ],
            },
            "publish": {
                "needs": "test",
                "runs-on": {"group": "org/large", "labels": ["self-hosted", "linux"]},
                "environment": {"name": "web", "url": "https://x.org/${{ steps.put.outputs.id }}"},
                "permissions": "read-all",
                "steps": [
                    {"id": "put", "uses": "./.github/actions/put", "with": {"to": "there"}},
                    {"uses": "docker://alpine:3", "continue-on-error": True},
                    {"if": "failure()", "run": "echo ${{ needs.test.outputs.version }}"},
                ],
            },
        },
    },
    {
        "on": {
            "workflow_call": {
                "inputs": {
                    "name": {"type": "string", "required": True},
                    "ref": {"type": "string", "default": "${{ github.ref }}"},
                    "debug": {"type": "boolean", "default": False},
                },
                "secrets": {"token": {"required": True}, "other": {"description": "x"}},
                "outputs": {"id": {"value": "${{ jobs.inner.outputs.id }}", "description": "id"}},
            }
        },
        "jobs": {
            "inner": {
                "runs-on": ["self-hosted", "${{ inputs.name }}"],
                "container": {
                    "image": "node:20",
                    "credentials": {"username": "me", "password": "${{ secrets.token }}"},
                    "env": {"NODE_ENV": "test"},
                    "ports": [80, "8080:80"],
                    "volumes": ["/data:/data"],
                    "options": "--cpus 1",
                },
                "services": {
                    "redis": {"image": "redis", "ports": ["6379:6379"]},
                    "cache": {"image": "${{ inputs.name }}", "env": {"A": "b"}},
                },
                "outputs": {"id": "${{ steps.a.outputs.id }}"},
                "defaults": {"run": {"working-directory": "x"}},
                "steps": [{"id": "a", "run": "true"}, {"id": "b-2", "run": "false"}],
            },
            "other": {
                "needs": ["inner"],
                "if": "always() && needs.inner.result != 'skipped'",
                "uses": "./.github/workflows/other.yml",
                "with": {"text": "${{ needs.inner.outputs.id }}", "number": 5, "flag": True},
                "secrets": {"token": "${{ secrets.token }}"},
            },
            "last": {
                "needs": ["inner", "other"],
                "uses": "a/b/.github/workflows/c.yml@v1",
                "secrets": "inherit",
                "strategy": {"matrix": {"x": "${{ fromJSON(needs.inner.outputs.list) }}"}},
                "concurrency": "one-${{ matrix.x }}",
            },
        },
    },
    {
        "on": ["push", "pull_request"],
        "concurrency": "only",
        "jobs": {
            "a": {"runs-on": "ubuntu-latest", "steps": [{"run": "echo ${{ github.ref }}"}]},
            "b": {"needs": "a", "runs-on": "x", "container": "alpine", "environment": "prod"},
            "c": {"needs": ["a", "b"], "runs-on": "x", "strategy": "${{ fromJSON('{}') }}"},
            "d": {"runs-on": "x", "strategy": {"matrix": "${{ fromJSON(vars.M) }}"}},
            "e": {"runs-on": "x", "if": "${{ !cancelled() }} ", "services": {}},
        },
    },
    {"on": "push", "jobs": {"a": {"runs-on": "x", "steps": [{"uses": "o/r/p@main"}]}}},
)

OPERANDS = (
    "github.ref env.A inputs.x secrets.T vars.V needs.a.outputs.b steps.a.outputs.y matrix.os "
    "runner.os job.status strategy.job-index jobs.a.result github github['ref'] github.*.x "
    "steps.*.outcome GitHub.Ref nothing.x 's' '' 'it''s' '}}' '${{' 1 -2.5 .5 0x1f 1e3 true null "
    "NaN Infinity True -0x1"
).split()
FUNCTIONS = (
    "contains startsWith ENDSWITH format fromJSON toJson join hashFiles always success failure "
    "cancelled case nothing"
).split()
OPERATORS = ("&&", "||", "==", "!=", "<", "<=", ">", ">=")
PIECES = (
    "( ) [ ] , . ! = < > & | * ' \" { } $ - + 0 1 a e N I # / : ${{ }} '' && || == github true "
    "null NaN 0x insert contains( steps. [*] .* é success()"
).split() + [" ", "\n", "\t", "\u00a0", "\u2028"]
VALUES = (
    None, True, False, 5, 3.1, "", "x", [], {}, ["x"], {"x": "y"}, "${{ github.ref }}", "true",
    "5", "${{ 'text' }}", "a ${{ github.sha }} b", "${{ fromJSON('[]') }}", "${{ insert }}", [""],
    [None],
    ["${{ github.x }}"], "read", "none", "inherit", "${{ '' }}", "__a", "a" * 100, "a" * 99, "1a",
    "${{ env.X }}", "${{ secrets.S }}", "${{ hashFiles('a') }}", "org/x", "a/b", "a/b/c", "${{ }}",
)  # fmt: skip
KEYS = (
    "x uses run with env name on if needs ${{insert}} ${{github.x}} ${{'a'}} shell queue default "
    "options type group runs-on secrets id image cron matrix include exclude services"
).split() + [""]
IDS = ("test", "inner", "a", "b", "x", "A", "a.b", "__x", "1a", "-a", "a" * 99, "a" * 100, "é")
CRON_PIECES = ["*", "/", "-", ",", " ", "  ", "0", "5", "59", "60", "mon", "FRI", "jan", "L", "\t"]


class Maker:
    """Makes cases at random, the same ones for the same seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    # --- expressions ---

    def expression(self, depth=0):
        """An expression that is mostly well formed."""
        pick = self.random.random()
        if depth > 3 or pick < 0.35:
            return self.random.choice(OPERANDS)
        if pick < 0.55:
            operator = self.random.choice(OPERATORS)
            return f"{self.expression(depth + 1)} {operator} {self.expression(depth + 1)}"
        if pick < 0.65:
            return "!" + self.expression(depth + 1)
        if pick < 0.75:
            return f"({self.expression(depth + 1)})" + self.random.choice(["", ".x", "[0]", ".*"])
        if pick < 0.9:
            return self.call(depth)
        access = self.random.choice([".x", "['k']", f"[{self.expression(depth + 1)}]", ".*"])
        return self.expression(depth + 1) + access

    def call(self, depth):
        n_args = self.random.choice([0, 1, 1, 2, 2, 3])
        arguments = ", ".join([self.expression(depth + 1) for _ in range(n_args)])
        after = self.random.choice(["", "", ".x", "[1]"])
        return f"{self.random.choice(FUNCTIONS)}({arguments}){after}"

    def nested(self):
        """An expression about as deep as GitHub's parser lets it be."""
        n = self.random.randint(44, 54)
        before, after = self.random.choice(
            [("(", ")"), ("!", ""), ("github[", "]"), ("join(1,", ")"), ("", ".x"), ("(1&&", ")")]
        )
        return before * n + "github" + after * n

    def damaged(self, text, pieces):
        """A text with up to three characters put in, taken out or replaced."""
        for _ in range(self.random.choice([1, 1, 2, 3])):
            i = self.random.randint(0, len(text))
            n_removed = self.random.choice([0, 0, 1, 2])
            added = self.random.choice(pieces) if n_removed < 2 else ""
            text = text[:i] + added + text[i + n_removed :]
        return text

    def any_expression(self):
        pick = self.random.random()
        if pick < 0.03:
            return self.nested()
        if pick < 0.45:
            return self.expression()
        if pick < 0.75:
            return self.damaged(self.expression(), PIECES)
        return "".join(self.random.choices(PIECES + list(OPERANDS), k=self.random.randint(1, 7)))

    # --- workflows ---

    def workflow(self):
        """One of WORKFLOWS with up to three changes."""
        workflow = copy.deepcopy(self.random.choice(WORKFLOWS))
        for _ in range(self.random.choice([0, 1, 1, 1, 2, 3])):
            self.change(workflow)
        return workflow

    def change(self, workflow):
        container, key = self.random.choice(list(entries(workflow)))
        value = container[key]
        pick = self.random.random()
        if key == "cron" and pick < 0.8:
            container[key] = self.damaged(value, CRON_PIECES) if isinstance(value, str) else value
        elif key in ("needs", "id") and pick < 0.8:
            container[key] = self.random.choice([self.random.choice(IDS), ["a", "inner"]])
        elif isinstance(value, str) and pick < 0.45:
            container[key] = self.changed_text(value)
        elif pick < 0.65:
            container[key] = copy.deepcopy(self.random.choice(VALUES))
        elif pick < 0.75:
            del container[key]
        elif isinstance(container, dict):
            new = self.random.choice([*KEYS, str(key).upper(), str(key).swapcase()])
            container[new] = copy.deepcopy(self.random.choice([value, *VALUES]))
        else:
            container.append(copy.deepcopy(value))

    def changed_text(self, text):
        """A text with an expression, or damage to the expressions that it has."""
        if "${{" in text or text.endswith(")"):
            return self.damaged(text, PIECES)
        form = self.random.choice(
            ["${{ %s }}", "${{%s}}", "x ${{ %s }}", "${{ %s }} ${{ 1 }}", "%s"]
        )
        return form % self.any_expression()


def entries(value):
    """(container, key or index) of all that is in a document."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from entries(value[key])


def make_cases():
    """list of {"workflow": ...} and {"expression": ..., "place": ...}, the same each time."""
    maker = Maker(SEED)
    cases = [{"workflow": workflow} for workflow in WORKFLOWS]
    while len(cases) < N_WORKFLOWS:
        cases.append({"workflow": maker.workflow()})
    for _ in range(N_EXPRESSIONS):
        place = maker.random.choice(PLACES)
        cases.append({"expression": maker.any_expression(), "place": place})
    return cases


def read_cases():
    """make_cases() with the verdicts of GitHub's parser, "accepted", as stored."""
    with gzip.open(FILE, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def ask_github(cases, node_modules):
    """Whether GitHub's parser takes each case: list of bool."""
    # Node looks for packages above the script.
    with tempfile.TemporaryDirectory(dir=Path(node_modules).parent) as folder:
        questions = Path(folder, "questions.jsonl")
        with open(questions, "w", encoding="utf-8") as f:
            for case in cases:
                print(json.dumps(question(case)), file=f)
        script = Path(folder, SCRIPT.name)
        script.write_bytes(SCRIPT.read_bytes())
        bundle = Path(folder, "bundle.mjs")  # the packages import JSON as node does not take it
        esbuild = Path(node_modules, ".bin", "esbuild")
        subprocess.run([esbuild, script, f"--outfile={bundle}", *BUNDLE], check=True)
        answer = subprocess.run(["node", bundle, questions], check=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in answer.stdout.splitlines()]


def question(case):
    if "workflow" in case:
        return {"text": json_to_yaml(json.dumps(case["workflow"]))}
    return {"expression": case["expression"], "context": definitions()[case["place"]]["context"]}


def main(node_modules):
    cases = make_cases()
    verdicts = ask_github(cases, node_modules)
    with open(FILE, "wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as f:
        for case, accepted in zip(cases, verdicts, strict=True):
            f.write(json.dumps(case | {"accepted": accepted}).encode() + b"\n")
    print(f"{len(cases):,} cases, {sum(verdicts):,} accepted: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
