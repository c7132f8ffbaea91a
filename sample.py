"""Write new workflows with a trained model, as YAML files that are valid by construction.

    python sample.py --num_samples=50                        the run in out/, on a GPU if there is one, else on the CPU
    python sample.py --out_dir=experiments/a --device=cpu
    python sample.py --start=ci.yml --num_samples=3          go on with a workflow that somebody has begun
    python sample.py --start='{"name": "CI", "on": "pu' --stream=True

Reads   out_dir/ckpt_best.pt, or ckpt.pt where there is no best one yet.
Writes  out_dir/samples/0001.yml... and samples.jsonl, a line per sample: its ids, how it finished ('stop': the model closed it;
        'budget': max_new_tokens made it close; 'cut': it ran out of tokens, only unconstrained), whether it is valid, and why not.
        Those of an earlier run are replaced; other files in that folder are left alone. What does not decode has no .yml.

--start is a file, or the text itself, in YAML or JSON; it may be cut anywhere. It goes on where it stops: all that is open at its
end stays open (the last job, its steps, the last step), except for what a bracket or quote of the author closed. A text that ends in
the middle of a string or key is continued there; a line break ends a string; a dash or comma at the end asks for one more item.
Keys and values stay as they were given; comments are lost. JSON that is a whole workflow already is left as it is.
"""

import functools
import gc
import json
import os
import re
import sys
import time

import numpy as np
import torch

import tct_github_workflow as tct
from config import configure
from data.packing import STRIDE as _STRIDE  # the underscore keeps it from being a setting
from model import GPT, GPTConfig
from tct_github_workflow import alphabet, vocab

out_dir = "out"  # the run's folder
start = ""  # a workflow to go on with: a file, or YAML or JSON text; '' starts from nothing
num_samples = 50  # workflows to write
batch_size = 50  # of them at a time
max_new_tokens = 1024  # tokens per workflow, at most; beyond the model's block_size it reads on through a moving window
temperature = 0.8  # 1.0 is the model's own distribution, 0.0 its most likely token
top_k = 0  # choose among the k most likely tokens; 0: among all
top_p = 1.0  # choose among the most likely tokens that make up this share of the probability; 1.0: among all
seed = 1337  # sample i follows from (seed, i), whatever the batch_size
constrained = (
    True  # only what can still become a schema-valid workflow; False: whatever the model says
)
stream = False  # show the first sample while it is written
device = "auto"  # 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'


def fail(message):
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    raise SystemExit(1)


def load(out_dir, device):
    """(model in fp32 on the device, checkpoint without weights, path, device) of a run's best checkpoint."""
    path = os.path.join(out_dir, "ckpt_best.pt")
    path = path if os.path.exists(path) else os.path.join(out_dir, "ckpt.pt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        for key, mine in (
            ("tokenizer_hash", tct.tokenizer_hash()),
            ("schema_hash", tct.schema_hash()),
        ):
            if checkpoint[key] != mine:
                fail(
                    f"{path} was trained with {key} {checkpoint[key][:12]}..., but the installed tct_github_workflow has {mine[:12]}...: its "
                    "ids would mean other things. Install the version it was trained with, or prepare and train again."
                )
        model = GPT(GPTConfig(**checkpoint["model_args"]))
        model.load_state_dict(checkpoint.pop("model"))
    except FileNotFoundError:
        fail(
            f"there is no {path}. Train a model first (python train.py), or name its folder with --out_dir."
        )
    except Exception as e:  # torch.load raises many kinds on a damaged file
        fail(f"{path} cannot be read: {type(e).__name__}: {' '.join(str(e).split()):.300}")
    if device == "auto":
        device = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        return model.eval().to(device), checkpoint, path, device
    except (RuntimeError, AssertionError) as e:  # no such device, or no room on it
        fail(f"--device={device}: {str(e).splitlines()[0]}")


# -----------------------------------------------------------------------------
# the generation loop; eval.py imports it


