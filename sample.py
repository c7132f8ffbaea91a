"""Write new workflows with a trained model, as YAML files that are valid by construction.

    python sample.py --num_samples=50                  the run in out/, on a GPU if there is one
    python sample.py --out_dir=experiments/a --device=cpu
    python sample.py --start=ci.yml --num_samples=3    continue a workflow that somebody has begun
    python sample.py --start='{"name": "CI", "on": "pu' --stream=True

Reads   out_dir/ckpt_best.pt, or ckpt.pt where there is no best one yet.
Writes  out_dir/samples/0001.yml... and samples.jsonl, a line per sample: its ids, how it finished
        ('stop': the model closed it; 'budget': max_new_tokens made it close; 'cut': it ran out of
        tokens, only unconstrained), whether it is valid, and why not. Those of an earlier run are
        replaced; other files in that folder are left alone. What does not decode has no .yml.

--start is a file, or the text itself, in YAML or JSON; it may be cut anywhere. It is continued
where it stops: all that is open at its end stays open (the last job, its steps, the last step),
except for what a bracket or quote of the author closed. A text that ends in the middle of a string
or key is continued there; a line break ends a string; a dash or comma at the end asks for one more
item. Keys and values stay as they were given; comments are lost. JSON that is a whole workflow
already is left as it is.
"""

import dataclasses
import gc
import json
import math
import os
import re
import shlex
import shutil
import time
from typing import NamedTuple

import torch
from tqdm import tqdm

import tct_github_workflow as tct
from config import configure, fail, say_when_stopped
from data.files import write_whole
from generate import Finish, Sample, SamplingParams, generate
from model import GPT, GPTConfig
from run.device import choose_device
from run.screen import guard_screens, print_head
from tct_github_workflow.beginning import units
from tct_github_workflow.rules import DEFAULT_RULES
from tct_github_workflow.rules import NAMES as RULES

out_dir = "out"  # the run's folder
start = ""  # a workflow to continue: a file, or YAML or JSON text; '' starts from nothing
num_samples = 50  # workflows to write
batch_size = 50  # of them at a time
max_new_tokens = 1024  # tokens per workflow, at most; past block_size the model's window moves
temperature = 0.8  # 1.0 is the model's own distribution, 0.0 its most likely token
top_k = 0  # choose among the k most likely tokens; 0: among all
top_p = 1.0  # choose among the most likely tokens that make up this share; 1.0: among all
min_p = 0.0  # only tokens at least so many times as likely as the most likely one; 0.0: all
seed = 1337  # sample i follows from (seed, i), whatever the batch_size
constrained = True  # only what can still become a valid workflow; False: whatever the model says
rules = DEFAULT_RULES  # what it may write: a name in tct_github_workflow/rules.py, which explains
stream = False  # show the first sample while it is written, what it takes back included
device = "auto"  # 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'

SHOWN_SAMPLES = 3  # at the end
KEPT_SETTINGS = (  # in samples.jsonl
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "max_new_tokens",
    "constrained",
    "rules",
    "start",
)
REFUSED_START = (
    "--start: the schema allows what begins like this, GitHub refuses it. --rules=schema takes it."
)


