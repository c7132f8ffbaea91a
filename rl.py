"""Reinforcement learning after train.py: a model writes workflows with nothing
to hold it, and what would be accepted becomes likelier.

    python rl.py                                      from out/ to out-rl/
    python rl.py --trained=a/run --out_dir=a/run-rl
    python rl.py --init_from=resume                   continue
    python sample.py --out_dir=out-rl --constrained=False

A step draws num_samples workflows, each of which ends where the matcher
refuses a token or it repeats itself. That costs 1; each token before it earns
what tokens cost on average, so that neither short nor long workflows pay by
being so. It is REINFORCE (https://doi.org/10.1007/BF00992696) with the
differential return of average-reward methods (Sutton and Barto, Reinforcement
Learning, 10.3). The same step holds the model to what it predicted for real
workflows before. The head alone learns.

Reads   trained/ckpt_best.pt (or ckpt.pt), and the data folder that it names.
Writes  out_dir/: ckpt.pt, config.json, training.log, log.jsonl.

A run that was killed and resumed ends with the same weights as one that was
not, on a CPU bit for bit.
"""

import contextlib
import copy
import os
import signal
import sys
import time

import torch
from torch.nn import functional as F

import tct_github_workflow as tct
from config import configure, fail
from data.epochs import make_epoch
from data.masks import no_masks
from data.windows import fill, load
from generate import RECENT, Finish, SamplingParams, generate, repeats
from metrics.likelihood import bits_per_byte, fill_batch, make_batches, token_nats
from run.checkpoint import Progress, read_checkpoint, restore, write_checkpoint
from run.commands import command_for, command_to_resume
from run.device import choose_device
from run.log import RunLog, make_folder, time_left, write_config
from run.processes import Processes, listen_for_signals
from run.screen import guard_screens
from sample import load as load_run
from tct_github_workflow.rules import DEFAULT_RULES
from tct_github_workflow.rules import NAMES as RULES

guard_screens()

# data and run
trained = "out"  # the run to begin with
data_dir = ""  # what prepare.py wrote; '': the folder that the run was trained on
out_dir = "out-rl"  # this run's folder; one that is already in it is moved aside, not overwritten
init_from = "trained"  # 'trained', or 'resume': continue from out_dir/ckpt.pt
seed = 1337  # of the samples and of the order of the real workflows
# what is learned
num_samples = 64  # workflows that a step draws
max_new_tokens = 1024  # tokens per workflow, at most
temperature = 0.8  # of the samples, as in sample.py, and of the model whose gradient is followed
rules = DEFAULT_RULES  # what a workflow is refused by: a name in tct_github_workflow/rules.py
reward_weight = 0.3  # of a workflow's reward in the loss, beside nats per token of real workflows
batch_size = 4  # rows of real workflows in a step
# steps
max_iters = 100  # steps in the whole run
lr_scale = 0.2  # of the learning rate that the head was trained with
warmup_iters = 5  # steps in which the learning rate rises from 0; then it falls to 0
eval_interval = 50  # steps between evaluations on all of val, each followed by a checkpoint
# machine
device = "auto"  # 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'
dtype = "auto"  # of the matrix products: 'auto', 'float32', 'bfloat16'
config = configure(globals())

MAX_RETURN = 3.0  # of a token: a rare long workflow is not to outweigh all others
# of samples in one forward pass; their logits take 32 kB each, and on a CPU more is slower
BATCH_TOKENS = 512


def check_settings():
    for key in "num_samples", "max_new_tokens", "batch_size", "max_iters", "eval_interval":
        if config[key] < 1:
            fail(f"{key} must be at least 1, not {config[key]}.")
    if temperature <= 0:
        fail(f"temperature must be above 0, not {temperature}: without chance nothing is learned.")
    if init_from not in ("trained", "resume"):
        fail(f"--init_from={init_from}: trained or resume is needed.")
    if rules not in RULES:
        fail(f"--rules={rules}: one of {', '.join(RULES)} is needed.")
    if processes.world_size > 1:
        fail("this is one process: start it with python, not torchrun.")
    if os.path.abspath(out_dir) == os.path.abspath(trained):
        fail(f"--out_dir={out_dir} is the trained run itself: name another folder to write to.")


processes = Processes()
check_settings()

# ---- the model, from the trained run or from a checkpoint

