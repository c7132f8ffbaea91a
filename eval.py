"""Judge a run: has the model learned the language of workflows, are its workflows valid, are they
of use to anyone?

    python eval.py                                 the run in out/: a minute or two on 2 CPU cores
                                                   for config/tiny.py
    python eval.py --out_dir=experiments/a --num_samples=1000
    python eval.py --samples=folder_or_jsonl       workflows from anywhere (YAML, JSON,
                                                   samples.jsonl), by the same measures
    python eval.py --compare=experiments/a,experiments/b      finished evaluations side by side

Reads   out_dir/ckpt_best.pt (or ckpt.pt) and the data folder that the checkpoint names.
Writes  out_dir/results.md, results.json, looks.png, and results_nearest.md: the sample that is most
        like a training workflow, and that workflow, which is its author's and not for publishing.
        With --samples all are called judged...; with --compare compared.md is written, beside the
        last run's folder. The last line on stdout is the results as JSON.

Every rate stands beside the same rate for real validation workflows, by the same code: that is the
ceiling. Intervals: Wilson, 95%. A section of results.md is a file of metrics/.
"""

import importlib.util
import json
import os
import shlex
import sys
import time

import numpy as np

import tct_github_workflow as tct
from config import configure, fail, say_when_stopped
from data import windows
from data.files import write_whole
from generate import SamplingParams, generate
from metrics import completion
from metrics.candidates import read_candidates
from metrics.facts import collect_facts, command_line, facts_page
from metrics.known import known_shares
from metrics.likelihood import likelihood_page, measure_likelihood
from metrics.likeness import closest_page, likeness_page, measure_likeness
from metrics.lint import get_versions, lint_page, measure_lint
from metrics.looks import draw_looks, get_features, looks_page, measure_looks
from metrics.report import progress, table
from metrics.summary import HEADLINE_HEAD, compare_page, headline
from metrics.validity import Candidate, judge_tokens, measure_validity, parse_tokens, validity_page
from run.screen import guard_screens
from sample import load
from tct_github_workflow.json_text import dump_json
from tct_github_workflow.rules import DEFAULT_RULES
from tct_github_workflow.rules import NAMES as RULES

out_dir = "out"  # the run's folder
data_dir = ""  # what prepare.py wrote; '': the folder that the run was trained on
samples = ""  # judge these instead of a model: all that prepare.py reads, sample.py's samples.jsonl
compare = ""  # print the results of these run folders, comma-separated; nothing is evaluated
num_samples = 200  # workflows to sample, once constrained and once not
num_cuts = 500  # held-out workflows to complete, at most
max_new_tokens = 1024  # tokens per sample, at most
max_cut_tokens = 256  # tokens per completion, at most; what needs more counts as wrong
temperature = 0.8  # of the samples; completions are greedy
batch_size = 100  # samples at a time
rules = DEFAULT_RULES  # what samples and completions are held to, as in sample.py
seed = 1337  # of samples and cuts
lint = False  # also run zizmor (pip install zizmor) and actionlint, where they are installed
device = "auto"  # 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'

COMPLETIONS_AT_ONCE = 32


class Evaluation:
    """What was measured so far, and the pages that say it."""

    def __init__(self, settings):
        self.results = {"settings": settings}  # results.json
        self.page = []  # results.md, paragraph by paragraph
        self.closest_page = None  # results_nearest.md
        self.features = None  # (of samples, of real workflows), for the picture


# --------------------------------------------------------------------------------------------------
# load


def check_settings():
    if min(num_samples, batch_size) < 1 or min(max_new_tokens, max_cut_tokens) < 32:
        fail("num_samples and batch_size must be at least 1, max_new_tokens and max_cut_tokens 32.")
    if min(num_cuts, temperature, seed) < 0 or temperature == float("inf"):
        fail("num_cuts, temperature and seed must be at least 0, and temperature finite.")
    if rules not in RULES:
        fail(f"--rules={rules}: one of {', '.join(RULES)} is needed.")
    if importlib.util.find_spec("matplotlib") is None:
        fail("the pictures need matplotlib: pip install matplotlib")


def load_data(data_dir):
    """({split: [ids of each document]}, [meta.json of each folder])"""
    try:
        data = windows.load(data_dir)
    except ValueError as e:
        fail(str(e))
    metas = list(data.metas.values())
    if metas[0]["tokenizer_hash"] != tct.tokenizer_hash():
        again = shlex.join(["python", "prepare.py", f"--data_dir={data_dir}"])
        fail(f"{data_dir} was prepared with another version of the tokenizer. Again: {again}")
    return {split: data.documents(split) for split in data.tables}, metas


