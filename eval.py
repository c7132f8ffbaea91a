"""Judge a run: has the model learnt the language of workflows, are its workflows valid, would anyone use them?

    python eval.py                                        the run in out/: a minute or two on 2 CPU cores for config/tiny.py
    python eval.py --out_dir=experiments/a --num_samples=1000
    python eval.py --samples=folder_or_jsonl              workflows from anywhere (YAML, JSON, samples.jsonl), by the same measures
    python eval.py --compare=experiments/a,experiments/b  finished evaluations side by side

Reads   out_dir/ckpt_best.pt (or ckpt.pt) and the data folder that the checkpoint names.
Writes  out_dir/results.md, results.json, looks.png, and results_nearest.md: the sample that is most like a training workflow, and that
        workflow, which is its author's and not for publishing. With --samples all are called judged...; with --compare compared.md is
        written, beside the last run's folder. The last line on stdout is the results as JSON.

Every rate stands beside the same rate for real validation workflows, by the same code: that is the ceiling. Intervals: Wilson, 95%.
"""

import collections
import importlib.util
import json
import os
import platform
import shlex
import sys
import time

import numpy as np
import torch

import tct_github_workflow as tct
from config import configure, fail
from data.judge import (
    RUNGS,
    action,
    distance,
    features,
    judge,
    ladder,
    make_index,
    originality,
    shares,
)
from data.judge import (
    lint as run_linters,
)
from data.report import code, picture, progress, rate, table, write
from data.sources import read_input
from data.windows import load as load_data
from generate import generate
from metrics.likelihood import measure_likelihood
from sample import load
from tct_github_workflow import alphabet, json_text, linear, vocab

out_dir = "out"  # the run's folder
data_dir = ""  # what prepare.py wrote; '': the folder that the run was trained on
samples = ""  # judge these workflows instead of a model: all that prepare.py reads, or sample.py's samples.jsonl or folder
compare = ""  # print the results of these run folders, comma-separated, side by side; nothing is evaluated
num_samples = 200  # workflows to sample, once constrained and once not
num_cuts = 500  # held-out workflows to complete, at most
max_new_tokens = 1024  # tokens per sample, at most
max_cut_tokens = 256  # tokens per completion, at most; what needs more counts as wrong
temperature = 0.8  # of the samples; completions are greedy
batch_size = 100  # samples at a time
seed = 1337  # of samples and cuts
lint = False  # also run zizmor (pip install zizmor) and actionlint, where they are installed
device = "auto"  # 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'

_began = time.perf_counter()  # the underscore keeps it from being a setting

# -----------------------------------------------------------------------------
# what is measured with the model


def cut(workflows, n):
    """Up to n tasks: (ids, texts, job, steps before, steps to come), cut at a seeded step of a seeded job, as long as it has steps."""
    rng, tasks = np.random.default_rng(seed), []
    ahead = lambda mapping, key: {k: mapping[k] for k in list(mapping)[: list(mapping).index(key)]}
    for i in rng.permutation(len(workflows)).tolist():
        jobs = workflows[i]["jobs"]
        names = [name for name, job in jobs.items() if len(job.get("steps", [])) > 1]
        if names and len(tasks) < n:
            name = names[rng.integers(len(names))]
            steps = jobs[name]["steps"]
            at = int(rng.integers(1, len(steps)))
            begun = {
                **ahead(workflows[i], "jobs"),
                "jobs": {
                    **ahead(jobs, name),
                    name: {**ahead(jobs[name], "steps"), "steps": steps[:at]},
                },
            }
            # The ends of steps, job, jobs and document go. The next step's opening is given as text, not as a token of its own, which
            # no training document has: encode() merges it with what follows.
            tasks.append(
                (
                    vocab.encode_symbols(linear.linearise(linear.escape(begun))[:-4]),
                    [alphabet.OBJECT.encode()],
                    name,
                    steps[:at],
                    steps[at:],
                )
            )
    return tasks