model_before, checkpoint = load_run(trained, device)
model = copy.deepcopy(model_before)  # both without dropout
run = checkpoint["config"]  # the settings of the trained run
checkpoint.pop("optimizers", None)  # or they would take memory through the whole run
hardware = choose_device(device)
dtype, _ = hardware.choose_dtype(dtype)
autocast = contextlib.nullcontext()
if dtype == "bfloat16":
    autocast = torch.autocast(hardware.type, torch.bfloat16)
# the head alone: all weights together forget more for the same gain, and take twice the time
model.requires_grad_(False)
head = [model.lm_head.weight.requires_grad_()]
betas = (run["beta1"], run["beta2"])
optimizer = torch.optim.Adam(head, run["unembedding_lr"], betas, eps=1e-10)
progress = Progress()
ckpt_path = os.path.join(out_dir, "ckpt.pt")
if init_from == "resume":
    try:
        saved, progress = read_checkpoint(ckpt_path)
    except ValueError as e:
        fail(e)
    try:
        restore(saved, model, [optimizer])
    except ValueError as e:
        fail(f"{ckpt_path} {e}")
    del saved
    if progress.iter_num >= max_iters:
        print(f"nothing to do: {ckpt_path} holds step {progress.iter_num} of {max_iters}.")
        sys.exit(0)

# ---- the data

data_dir = data_dir or checkpoint["data_dir"]
try:
    data = load(data_dir)
except ValueError as e:
    fail(e)
vocab_size = tct.vocab_size()
places, _ = no_masks(data)
epoch = make_epoch(data, places, model.config.block_size, seed, epoch=0, split_share=0.0)
rows = [(epoch, windows) for windows in epoch.rows]
val_documents = data.documents("val")
val_bytes = sum(meta["val"]["bytes"] for meta in data.metas.values())

# ---- this run's folder

log = RunLog(processes.is_first)
try:
    aside = make_folder(out_dir, is_new=init_from == "trained")
    write_config(out_dir, config, {"device": hardware.description, "dtype": dtype, "trained": run})
except OSError as e:
    fail(f"cannot write into out_dir {out_dir} ({e.strerror or e}). Name another with --out_dir.")
log.open(out_dir, progress.iter_num if init_from == "resume" else None)
if aside:
    log.say(f"{out_dir} held a run: it is now {aside}. (To continue it: --init_from=resume)")

# ---- the steps of the loop


def draw_workflows():
    """num_samples generate.Samples of the model as it is now."""
    params = SamplingParams(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=hash((seed, progress.iter_num)) % 2**63,
        rules=rules,
        goes_back=False,
    )
    # a copy in bfloat16 draws twice as fast
    reader = copy.deepcopy(model).to(getattr(torch, dtype))
    return list(generate(reader, [((), ())] * num_samples, params))


def returns_of(samples):
    """For each sample (tokens,): what it earns from each token on."""
    rewards = []
    for sample in samples:
        reward = torch.zeros(len(sample.tokens))
        if sample.finish == Finish.REFUSED:
            reward[-1] = -1.0
        rewards.append(reward)
    earns = [earning_tokens(sample) for sample in samples]
    cost_per_token = -torch.cat(rewards).sum() / torch.cat(earns).sum()
    returns = []
    for reward, earning in zip(rewards, earns, strict=True):
        reward = reward + cost_per_token * earning
        returns.append(reward.flip(0).cumsum(0).flip(0))
    return returns


def earning_tokens(sample):
    """(tokens,): 1 for each, 0 for those that are repetition."""
    earning = torch.ones(len(sample.tokens))
    if repeats(sample.tokens):
        earning[-RECENT:] = 0
    return earning


def add_gradient_of_reward(samples):
    """Adds the gradient of -reward_weight * E[reward of a workflow]."""
    documents = [sample.tokens for sample in samples]
    returns = returns_of(samples)
    lengths = [len(tokens) for tokens in documents]
    for windows in make_batches(lengths, model.config.block_size, BATCH_TOKENS):
        idx, targets = fill_batch(windows, documents, vocab_size)
        advantages = torch.zeros(targets.shape)  # (B, T)
        for b, window in enumerate(windows):
            of_window = returns[window.document][window.start : window.start + window.length]
            advantages[b, : window.length] = of_window.clamp(max=MAX_RETURN)
        with autocast:
            logits, _ = model(idx.to(hardware.name))  # (B, T, V)
        nats = F.cross_entropy(
            (logits / temperature).flatten(0, 1),
            targets.flatten().to(hardware.name),
            ignore_index=-1,
            reduction="none",
        )
        # the probability of a token is to rise with what it earns, so its nats are to fall
        loss = (advantages.flatten().to(hardware.name) * nats).sum()
        (reward_weight / num_samples * loss).backward()