def load_candidates(path):
    try:
        candidates = read_candidates(path)
    except (OSError, ValueError) as e:
        fail(f"{path}: {e}")
    if not candidates:
        fail(f"{path}: there is no workflow in it")
    return candidates


def read_workflow(ids):
    return parse_tokens(ids.tolist()).workflow


# --------------------------------------------------------------------------------------------------
# measure


def draw_samples(model, name, constrained):
    """[Candidate], by number: the order in which they end depends on batch_size."""
    candidates = {}
    params = SamplingParams(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        rules=rules if constrained else None,
    )
    drawn = generate(model, [((), ())] * num_samples, params, batch_size)
    for sample in progress(drawn, name, num_samples):
        judged = judge_tokens(sample.tokens)
        candidate = Candidate(judged, sample.finish, sample.n_drawn, sample.n_refused)
        candidates[sample.number] = candidate
    return [candidates[number] for number in sorted(candidates)]


def complete(model, tasks):
    """The model's completion.Guess for each task, greedily."""
    guesses = {}
    prompts = [(task.prompt, [task.next_text]) for task in tasks]
    params = SamplingParams(
        max_new_tokens=max_cut_tokens,
        temperature=0.0,
        rules="schema",  # what the author began may break the others: names that do not resolve
    )
    until = completion.has_ended_steps
    drawn = generate(model, prompts, params, COMPLETIONS_AT_ONCE, until)
    for sample in progress(drawn, "completing", len(tasks)):
        task = tasks[sample.number]
        guesses[sample.number] = completion.read_guess(task, sample.tokens, sample.finish)
    return [guesses[number] for number in range(len(tasks))]


def add_likelihood(evaluation, model, val, train):
    n_bytes = [len(dump_json(read_workflow(d)).encode()) for d in val]
    known = known_shares(val, train)
    bar = progress(None, "likelihood, tokens")

    def show(done, total):
        bar.total = total
        bar.update(done - bar.n)

    figures = measure_likelihood(model, val, n_bytes, known, progress=show)
    bar.close()
    evaluation.results["likelihood"] = figures
    evaluation.page += likelihood_page(figures)
    if os.path.exists(os.path.join(out_dir, "loss.png")):
        evaluation.page.append("![loss](loss.png)\n")


def add_validity(evaluation, groups, metas, has_model):
    """groups: {name: [Candidate]}"""
    figures = {name: measure_validity(candidates) for name, candidates in groups.items()}
    evaluation.results.update(figures)
    how_sampled = ""
    if has_model:
        how_sampled = f" Sampled at temperature {temperature}, {max_new_tokens} tokens at most."
    evaluation.page += validity_page(figures, metas, how_sampled)


def add_likeness(evaluation, ours, real, train, stem):
    copies, closest = measure_likeness(ours, real, train)
    evaluation.results["copies"] = copies
    apart = f"{os.path.basename(stem)}_nearest.md"
    evaluation.page += likeness_page(copies, closest, apart)
    if closest:
        document = read_workflow(train[closest.document])
        evaluation.closest_page = closest_page(ours[closest.sample], document)


def add_looks(evaluation, ours, real, some_of_train, picture):
    features = [get_features(w) for w in ours]
    features_of_real = [get_features(w) for w in real]
    features_of_train = [get_features(read_workflow(d)) for d in some_of_train]
    looks = measure_looks(features, features_of_train, features_of_real)
    evaluation.results["looks"] = looks
    evaluation.page += looks_page(looks, os.path.basename(picture))
    evaluation.features = (features, features_of_real)


def add_completion(evaluation, model, real, train):
    tasks = completion.cut_tasks(real, num_cuts, seed)
    if tasks:
        guesses = complete(model, tasks)
        figures = completion.measure_completion(tasks, guesses, map(read_workflow, train))
        evaluation.results["completion"] = figures
        evaluation.page += completion.completion_page(figures, max_cut_tokens)


def add_lint(evaluation, groups):
    """groups: {name: [workflow]}"""
    figures = {}
    for name, workflows in groups.items():
        texts = [tct.json_to_yaml(dump_json(w)) for w in workflows]
        figures[name] = {"n": len(texts), **measure_lint(texts)}
    evaluation.results["lint"] = figures
    evaluation.page += lint_page(figures)


def add_facts(evaluation, checkpoint, data_dir, metas, model, began):
    linters = {}
    if "lint" in evaluation.results:
        linters = get_versions(evaluation.results["lint"])
    facts = {
        "command": command_line(),
        "step": checkpoint.get("iter_num"),
        **collect_facts(evaluation.results["settings"], data_dir, metas),
        **linters,
        "device": str(model.wte.weight.device) if model else None,
        "seconds": round(time.perf_counter() - began),
    }
    evaluation.results["facts"] = facts
    evaluation.page += facts_page(facts)