def complete(model, tasks, train):
    """Greedy next steps and rests of jobs, beside two baselines learnt from the training workflows: how many are right."""
    opened, closed = (
        np.array([sum(map(b.count, marks)) for b in vocab.vocab().bytes] + [0])
        for marks in (
            (alphabet.OBJECT.encode(), alphabet.ARRAY.encode()),
            (alphabet.CLOSE.encode(),),
        )
    )
    depth = [int((opened - closed)[ids].sum()) for ids, *_ in tasks]

    def until(i, token):
        depth[i] += int(opened[token] - closed[token])
        return depth[i] < 3  # jobs, the job and its steps are open at 3

    guesses = {
        "model": {},
        "most frequent": {},
        "most frequent after the same step": {},
    }  # each: number of the task -> (step, rest)
    for i, tokens, finish, _ in generate(
        model, [task[:2] for task in tasks], max_cut_tokens, 0.0, batch_size=32, until=until
    ):
        workflow = linear.parse(
            b"".join(vocab.token_bytes(tokens)).decode(errors="ignore")
        ).workflow
        rest = workflow["jobs"][tasks[i][2]]["steps"][len(tasks[i][3]) :]
        guesses["model"][i] = rest[0], rest if finish != "budget" else None
        progress("completing", len(guesses["model"]), len(tasks))

    say = lambda value: json.dumps(value, sort_keys=True)
    steps_after, rests_after = (
        collections.defaultdict(collections.Counter) for _ in range(2)
    )  # previous step, or None: all
    for job in (job for workflow in train for job in workflow["jobs"].values()):
        steps = job.get("steps", [])
        for j in range(1, len(steps)):
            for before in (None, say(steps[j - 1])):
                steps_after[before][say(steps[j])] += 1
                rests_after[before][say(steps[j:])] += 1
    best = lambda counter: json.loads(counter.most_common(1)[0][0]) if counter else None
    step, rest = best(steps_after[None]), best(rests_after[None])
    for i, task in enumerate(tasks):
        before = say(task[3][-1]) if say(task[3][-1]) in steps_after else None
        guesses["most frequent"][i] = step, rest
        guesses["most frequent after the same step"][i] = (
            best(steps_after[before]),
            best(rests_after[before]),
        )
    result = {"cuts": len(tasks), "uses": sum("uses" in task[4][0] for task in tasks)}
    for who, guessed in guesses.items():
        pairs = [(*guessed[i], task[4]) for i, task in enumerate(tasks)]
        result[who] = {
            "exact": sum(step == true[0] for step, _, true in pairs),
            "action": sum(
                "uses" in true[0] and action(step or {}) == action(true[0])
                for step, _, true in pairs
            ),
            "kind": sum(("uses" in (step or {})) == ("uses" in true[0]) for step, _, true in pairs),
            "job": sum(rest == true for _, rest, true in pairs),
        }
    return result


def headline(r):
    """[(measure, its value, that of real workflows or of the better baseline)], of what was measured."""
    rung = lambda name, i: rate(r[name]["rungs"][i], r[name]["n"])
    rows = []
    if "likelihood" in r:
        rows += [
            ("bits per byte of minified JSON", f"{r['likelihood']['bits_per_byte']:.3f}", ""),
            ("loss, nats per token", f"{r['likelihood']['nats_per_token']:.3f}", ""),
            ("perplexity per token", f"{r['likelihood']['perplexity']:.1f}", ""),
        ]
    rows += [
        ("fit the schema", rung("samples", 2), rung("real", 2)),
        ("and have sound references", rung("samples", 3), rung("real", 3)),
    ]
    if "unconstrained" in r:
        rows += [
            ("fit the schema, sampled unconstrained", rung("unconstrained", 2), rung("real", 2)),
            (
                "finished by themselves, constrained",
                rate(r["samples"]["finish"].get("stop", 0), r["samples"]["n"]),
                "",
            ),
        ]
    if "copies" in r:
        rows += [
            (text, *(rate(x[k], x["n"]) for x in r["copies"].values()))
            for k, text in (
                ("exact", "of those that fit: copies of a training workflow"),
                ("distinct", "of those that fit: distinct"),
            )
        ]
        rows += [
            (
                "likeness to the nearest training workflow (1: the same), median",
                *(f"{x['nearest']:.2f}" for x in r["copies"].values()),
            ),
            (
                "distance from real actions (0: none, 1: nothing in common)",
                *(f"{x:.2f}" for x in r["looks"]["actions"].values()),
            ),
        ]
    if "completion" in r:
        c = r["completion"]
        rows += [
            (
                text,
                *(rate(c[who][k], c[of]) for who in ("model", "most frequent after the same step")),
            )
            for k, of, text in (
                ("exact", "cuts", "next step exactly right"),
                ("action", "uses", "next step, the right action"),
                ("job", "cuts", "rest of the job exactly right"),
            )
        ]
    return rows


