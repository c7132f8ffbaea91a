"""What can be said about workflows without a model: how sound one is, and how like others many are. For eval.py.

judge(data=b'on: push\n...')    (rungs of RUNGS climbed, why not further, workflow or None)
features(workflow)              its events, runners, actions, keys and kinds of steps
nearest(ids, make_index(docs))  the most similar document, among any number of them
lint(texts)                     what zizmor and actionlint say, where they are installed
"""

import collections
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

import tct_github_workflow as tct
from prepare import in_general
from tct_github_workflow import json_text, linear, vocab
from tct_github_workflow.schema import validator, why_invalid

RUNGS = ("decodes", "is JSON", "fits the schema", "sound references")


def references(workflow):
    """What is wrong with the names that a schema-valid workflow refers to: a list of 'what: example'."""
    jobs, wrong = workflow["jobs"], []
    needs = {
        name: [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        for name, job in jobs.items()
    }
    wrong += [
        f"needs names no job: {other}"
        for wanted in needs.values()
        for other in wanted
        if other not in jobs
    ]
    waiting = {name: set(wanted) & set(jobs) for name, wanted in needs.items()}
    while ready := {name for name, wanted in waiting.items() if not wanted}:  # Kahn's algorithm
        waiting = {name: wanted - ready for name, wanted in waiting.items() if name not in ready}
    wrong += [f"needs form a cycle: {', '.join(waiting)}"] if waiting else []
    for name, job in jobs.items():
        ids = [step["id"].lower() for step in job.get("steps", []) if "id" in step]
        wrong += [
            f"a step id twice in a job: {i}" for i, n in collections.Counter(ids).items() if n > 1
        ]
        known = {"steps": ids, "needs": [n.lower() for n in needs[name]]}
        used, todo = set(), [("", job)]
        while todo:
            key, value = todo.pop()
            if isinstance(value, (dict, list)):
                todo += value.items() if isinstance(value, dict) else [(key, v) for v in value]
            elif isinstance(value, str):
                for expression in re.findall(r"\$\{\{(.*?)\}\}", value, re.S) + [value] * (
                    key == "if" and "${{" not in value
                ):
                    expression = re.sub(
                        r"\[\s*'([\w-]+)'\s*\]", r".\1", expression.lower()
                    )  # steps['a'] is steps.a
                    expression = re.sub(
                        r"'(?:[^']|'')*'", "''", expression
                    )  # no names inside strings
                    used |= set(re.findall(r"(?<![\w.-])(steps|needs)\.([a-z_][\w-]*)", expression))
        wrong += [
            f"an expression names no {'step with an id' if context == 'steps' else 'job in needs'}: {context}.{i}"
            for context, i in sorted(used)
            if i not in known[context]
        ]
    return wrong


def judge(tokens=None, data=None):
    """(rungs of RUNGS climbed, why not further, workflow or None) of token ids, or of a file's bytes (a str: why there are none)."""
    rungs = 0
    try:
        if isinstance(data, str):
            raise tct.EncodeError(data)
        if data is not None:
            data.decode("utf-8-sig")
            rungs = 1
            text = tct.yaml_to_json(data)  # JSON is YAML
            workflow = json.loads(text)
        else:
            parsed = linear.parse(b"".join(vocab.token_bytes(tokens)).decode())
            workflow = parsed.workflow
            if not parsed.complete:
                raise tct.DecodeError("not complete")
            if parsed.rest:
                raise tct.DecodeError("goes on behind its end")
        rungs = 2
        if not validator.is_valid(workflow):
            raise why_invalid(workflow)
        if data is not None:
            tct.encode(text)
    except UnicodeDecodeError as e:
        return rungs, f"not UTF-8: {e}", None
    except ValueError as e:  # DecodeError, EncodeError
        return rungs, str(e), None
    wrong = references(workflow)
    return (3, wrong[0], workflow) if wrong else (4, None, workflow)


def ladder(judged):
    """(how many of the judge() results climb each rung, {reason: (how many stop there for it, an example)})."""
    reasons = {}
    for _, reason, _ in judged:
        if reason:
            general = (
                in_general(reason) if reason.startswith(("$", "line ")) else reason.split(": ")[0]
            )
            general = re.sub(r"'[^']*'|(?<![\w-])\d+", "...", general)
            n, example = reasons.get(general, (0, reason))
            reasons[general] = n + 1, example
    return [sum(rungs > i for rungs, *_ in judged) for i in range(len(RUNGS))], dict(
        sorted(reasons.items(), key=lambda r: -r[1][0])
    )


def action(step):
    return step["uses"].split("@")[0] if "uses" in step else None


def features(workflow):
    """What a workflow is made of: {feature: list of strings}."""
    events = workflow["on"]
    found = {
        "events": [events] if isinstance(events, str) else list(events),
        "runners": [],
        "actions": [],
        "step kinds": [],
        "keys": [],
        "keys per object": [],
    }
    for job in workflow["jobs"].values():
        if "runs-on" in job:
            found["runners"].append(
                job["runs-on"] if isinstance(job["runs-on"], str) else json.dumps(job["runs-on"])
            )
        for step in job.get("steps", []):
            found["actions"] += [action(step)] if "uses" in step else []
            found["step kinds"].append(" + ".join(sorted(step)))
    todo = [
        ("workflow", workflow)
    ]  # keys, each with the key that its object stands under; names that authors choose are left out
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            free = key in (
                "jobs",
                "env",
                "with",
                "secrets",
                "outputs",
                "inputs",
                "services",
            ) or key.startswith("matrix")
            found["keys"] += [] if free else [f"{key}.{k}" for k in value]
            found["keys per object"].append(str(len(value)))
            todo += [(f"{key}.*" if free else k, v) for k, v in value.items()]
        elif isinstance(value, list):
            todo += [(key + "[]", v) for v in value]
    return found


def shares(found, feature):
    """{value: share of all values of this feature} in a list of features(), the most frequent first."""
    counts = collections.Counter(value for f in found for value in f[feature])
    return {value: n / counts.total() for value, n in counts.most_common()}


def distance(p, q):
    """Total variation, 0 (the same) to 1 (nothing in common), of two distributions {value: share}; 1 if just one of them is empty."""
    return (
        sum(abs(p.get(value, 0) - q.get(value, 0)) for value in {*p, *q}) / 2
        if p and q
        else float(bool(p or q))
    )


def wilson(k, n):
    """95% interval of a rate k / n: en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval"""
    z = 1.959964
    middle, half = (
        (k + z * z / 2) / (n + z * z),
        z / (n + z * z) * math.sqrt(k * (n - k) / max(n, 1) + z * z / 4),
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def shingles(ids):
    """The distinct runs of 3 tokens (some 22 bytes of text), each packed into an integer."""
    ids = np.pad(np.asarray(ids, np.int64), (0, max(0, 3 - len(ids))), constant_values=vocab.PAD)
    return np.unique((ids[:-2] << 13 | ids[1:-1]) << 13 | ids[2:])


def make_index(documents):
    """For nearest(): all shingles of the documents, sorted, with their owners, and how many each document has."""
    each = [shingles(d) for d in documents]
    flat, owner = np.concatenate(each), np.repeat(np.arange(len(each)), [len(s) for s in each])
    order = np.argsort(flat, kind="stable")
    return flat[order], owner[order], np.array([len(s) for s in each])


def nearest(ids, index, but=None):
    """(likeness: Jaccard similarity of the shingles, number) of the document most like ids, other than number `but`."""
    flat, owner, sizes = index
    mine = shingles(ids)
    runs = zip(np.searchsorted(flat, mine), np.searchsorted(flat, mine, side="right"))
    shared = np.bincount(np.concatenate([owner[a:b] for a, b in runs]), minlength=len(sizes))
    likeness = shared / (len(mine) + sizes - shared)
    if but is not None:
        likeness[but] = -1
    return float(likeness.max()), int(likeness.argmax())


def originality(workflows, train, index, few, progress):
    """({figure: value}, the sample most like a training document without being one: (likeness, its number, the document's)) of workflows.

    train: ids of the training documents; index: make_index(train). few: so many of the workflows, drawn at random, are compared with
    one another, since the nearest among many is nearer than the nearest among few.
    """
    known, ids, near = {np.asarray(d, np.uint16).tobytes() for d in train}, [], []
    for workflow in workflows:
        ids.append(tct.encode(json_text.dump_json(workflow)))
        near.append(nearest(ids[-1], index))
        progress("likeness", len(ids), len(workflows))
    copy = [np.array(d, np.uint16).tobytes() in known for d in ids]
    drawn = [ids[i] for i in np.random.default_rng(0).permutation(len(ids))[:few]]
    own = make_index(drawn)
    sizes = {
        "tokens": [len(d) for d in ids],
        "jobs": [len(w["jobs"]) for w in workflows],
        "steps": [sum(len(job.get("steps", [])) for job in w["jobs"].values()) for w in workflows],
    }
    return {
        "n": len(ids),
        "exact": sum(copy),
        "over_0.8": sum(likeness > 0.8 for likeness, _ in near),
        "distinct": len(set(map(tuple, ids))),
        "nearest": float(np.median([likeness for likeness, _ in near])),
        "self": float(np.median([nearest(d, own, but=i)[0] for i, d in enumerate(drawn)]))
        if few > 1
        else None,
        "sizes": {
            k: [*np.percentile(v, (10, 50, 90)).tolist(), float(np.mean(v))]
            for k, v in sizes.items()
        },
    }, max(
        ((likeness, i, number) for i, (likeness, number) in enumerate(near) if not copy[i]),
        default=None,
    )


# ---- what others say: flags; exit codes that mean findings, where any other but 0 means that it could not do its work
LINTERS = {
    "zizmor": (["--offline", "--no-progress", "--quiet"], range(10, 15)),
    "actionlint": ([], [1]),
}


def lint(texts, progress):
    """{linter: {'version', 'findings', 'failed'}}: in how many of these YAML texts it finds fault, and how many it cannot read."""
    found, path = {}, os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    for name, (flags, codes) in LINTERS.items():
        if program := shutil.which(name, path=path):
            version = subprocess.run(
                [program, "--version"], capture_output=True, text=True
            ).stdout.split("\n")[0]
            ends = []
            with tempfile.TemporaryDirectory() as folder:
                for i, text in enumerate(texts):
                    file = os.path.join(folder, "workflow.yml")
                    with open(file, "w", encoding="utf-8") as f:
                        f.write(text)
                    ends.append(
                        subprocess.run(
                            [program, *flags, file], cwd=folder, capture_output=True
                        ).returncode
                    )
                    progress(name, i + 1, len(texts))
            found[name] = {
                "version": version,
                "findings": sum(e in codes for e in ends),
                "failed": sum(e != 0 and e not in codes for e in ends),
            }
    return found