# --------------------------------------------------------------------------------------------------
# write


def write_evaluation(evaluation, stem, title, picture):
    """Writes it and prints its headline; what cannot be written is printed all the same."""
    results = evaluation.results
    summary = table(HEADLINE_HEAD, *headline(results))
    details = f"{stem}.md has the details ({results['facts']['seconds']} s)\n"
    problem = None
    try:
        with write_whole(f"{stem}.json") as f:
            json.dump(results, f, indent=1)
        with write_whole(f"{stem}.md") as f:
            f.write("\n".join([f"# {title}\n", summary, *evaluation.page]))
        if evaluation.closest_page:
            with write_whole(f"{stem}_nearest.md") as f:
                f.write(evaluation.closest_page)
    except OSError as e:
        problem = f"{out_dir} cannot be written: {e.strerror}. The results are printed above."
        details = ""
    if evaluation.features and not problem:
        write_picture(evaluation.features, picture)
    print(f"{summary}\n{details}{json.dumps(results)}")
    if problem:
        fail(problem)


def write_picture(features, path):
    """An ornament: whatever goes wrong with it is said, and ends nothing."""
    try:
        with write_whole(path, "wb") as f:
            draw_looks(f, *features)
    except Exception as e:
        print(f"eval.py: there is no {path}: {type(e).__name__}: {e}", file=sys.stderr)


def compare_runs(folders):
    """Prints finished evaluations side by side, and writes it beside the last one's folder."""
    runs = {}
    for folder in folders:
        path = os.path.join(folder, "results.json")
        try:
            with open(path, encoding="utf-8") as f:
                runs[folder] = json.load(f)
            headline(runs[folder])
        except (OSError, ValueError, LookupError, TypeError) as e:
            first = shlex.join(["python", "eval.py", f"--out_dir={folder}"])
            fail(f"{path}: {type(e).__name__}: {e}. Run {first} first.")
    page = compare_page(runs)
    path = os.path.join(os.path.dirname(os.path.normpath(folders[-1])), "compared.md")
    problem = None
    try:
        with write_whole(path) as f:
            f.write("# Runs side by side\n\n" + page)
    except OSError as e:
        problem = f"{path} cannot be written: {e.strerror}. The comparison is printed, above."
    written = "" if problem else f"written to {path}\n"
    print(f"{page}\n{written}{json.dumps(runs)}")
    if problem:
        fail(problem)


def main(settings):
    if compare:
        compare_runs(compare.split(","))
        return
    began = time.perf_counter()
    check_settings()
    evaluation = Evaluation(settings)
    model = None
    checkpoint = {}
    stem = os.path.join(out_dir, "judged")
    picture = f"{stem}.png"
    if not samples:
        model, checkpoint = load(out_dir, device)
        stem = os.path.join(out_dir, "results")
        picture = os.path.join(out_dir, "looks.png")
    used_data = data_dir or checkpoint.get("data_dir") or "data/pypi"
    documents, metas = load_data(used_data)
    train = documents["train"]
    val = documents["val"]
    try:
        os.makedirs(out_dir, exist_ok=True)  # before the work, not after it
    except OSError as e:
        fail(f"{out_dir} cannot be made: {e.strerror}. Set --out_dir to another folder.")

    groups = {}
    if model:
        add_likelihood(evaluation, model, val, train)
        groups["samples"] = draw_samples(model, "samples", constrained=True)
        groups["unconstrained"] = draw_samples(model, "unconstrained", constrained=False)
    else:
        groups["samples"] = load_candidates(samples)
    groups["real"] = [Candidate(judge_tokens(d.tolist()), "real") for d in val]
    add_validity(evaluation, groups, metas, has_model=bool(model))

    # what fits the schema
    ours = [c.judged.workflow for c in groups["samples"] if c.judged.workflow]
    real = [c.judged.workflow for c in groups["real"] if c.judged.workflow]
    rng = np.random.default_rng(seed)
    if ours:
        add_likeness(evaluation, ours, real, train, stem)
        some_of_train = [train[i] for i in rng.permutation(len(train))[: len(ours)]]
        add_looks(evaluation, ours, real, some_of_train, picture)
    if model:
        add_completion(evaluation, model, real, train)
    if lint and ours:
        some_real = [real[i] for i in rng.permutation(len(real))[: len(ours)]]
        add_lint(evaluation, {"samples": ours, "real": some_real})
    add_facts(evaluation, checkpoint, used_data, metas, model, began)
    write_evaluation(evaluation, stem, f"Results of {samples or out_dir}", picture)


if __name__ == "__main__":
    guard_screens()
    say_when_stopped("nothing was written")
    main(configure(globals()))