def add_gradient_of_change():
    """Adds the gradient of KL(before || now) per token of batch_size rows of real workflows.

    Returns that number, in nats.
    """
    first = progress.iter_num * batch_size
    chosen = [rows[i % len(rows)] for i in range(first, first + batch_size)]
    batch = torch.zeros(4, batch_size, model.config.block_size, dtype=torch.int64)
    fill(chosen, batch.numpy(), vocab_size)
    idx, _, windows, _ = batch.to(hardware.name)
    total = 0.0
    for b in range(batch_size):  # row by row, for the memory that logits take
        with autocast:
            x = model.read(idx[b : b + 1], windows[b : b + 1])
            with torch.no_grad():
                before = model_before.head(x).log_softmax(-1)
            now = model.head(x).log_softmax(-1)
        change = F.kl_div(now, before, log_target=True, reduction="sum") / idx.numel()
        change.backward()
        total += change.item()
    return total


def update_weights():
    scale = lr_scale * (1 - progress.iter_num / max_iters)
    scale *= min(1.0, (progress.iter_num + 1) / max(1, warmup_iters))
    torch.nn.utils.clip_grad_norm_(head, run["grad_clip"] or float("inf"))
    optimizer.param_groups[0]["lr"] = run["unembedding_lr"] * scale
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def evaluate():
    """Bits per byte on all of val, to the log."""
    with autocast:
        nats = token_nats(model, val_documents).sum()
    val_bits_per_byte = bits_per_byte(nats, val_bytes)
    log.say(f"eval {progress.iter_num} | {val_bits_per_byte:.4f} bits/byte")
    log.record(iter=progress.iter_num, val_bits_per_byte=val_bits_per_byte)


def log_step(samples, change):
    finished = [sample for sample in samples if sample.finish == Finish.STOP]
    n_tokens = sum(len(sample.tokens) for sample in samples)
    accepted = len(finished) / num_samples
    refused_per_token = (num_samples - len(finished)) / n_tokens
    mean_length = sum(len(sample.tokens) for sample in finished) / max(1, len(finished))
    spent_in_loop = time.perf_counter() - loop_began
    n_done = progress.iter_num - first_iter
    left = time_left(spent_in_loop, n_done, max_iters - progress.iter_num)
    log.say(
        f"iter {progress.iter_num}/{max_iters} | "
        f"accepted {accepted:.0%}, {mean_length:.0f} tokens | refused {refused_per_token:.2%} | "
        f"change {change:.4f} | {left} left"
    )
    log.record(
        iter=progress.iter_num,
        accepted=accepted,
        refused_per_token=refused_per_token,
        length=mean_length,
        change=change,
    )


def save_checkpoint():
    contents = {
        **checkpoint,  # what does not change: the settings of the trained run, hashes
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict()],
        "data_dir": data_dir,
    }
    try:
        write_checkpoint(ckpt_path, contents, progress)
    except OSError as e:
        fail(f"cannot write {ckpt_path} ({e.strerror or e}). Make room, then --init_from=resume.")


# ---- the loop

log.say(
    f"a step draws {num_samples} workflows, and reads {batch_size} of {len(rows):,} real rows\n"
    "accepted: of those drawn, and their mean length; refused: of the tokens drawn;\n"
    "change: KL from the model before, in nats per token of real workflows"
)
if progress.iter_num == 0:
    evaluate()
signals = listen_for_signals()
first_iter = progress.iter_num
loop_began = time.perf_counter()
while progress.iter_num < max_iters and not signals:
    samples = draw_workflows()
    add_gradient_of_reward(samples)
    change = add_gradient_of_change()
    update_weights()
    progress.iter_num += 1
    log_step(samples, change)
    if progress.iter_num % eval_interval == 0 or progress.iter_num == max_iters:
        evaluate()
        save_checkpoint()

# ---- the end

if signals:
    save_checkpoint()
    log.say(f"stopped by {signals[0]}; {ckpt_path} holds step {progress.iter_num}. To continue:")
    log.say(command_to_resume(processes))
    sys.exit(128 + signal.SIGTERM)
log.say(
    f"done; {ckpt_path} holds step {progress.iter_num}. "
    f"Next: {command_for('sample.py', out_dir)} --constrained=False, "
    f"{command_for('eval.py', out_dir)}"
)