def draw(logits, u, allowed=None, temperature=1.0, top_k=0, top_p=1.0):
    """Token ids (B,), drawn by the uniform numbers u (B,) in [0, 1). logits: (B, V). allowed: bool (B, V), or None for all.

    What is not allowed goes first, then come temperature, top_k and top_p. Drawing is by the inverse of the distribution function in
    the order of the ids, so a logit that differs in its last bit (as another batch size makes it) hardly ever changes the result.
    """
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits / temperature
    if top_k:
        logits = logits.masked_fill(
            logits < logits.topk(min(top_k, logits.size(-1))).values[:, -1:], -torch.inf
        )
    p = logits.softmax(-1)
    if top_p < 1:
        ranked, order = p.sort(dim=-1, descending=True, stable=True)
        ranked[ranked.cumsum(-1) - ranked >= top_p] = 0
        p = torch.zeros_like(p).scatter_(1, order, ranked)
    cdf = p.cpu().double().cumsum(-1)  # on the CPU: MPS has no float64
    return torch.searchsorted(cdf, u[:, None] * cdf[:, -1:], right=True)[:, 0].clamp(
        max=p.size(1) - 1
    )


@functools.lru_cache(64)
def spells(texts):
    """bool (V,): the tokens that begin with one of these byte strings, or one of them with the token. texts: a tuple."""
    return np.array(
        [any(t.startswith(b) or b.startswith(t) for t in texts) for b in vocab.vocab().bytes]
        + [False]
    )