# -----------------------------------------------------------------------------
# the script

if __name__ == "__main__":
    config = configure(globals())
    sys.excepthook = lambda kind, e, trace: (
        print("\neval.py: stopped; nothing was written", file=sys.stderr)
        if kind is KeyboardInterrupt
        else sys.__excepthook__(kind, e, trace)
    )
    if compare:
        runs = {}
        for folder in compare.split(","):
            try:
                with open(os.path.join(folder, "results.json"), encoding="utf-8") as f:
                    runs[folder] = json.load(f)
                headline(runs[folder])
            except (OSError, ValueError, LookupError, TypeError) as e:
                fail(
                    f"{folder}/results.json: {type(e).__name__}: {e}. Run python eval.py --out_dir={folder} first."
                )
        columns = [{name: value for name, value, _ in headline(r)} for r in runs.values()]
        facts = {
            k: [str(r["facts"].get(k))[:20] for r in runs.values()]
            for k in ("step", "val_sha256", "tokenizer_hash", "temperature", "seed")
        }
        page = table(
            ["", *runs],
            *(
                [name, *(c.get(name, "-") for c in columns)]
                for name in dict.fromkeys(n for c in columns for n in c)
            ),
            *([k, *values] for k, values in facts.items()),
        )
        if len(set(facts["val_sha256"])) > 1:
            page += "\nNot the same validation workflows: bits per byte, completions and distances do not compare.\n"
        path = os.path.join(os.path.dirname(os.path.normpath(folder)), "compared.md")
        write(path, "# Runs side by side\n\n" + page)
        print(f"{page}\nwritten to {path}\n{json.dumps(runs)}")
        raise SystemExit(0)
    if (
        min(num_samples, batch_size) < 1
        or min(max_new_tokens, max_cut_tokens) < 32
        or min(num_cuts, temperature, seed) < 0
    ):
        fail(
            "num_samples and batch_size must be at least 1, max_new_tokens and max_cut_tokens 32, num_cuts, temperature and seed 0."
        )
    if importlib.util.find_spec("matplotlib") is None:
        fail("the pictures need matplotlib: pip install matplotlib")

    # what to judge: a model and its samples, or workflows from anywhere
    results, model, checkpoint, stem = (
        {"settings": config},
        None,
        {},
        os.path.join(out_dir, "judged" if samples else "results"),
    )
    if not samples:
        model, checkpoint = load(out_dir, device)
        device = model.wte.weight.device
    data_dir = data_dir or checkpoint.get("data_dir") or "data/pypi"
    try:
        arrays, tables, metas = load_data(data_dir)
        if next(iter(metas.values()))["tokenizer_hash"] != tct.tokenizer_hash():
            fail(
                f"{data_dir} was prepared with another version of the tokenizer. Run prepare.py --data_dir={data_dir} again."
            )
    except ValueError as e:
        fail(str(e))
    train, val = (
        [arrays[split][f][a : a + n] for f, a, n in tables[split]] for split in ("train", "val")
    )  # token ids of each document
    read = lambda ids: linear.parse(b"".join(vocab.token_bytes(ids.tolist())).decode()).workflow

    found = {}  # name: [(ids or None, how it finished, draws refused, judge()'s result)]
    if samples:
        own = os.path.join(samples, "samples.jsonl") if os.path.isdir(samples) else samples
        try:
            with open(
                own if own.endswith(".jsonl") and os.path.exists(own) else os.devnull,
                encoding="utf-8",
            ) as f:
                lines = f.readlines()
            if lines and '"tokens"' in lines[0]:  # as sample.py writes it
                rows = [json.loads(line) for line in lines]
                found["samples"] = [
                    (r["tokens"], r.get("finish", "given"), r.get("refused", 0), judge(r["tokens"]))
                    for r in rows
                ]
            else:
                found["samples"] = [
                    (None, "given", 0, judge(data=workflow.problem or workflow.data))
                    for workflow in read_input(samples)
                ]
        except (OSError, ValueError, LookupError, TypeError) as e:
            fail(f"{samples}: {e}")
        if not found["samples"]:
            fail(f"{samples}: there is no workflow in it")
    else:
        results["likelihood"] = measure_likelihood(
            model,
            val,
            [len(json_text.dump_json(read(d)).encode()) for d in val],
            progress=lambda done, total: progress("likelihood, tokens", done, total),
        )
        for name in ("samples", "unconstrained"):
            rows = {}  # by number, as the order in which they end depends on batch_size
            for i, ids, finish, refused in generate(
                model,
                [((), ())] * num_samples,
                max_new_tokens,
                temperature,
                seed=seed,
                constrained=name == "samples",
                batch_size=batch_size,
            ):
                rows[i] = ids, finish, refused, judge(ids)
                progress(name, len(rows), num_samples)
            found[name] = [rows[i] for i in sorted(rows)]
    found["real"] = [(d.tolist(), "real", 0, judge(d.tolist())) for d in val]

    page = []
    if model:
        r = results["likelihood"]
        page += [
            "## Likelihood\n",
            f"All {r['documents']:,} validation workflows, {r['bytes']:,} bytes of minified JSON; each token is predicted "
            "once, from half a block to a block of context before it. Only bits per byte compare across tokenizers.\n",
            table(
                [
                    "tokens in the workflow",
                    "workflows",
                    "tokens",
                    "nats/token",
                    "perplexity",
                    "bits/byte",
                ],
                *(
                    [
                        k,
                        f"{x['documents']:,}",
                        f"{x['tokens']:,}",
                        f"{x['nats_per_token']:.3f}",
                        f"{x['perplexity']:.1f}",
                        f"{x['bits_per_byte']:.3f}",
                    ]
                    for k, x in [*r["by_length"].items(), ("all", r)]
                ),
            ),
            table(
                ["tokens that hold", "tokens", "nats/token", "share of all nats"],
                *(
                    [
                        k,
                        f"{x['tokens']:,}",
                        f"{x['nats_per_token']:.3f}",
                        f"{x['share_of_nats']:.1%}",
                    ]
                    for k, x in r["by_content"].items()
                ),
            ),
        ]
        if os.path.exists(os.path.join(out_dir, "loss.png")):
            page.append("![loss](loss.png)\n")

    # validity
    for name, rows in found.items():
        rungs, reasons = ladder([row[3] for row in rows])
        results[name] = {
            "n": len(rows),
            "rungs": rungs,
            "finish": dict(collections.Counter(row[1] for row in rows)),
            "reasons": reasons,
            "stop_and_fit": sum(row[1] == "stop" and row[3][0] > 2 for row in rows),
            "refused": sum(row[2] for row in rows) / max(1, sum(len(row[0] or ()) for row in rows)),
        }
    unknown_end = [name for name in found if results[name]["finish"].keys() & {"real", "given"}]
    page += [
        "## Validity\n",
        "Each rung counts what climbed those before it too. The validation set holds what prepare.py found valid, of "
        + ", ".join(
            f"{n / max(1, n + sum(m['skipped'].values()) - m['skipped'].get('exact duplicate', 0)):.1%}"
            for m in metas.values()
            for n in [m["train"]["documents"] + m["val"]["documents"]]
        )
        + " of the files that it read."
        + f" Sampled at temperature {temperature}, {max_new_tokens} tokens at most." * bool(model)
        + "\n",
        table(
            ["", *(f"{name} ({results[name]['n']:,})" for name in found)],
            *(
                [rung, *(rate(results[name]["rungs"][i], results[name]["n"]) for name in found)]
                for i, rung in enumerate(RUNGS)
            ),
            *(
                [
                    text,
                    *(
                        "-" if name in unknown_end else results[name]["finish"].get(k, 0)
                        for name in found
                    ),
                ]
                for k, text in (
                    ("stop", "finished by itself"),
                    ("budget", "closed at the budget"),
                    ("cut", "cut off at the budget"),
                )
            ),
            [
                "finished by itself and fits",
                *("-" if name in unknown_end else results[name]["stop_and_fit"] for name in found),
            ],
            *(
                [
                    [
                        "draws that the matcher refused",
                        f"{results['samples']['refused']:.2%}",
                        "-",
                        "-",
                    ]
                ]
                if model
                else []
            ),
        ),
    ]
    for name in found:
        if reasons := list(results[name]["reasons"].items()):
            page.append(
                table(
                    [f"why not: {name}", "count", "example"],
                    *([code(k, 100), n, code(e, 140)] for k, (n, e) in reasons[:12]),
                    *(
                        [
                            [
                                f"{len(reasons) - 12} other reasons",
                                sum(n for _, (n, _) in reasons[12:]),
                                "",
                            ]
                        ]
                        if len(reasons) > 12
                        else []
                    ),
                )
            )

    ours, real = (
        [row[3][2] for row in found[name] if row[3][2]] for name in ("samples", "real")
    )  # what fits the schema
    rng = np.random.default_rng(seed)
    some = lambda items: [
        items[i] for i in rng.permutation(len(items))[: len(ours)]
    ]  # as many as ours
    most_alike = None
    if ours:
        index, few = make_index(train), min(len(ours), len(real))
        a, most_alike = originality(ours, train, index, few, progress)
        b, _ = originality(real, train, index, few, progress)
        results["copies"] = {"samples": a, "real": b}
        page += [
            "## Not copied, not collapsed\n",
            "Of what fits the schema. Likeness: Jaccard similarity of the sets of runs of 3 tokens. The "
            "real workflows are of other projects than the training set.\n",
            table(
                ["", "samples", "real"],
                *(
                    [text, *(rate(x[k], x["n"]) for x in (a, b))]
                    for k, text in (
                        ("exact", "copies of a training workflow"),
                        ("over_0.8", "likeness to one over 0.8"),
                        ("distinct", "distinct"),
                    )
                ),
                *(
                    [text, *("-" if x[k] is None else f"{x[k]:.2f}" for x in (a, b))]
                    for k, text in (
                        ("nearest", "likeness to the nearest training workflow, median"),
                        ("self", f"likeness to the nearest of {few} of their own, median"),
                    )
                ),
                *(
                    [
                        f"{k}: 10%, median, 90%; mean",
                        *("{:.0f}, {:.0f}, {:.0f}; {:.1f}".format(*x["sizes"][k]) for x in (a, b)),
                    ]
                    for k in a["sizes"]
                ),
            ),
        ]
        if most_alike:
            page.append(
                f"The most alike pair that is no copy (likeness {most_alike[0]:.2f}) is shown in {os.path.basename(stem)}_nearest.md, "
                "apart: the training workflow is its author's, not for publishing.\n"
            )

        ours_found, real_found, train_found = (
            [features(w) for w in workflows] for workflows in (ours, real, map(read, some(train)))
        )
        results["looks"] = {
            feature: {
                name: distance(shares(found_in, feature), shares(real_found, feature))
                for name, found_in in (("samples", ours_found), ("train", train_found))
            }
            for feature in real_found[0]
        }
        looks = "judged.png" if samples else "looks.png"
        page += [
            "## Looks like the real thing\n",
            "Total variation distance from the validation set: 0 is the same, 1 has nothing in common. Beside "
            "it that of as many training workflows: the floor. Keys count together with the key of the object that they are in; keys per "
            "object are how many an object has.\n",
            table(
                ["distance of", "samples", "training workflows"],
                *([k, *(f"{d:.2f}" for d in x.values())] for k, x in results["looks"].items()),
            ),
            f"![samples beside real workflows]({looks})\n",
        ]

    if model and (tasks := cut(real, num_cuts)):
        c = results["completion"] = complete(model, tasks, map(read, train))
        page += [
            "## Useful: the next step\n",
            f"{c['cuts']} validation workflows, each cut at a random step of a random job. The model writes on, "
            f"greedily, constrained, at most {max_cut_tokens} tokens. In {c['uses']} the next step is an action. (GH-WCOM, arXiv 2308.16774, "
            "reports up to 34.23% exact predictions, on other data, with paths, URLs and versions abstracted away: not the same task.)\n",
            table(
                ["", *list(c)[2:]],
                *(
                    [text, *(rate(c[w][k], c[of]) for w in list(c)[2:])]
                    for k, of, text in (
                        ("exact", "cuts", "next step exactly"),
                        ("action", "uses", "same action, version aside"),
                        ("kind", "cuts", "same kind (action or script)"),
                        ("job", "cuts", "rest of the job exactly"),
                    )
                ),
            ),
        ]
    tools = []
    if lint and ours:
        groups = {"samples": ours, "real": some(real)}
        results["lint"] = {
            name: {
                "n": len(workflows),
                **run_linters(
                    [tct.json_to_yaml(json_text.dump_json(w)) for w in workflows], progress
                ),
            }
            for name, workflows in groups.items()
        }
        tools = [tool for tool in results["lint"]["real"] if tool != "n"]
        page += [
            "## Linted\n",
            table(
                ["workflows", *groups],
                *(
                    [
                        f"{tool}: {text}",
                        *(rate(x[tool][k], x["n"]) for x in results["lint"].values()),
                    ]
                    for tool in tools
                    for k, text in (("findings", "has findings"), ("failed", "cannot read it"))
                ),
            )
            if tools
            else "Found neither zizmor nor actionlint.\n",
        ]
    results["facts"] = {
        "command": shlex.join(["python", "eval.py", *sys.argv[1:]]),
        "step": checkpoint.get("iter_num"),
        "data": data_dir,
        **{
            f"{split}_sha256": [m[split]["sha256"] for m in metas.values()]
            for split in ("train", "val")
        },
        "tokenizer_hash": tct.tokenizer_hash(),
        "schema_hash": tct.schema_hash(),
        "seed": seed,
        "temperature": temperature,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        **{tool: results["lint"]["real"][tool]["version"] for tool in tools},
        "device": str(device) if model else None,
        "seconds": round(time.perf_counter() - _began),
    }
    page += [
        "## To repeat it\n",
        table(
            ["fact", "value"],
            *(
                (k, ", ".join(v) if isinstance(v, list) else v)
                for k, v in results["facts"].items()
                if v is not None
            ),
        ),
    ]
    summary = table(
        ["measure", "value", "real workflows, or the better baseline"], *headline(results)
    )
    os.makedirs(out_dir, exist_ok=True)
    if ours:
        picture(os.path.join(out_dir, looks), ours_found, real_found)
    if most_alike:
        write(
            f"{stem}_nearest.md",
            "\n".join(
                [
                    "# The sample most like a training workflow without being a copy, and that workflow\n",
                    *(
                        f"```yaml\n{tct.json_to_yaml(json_text.dump_json(w))}```\n"
                        for w in (ours[most_alike[1]], read(train[most_alike[2]]))
                    ),
                ]
            ),
        )
    write(f"{stem}.json", json.dumps(results, indent=1))
    write(f"{stem}.md", "\n".join([f"# Results of {samples or out_dir}\n", summary, *page]))
    print(
        f"{summary}\n{stem}.md has the details ({results['facts']['seconds']} s)\n{json.dumps(results)}"
    )