def load(out_dir, device):
    """(model, checkpoint without its weights) of a run's best checkpoint; prints what it is.

    The model is in float32 and on the device. Whatever is wrong with either ends the script.
    """
    try:
        device = choose_device(device).name
    except ValueError as e:
        fail(f"--device={device}: {e}")
    path = os.path.join(out_dir, "ckpt_best.pt")
    if not os.path.exists(path):
        path = os.path.join(out_dir, "ckpt.pt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        check_hashes(checkpoint, path)
        model = GPT(GPTConfig(**checkpoint["model_args"]))
        model.load_state_dict(checkpoint.pop("model"))
        model.fold_parts()  # or each token would wait for it
        checkpoint["model_args"] = dataclasses.asdict(model.config)
    except (FileNotFoundError, NotADirectoryError):
        fail(
            f"there is no {path}. Train a model first (python train.py), or name its folder with "
            "--out_dir."
        )
    except Exception as e:  # torch.load raises many kinds on a damaged file
        reason = " ".join(str(e).split())
        fail(f"{path} cannot be read: {type(e).__name__}: {reason:.300}")
    try:
        model = model.eval().to(device)
    except (RuntimeError, AssertionError) as e:  # no room on it, no such device
        fail(f"--device={device}: {str(e).partition(chr(10))[0]}")
    n_parameters = sum(p.numel() for p in model.parameters())
    print(f"{path}: step {checkpoint['iter_num']}, {n_parameters:,} parameters, on {device}")
    return model, checkpoint


def check_hashes(checkpoint, path):
    ours = {"tokenizer_hash": tct.tokenizer_hash(), "schema_hash": tct.schema_hash()}
    for key, value in ours.items():
        if checkpoint[key] != value:
            fail(
                f"{path} was trained with {key} {checkpoint[key][:12]}..., but the installed "
                f"tct_github_workflow has {value[:12]}...: its ids would mean other things. "
                "Install the version it was trained with, or prepare and train again."
            )


# --------------------------------------------------------------------------------------------------
# the script


class Streamer:
    """A watch() for generate(): prints a workflow's YAML line by line, each as soon as no token
    that is added can change it. Where lines are taken back, what replaces them follows a remark."""

    def __init__(self):
        self.shown = []  # lines

    def __call__(self, tokens):
        try:
            text, _, is_complete = tct.decode_prefix(tokens)
        except tct.DecodeError:
            return  # unconstrained, and broken: samples.jsonl will say why
        lines = tct.json_to_yaml(text).splitlines()
        if not is_complete:
            n_open = count_open_lines(json.loads(text))
            lines = lines[: max(0, len(lines) - n_open)]
        n_same = len(os.path.commonprefix([self.shown, lines]))
        if n_same == len(lines) and not is_complete:
            return  # it may grow into what is shown
        if n_same < len(self.shown):
            print(f"# ---- taken back: all after line {n_same}")
        print("\n".join(lines[n_same:]), flush=True)
        self.shown = lines


def count_open_lines(workflow):
    """How many of the last lines of a workflow's YAML may change as it grows."""
    last = workflow
    while isinstance(last, (dict, list)) and last:
        last = list(last.values())[-1] if isinstance(last, dict) else last[-1]
    if isinstance(last, str) and "\n" in last:
        return last.count("\n") + 2  # a block: its header and its lines
    return 1


class Judged(NamedTuple):
    """A sample, and what the tokenizer says of it."""

    sample: Sample
    yaml: str | None  # None: it is not valid
    reason: str | None  # why it is not


def check_settings():
    if min(num_samples, batch_size, max_new_tokens) < 1 or min(temperature, top_k, seed) < 0:
        fail(
            "num_samples, batch_size and max_new_tokens must be at least 1; temperature, top_k and "
            "seed at least 0."
        )
    if not math.isfinite(temperature):
        fail(f"--temperature={temperature}: it must be finite.")
    if not 0 < top_p <= 1:
        fail(f"--top_p={top_p}: top_p must be in (0, 1].")
    if not 0 <= min_p <= 1:
        fail(f"--min_p={min_p}: min_p must be in [0, 1].")
    if rules not in RULES:
        fail(f"--rules={rules}: one of {', '.join(RULES)} is needed.")


def read_prompt(start):
    """(ids, texts) to begin with, as generate() takes them. start: the setting."""
    if not start:
        return [], []
    is_file = os.path.isfile(start)
    try:
        source = start
        if is_file:
            with open(start, "rb") as f:
                source = f.read()
        ids, texts = tct.encode_prefix(source)
    except (OSError, ValueError) as e:
        if is_file:
            fail(f"--start={shlex.quote(start)}: {e}")
        may_be_name = "\n" not in start and ":" not in start
        fail(f"--start: {e}" + (f" (and there is no file {start!r})" if may_be_name else ""))
    try:
        matcher = tct.Matcher(ids, rules if constrained else "schema")
    except tct.DecodeError:
        fail(REFUSED_START)
    if matcher.is_terminated():
        print(
            "--start is a complete, valid workflow already (a JSON text, closed): there is "
            "nothing to continue."
        )
        raise SystemExit(0)
    return ids, texts


def keep_what_fits(prompt):
    """The prompt with those of its readings that the rules and max_new_tokens allow to complete.

    Ends the script if none is left.
    """
    ids, texts = prompt
    costs = {}  # {text: tokens that are enough for it, unit by unit, and for what it opens}
    for text in texts or [b""]:
        matcher = tct.Matcher(ids, rules)
        spelled = units(text)
        if all(matcher.accept_token(unit) for unit in spelled):
            costs[text] = len(spelled) + matcher.min_tokens()
    if not costs:
        fail(REFUSED_START)
    needed = min(costs.values())
    if needed > max_new_tokens:
        fail(
            f"max_new_tokens={max_new_tokens} may be too few to complete a workflow from here: "
            f"allow {needed}."
        )
    return ids, [text for text in texts if costs.get(text, math.inf) <= max_new_tokens]


def sampling_params():
    return SamplingParams(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        rules=rules if constrained else None,
    )


def draw_samples(model, prompt):
    """[Judged], in the order of their numbers."""
    judged = {}
    n_tokens = 0
    began = time.perf_counter()
    # disable=None: shown on a terminal only
    bar = tqdm(total=num_samples, unit=" workflows", leave=False, disable=stream or None)
    prompts = [prompt] * num_samples
    watch = Streamer() if stream else None
    for sample in generate(model, prompts, sampling_params(), batch_size, watch=watch):
        judged[sample.number] = judge(sample)
        n_tokens += len(sample.tokens) - len(prompt[0])
        bar.set_postfix_str(f"{n_tokens / (time.perf_counter() - began):,.0f} tok/s", refresh=False)
        bar.update()
    bar.close()
    return [judged[number] for number in sorted(judged)]


def judge(sample):
    try:
        return Judged(sample, tct.json_to_yaml(tct.decode(sample.tokens)[0]), None)
    except ValueError as e:  # decode() validates
        return Judged(sample, None, str(e))


def record(judged, n_prompt, settings):
    """A line of samples.jsonl, as a dict."""
    sample = judged.sample
    return {
        "sample": sample.number + 1,
        "finish": sample.finish,
        "valid": judged.yaml is not None,
        "reason": judged.reason,
        "n_prompt": n_prompt,
        "drawn": sample.n_drawn,
        "refused": sample.n_refused,
        "seed": seed,
        "tokens": sample.tokens,
        "settings": settings,
    }


def make_files(samples, n_prompt, settings):
    """{name: text} of the files to write, samples.jsonl last."""
    files = {}
    lines = []
    for judged in samples:
        if judged.yaml is not None:
            files[f"{judged.sample.number + 1:04d}.yml"] = judged.yaml
        lines.append(json.dumps(record(judged, n_prompt, settings)) + "\n")
    files["samples.jsonl"] = "".join(lines)
    return files


def replace_files(folder, files):
    """Writes files, {name: text}, into folder, in place of the samples that are there.

    All are written beside the old ones first, so that a full disk changes nothing. Raises OSError.
    """
    staging = os.path.join(folder, ".unfinished")
    shutil.rmtree(staging, ignore_errors=True)  # left by one that was killed
    try:
        os.mkdir(staging)
        for name, text in files.items():
            with write_whole(os.path.join(staging, name)) as f:
                f.write(text)
        for name in os.listdir(folder):
            if re.fullmatch(r"\d{4,}\.yml|samples\.jsonl", name) and name not in files:
                os.remove(os.path.join(folder, name))
        for name in files:
            os.replace(os.path.join(staging, name), os.path.join(folder, name))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def report(samples, n_prompt, seconds, folder):
    """What came out, in three lines."""
    ends = [judged.sample.finish for judged in samples]
    n_valid = sum(judged.yaml is not None for judged in samples)
    n_tokens = sum(len(judged.sample.tokens) - n_prompt for judged in samples)
    n_drawn = sum(judged.sample.n_drawn for judged in samples)
    n_refused = sum(judged.sample.n_refused for judged in samples)
    evaluate = shlex.join(["python", "eval.py", f"--out_dir={out_dir}"])
    return (
        f"\n{len(samples):,} samples in {folder}: {n_valid:,} valid; "
        f"{ends.count(Finish.STOP):,} finished by themselves, "
        f"{ends.count(Finish.BUDGET):,} closed at the budget, {ends.count(Finish.CUT):,} cut\n"
        f"{n_tokens:,} tokens in {seconds:.1f} s: {n_tokens / seconds:,.0f} tok/s; the matcher "
        f"refused {n_refused / n_drawn:.2%} of the draws. Next: {evaluate}"
    )


def main(settings):
    check_settings()
    prompt = read_prompt(start)
    model, _ = load(out_dir, device)
    # what is loaded by now stays: without this the collector looks through it again and again,
    # 30 ms each time
    gc.freeze()
    if constrained:
        prompt = keep_what_fits(prompt)
    folder = os.path.join(out_dir, "samples")
    try:
        os.makedirs(folder, exist_ok=True)  # before the work, not after it
    except OSError as e:
        fail(f"{folder} cannot be made: {e.strerror}. Move what is there, or set --out_dir.")

    began = time.perf_counter()
    samples = draw_samples(model, prompt)
    seconds = time.perf_counter() - began

    n_prompt = len(prompt[0])
    kept = {key: settings[key] for key in KEPT_SETTINGS}
    files = make_files(samples, n_prompt, kept)
    try:
        replace_files(folder, files)
    except OSError as e:
        fail(f"{folder} cannot be written: {e.strerror}. What was there is as it was.")
    if not stream:
        for name in list(files)[:SHOWN_SAMPLES]:
            if name.endswith(".yml"):
                print_head(f"{folder}/{name}", files[name])
    print(report(samples, n_prompt, seconds, folder))


if __name__ == "__main__":
    guard_screens()
    say_when_stopped("nothing was written")
    main(configure(globals()))