@torch.no_grad()
def generate(
    model,
    prompts,
    max_new_tokens=1024,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    seed=1337,
    constrained=True,
    batch_size=50,
    until=None,
    watch=None,
):
    """Yields (i, tokens, finish, refused) for each of the prompts as it is done, the ones with short prompts first.

    prompts: a list of (ids, texts): the document's first ids, then byte strings of which one has to come next, however it is split
    into tokens (() for none). tokens: all ids, the prompt's included. finish: 'stop', 'budget' or 'cut' (see above), or 'until' where
    until(i, id) was true for the id just added. refused: how many tokens the matcher refused. watch(tokens) sees prompt 0 grow.

    A constrained row draws from the model first and asks the matcher then; refused, it draws again, from what is allowed. That has
    exactly the distribution of masking every step: with A the allowed tokens, P(x) = p(x) + (1 - p(A)) p(x) / p(A) = p(x) / p(A).
    It costs a mask only on a refusal, and a trained model is hardly ever refused. With top_k or top_p it would not be exact, as the
    k most likely of the allowed tokens are not the allowed among the k most likely; then every step is masked first.
    """
    closes, block_size, vocab_size = (
        alphabet.EOD.encode(),
        model.config.block_size,
        model.config.vocab_size,
    )
    token_bytes = vocab.vocab().bytes + [b""]  # pad_token() stands for nothing
    settings = dict(temperature=temperature, top_k=top_k, top_p=top_p)
    mask_first = constrained and (top_k > 0 or top_p < 1) and temperature > 0
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i][0]))
    matchers = {}  # prompt ids: the matcher behind them; most callers repeat one prompt

    def new_row(i):
        ids, texts = list(prompts[i][0]), prompts[i][1]
        if constrained and tuple(ids) not in matchers:
            matchers.clear()
            matchers[tuple(ids)] = tct.Matcher(ids)
        return dict(
            i=i,
            tokens=ids,
            texts=tuple(texts),
            n_prompt=len(ids),
            pending=[0] + ids,
            refused=0,
            finish=None,
            forced=False,
            matcher=matchers[tuple(ids)].fork() if constrained else None,
            rng=np.random.default_rng([seed, i]),
        )

    rows, waiting = [new_row(i) for i in order[:batch_size]], order[: batch_size - 1 : -1]
    cache = model.new_cache(
        len(rows), min(block_size, max(len(ids) for ids, _ in prompts) + 1 + max_new_tokens)
    )
    while rows:
        # feed what each row has not read yet; a full window starts again, half full, at a multiple of _STRIDE
        for b, row in enumerate(rows):
            if int(cache.length[b]) + len(row["pending"]) > block_size:
                begin = -(-(len(row["tokens"]) - block_size // 2) // _STRIDE) * _STRIDE
                row["pending"] = [min(begin // _STRIDE, vocab_size - 1)] + row["tokens"][begin:]
                cache.length[b] = 0
        logits = torch.empty(len(rows), vocab_size, device=cache.k.device)
        long, short = (
            [b for b, row in enumerate(rows) if (len(row["pending"]) > 1) == several]
            for several in (True, False)
        )
        for part in [*(long[j : j + 16] for j in range(0, len(long), 16)), short]:
            if part:
                counts = [len(rows[b]["pending"]) for b in part]
                idx = torch.tensor(
                    [rows[b]["pending"] + [0] * (max(counts) - n) for b, n in zip(part, counts)]
                )
                logits[part] = model.forward_cached(
                    idx.to(logits.device), cache, rows=part, counts=counts
                )

        # draw, ask the matcher, draw again where it refuses
        u = torch.from_numpy(
            np.array([row["rng"].random(2) for row in rows])
        )  # (B, 2): for the first draw, for the second
        left = [max_new_tokens - len(row["tokens"]) + row["n_prompt"] for row in rows]
        wanted = [spells(row["texts"]) if row["texts"] else True for row in rows]

        def masked_draw(masks, k):
            """{row: token} for masks {row: bool (V,)}, with the k-th uniform number."""
            b, allowed = (
                list(masks),
                torch.from_numpy(np.array(list(masks.values()))).to(logits.device),
            )
            assert allowed.any(1).all(), f"no token can follow in {max_new_tokens} tokens"
            return dict(zip(b, draw(logits[b], u[b, k], allowed, **settings).tolist()))

        if mask_first:
            drawn = masked_draw(
                {b: row["matcher"].next_token_mask() & wanted[b] for b, row in enumerate(rows)}, 0
            )
        else:
            drawn = dict(enumerate(draw(logits, u[:, 0], **settings).tolist()))
        masks = {}
        for b, row in enumerate(rows):
            said, matcher = wanted[b] is True or wanted[b][drawn[b]], row["matcher"]
            if not said or constrained and not matcher.accept_token(drawn[b], left[b]):
                row["refused"] += bool(said)
                row["forced"] |= bool(said) and matcher.fork().accept_token(
                    drawn[b]
                )  # only the budget refused it
                masks[b] = (
                    wanted[b] & matcher.next_token_mask(tokens_left=left[b])
                    if constrained
                    else wanted[b]
                )
        redrawn = masked_draw(masks, 1) if masks else {}
        for b, row in enumerate(rows):
            token, matcher = redrawn.get(b, drawn[b]), row["matcher"]
            if b in redrawn and constrained:
                accepted = matcher.accept_token(token, left[b])
                assert accepted, f"the mask allows {token}, the matcher refuses it"
            row["tokens"].append(token)
            row["pending"] = [token]
            n = len(token_bytes[token])
            said = any(token_bytes[token].startswith(t) for t in row["texts"])
            row["texts"] = (
                ()
                if said
                else tuple(t[n:] for t in row["texts"] if t.startswith(token_bytes[token]))
            )
            if (
                constrained
                and matcher.is_terminated()
                or not constrained
                and token_bytes[token].endswith(closes)
            ):
                row["finish"] = "budget" if row["forced"] else "stop"
            elif until and until(row["i"], token):
                row["finish"] = "until"
            elif left[b] == 1:
                row["finish"] = "cut"
            if watch and row["i"] == 0:
                watch(row["tokens"])

        # the next prompt takes the place of a row that is done; where none is left the last row moves there, and the batch shrinks
        for b in reversed(range(len(rows))):
            row = rows[b]
            if not row["finish"]:
                continue
            if waiting:
                rows[b] = new_row(waiting.pop())
                cache.length[b] = 0
            else:
                last, keep = rows.pop(), list(range(len(rows)))
                if b < len(rows):
                    rows[b], keep[b] = last, len(rows)
                cache.keep(keep)
            yield row["i"], row["tokens"], row["finish"], row["refused"]


# -----------------------------------------------------------------------------
# the script


def streamer():
    """A watch() for generate(): prints a workflow's YAML line by line, each as soon as no later token can change it."""
    shown = 0

    def watch(tokens):
        nonlocal shown
        try:
            text, _, complete = tct.decode_prefix(tokens)
        except tct.DecodeError:
            return  # unconstrained, and broken: samples.jsonl will say why
        lines = tct.json_to_yaml(text).splitlines()
        leaf = json.loads(text)
        while isinstance(leaf, (dict, list)) and leaf:
            leaf = list(leaf.values())[-1] if isinstance(leaf, dict) else leaf[-1]
        final = (
            len(lines)
            if complete
            else len(lines)
            - (leaf.count("\n") + 2 if isinstance(leaf, str) and "\n" in leaf else 1)
        )
        if final > shown:
            print("\n".join(lines[shown:final]), flush=True)
            shown = final

    return watch


if __name__ == "__main__":
    config = configure(globals())
    sys.excepthook = lambda kind, e, trace: (
        print("\nsample.py: stopped; nothing was written", file=sys.stderr)
        if kind is KeyboardInterrupt
        else sys.__excepthook__(kind, e, trace)
    )
    if (
        min(num_samples, batch_size, max_new_tokens) < 1
        or min(temperature, top_k, seed) < 0
        or not 0 < top_p <= 1
    ):
        fail(
            "num_samples, batch_size and max_new_tokens must be at least 1; temperature, top_k and seed at least 0; top_p in (0, 1]."
        )
    prompt, source = ([], []), start
    if start:
        try:
            if os.path.isfile(start):
                with open(start, encoding="utf-8-sig") as f:
                    source = f.read()
            try:
                tct.encode(source)
                print(
                    "--start is a complete, valid workflow already (a JSON text, closed): there is nothing to go on with."
                )
                raise SystemExit(0)
            except tct.EncodeError:
                prompt = tct.encode_prefix(source)
        except (OSError, ValueError) as e:
            fail(
                f"--start: {e}"
                + ("" if "\n" in start or ":" in start else f" (and there is no file {start!r})")
            )
    model, checkpoint, path, device = load(out_dir, device)
    print(
        f"{path}: step {checkpoint['iter_num']}, {sum(p.numel() for p in model.parameters()):,} parameters, on {device}"
    )
    gc.freeze()  # what is loaded by now stays: without it the collector looks through it again and again, 30 ms each time
    if (
        constrained
        and (need := tct.Matcher(prompt[0]).min_tokens() + sum(map(len, prompt[1][:1])))
        > max_new_tokens
    ):
        fail(
            f"max_new_tokens={max_new_tokens} may be too few to complete a workflow from here: allow {need}."
        )

    began, results, n_tokens, refused, valid = time.perf_counter(), {}, 0, 0, 0
    for i, tokens, finish, n_refused in generate(
        model,
        [prompt] * num_samples,
        max_new_tokens,
        temperature,
        top_k,
        top_p,
        seed,
        constrained,
        batch_size,
        watch=streamer() if stream else None,
    ):
        record = {
            "sample": i + 1,
            "finish": finish,
            "valid": False,
            "reason": None,
            "n_prompt": len(prompt[0]),
            "refused": n_refused,
        }
        n_tokens, refused, text = n_tokens + len(tokens) - len(prompt[0]), refused + n_refused, None
        try:
            text = tct.json_to_yaml(tct.decode(tokens)[0])  # decode() validates
            record["valid"] = True
            valid += 1
        except ValueError as e:
            record["reason"] = str(e)
        results[i] = {**record, "seed": seed, "tokens": tokens}, text
        if sys.stderr.isatty() and not stream:
            rate = n_tokens / (time.perf_counter() - began)
            print(
                f"\r{len(results):,} of {num_samples:,} workflows, {rate:,.0f} tok/s ",
                end="",
                file=sys.stderr,
                flush=True,
            )
    seconds = time.perf_counter() - began
    if sys.stderr.isatty() and not stream:
        print(file=sys.stderr)

    # first all files under other names, then the old ones go, then each takes its place, samples.jsonl last
    folder = os.path.join(out_dir, "samples")
    os.makedirs(folder, exist_ok=True)
    files = {
        f"{i + 1:04d}.yml": text for i, (_, text) in sorted(results.items()) if text is not None
    }
    settings = {
        k: config[k]
        for k in ("temperature", "top_k", "top_p", "max_new_tokens", "constrained", "start")
    }
    files["samples.jsonl"] = "".join(
        json.dumps({**results[i][0], "settings": settings}) + "\n" for i in sorted(results)
    )
    for name, text in files.items():
        with open(os.path.join(folder, name + ".tmp"), "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
    for name in os.listdir(folder):
        if re.fullmatch(r"\d{4,}\.yml|samples\.jsonl", name) and name not in files:
            os.remove(os.path.join(folder, name))
    for name in files:
        os.replace(os.path.join(folder, name + ".tmp"), os.path.join(folder, name))
    for name in [] if stream else list(files)[:3]:
        if name.endswith(".yml"):
            lines = files[name].splitlines()
            print(
                f"\n---- {folder}/{name}",
                *lines[:40],
                *[f"... and {len(lines) - 40} more lines"] * (len(lines) > 40),
                sep="\n",
            )
    ends = [r["finish"] for r, _ in results.values()]
    print(
        f"\n{num_samples:,} samples in {folder}: {valid:,} valid; {ends.count('stop'):,} finished by themselves, {ends.count('budget'):,} closed at the "
        f"budget, {ends.count('cut'):,} cut\n{n_tokens:,} tokens in {seconds:.1f} s: {n_tokens / seconds:,.0f} tok/s; the matcher refused "
        f"{refused / n_tokens:.2%} of the draws. Next: python eval.py"
    )
