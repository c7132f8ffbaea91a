"""Train a GPT on prepared workflows, on GPUs or a CPU; safe to kill at any moment.

    torchrun --nproc_per_node=8 train.py config/medium.py   # 8 GPUs
    python train.py config/small.py                         # one GPU
    python train.py config/tiny.py                          # a CPU, minutes
    python train.py config/tiny.py --init_from=resume       # continue

Reads   data_dir/{train,val}.bin, .idx and meta.json, which prepare.py writes.
Writes  out_dir/: config.json, training.log, log.jsonl, loss.png, ckpt.pt (the
        last) and ckpt_best.pt (the best on val).

What a step trains on follows from the seed and the number of the step; neither
the number of processes nor an interruption changes it. On a CPU, a run that was
killed and resumed ends with the same weights, bit for bit.
"""

import contextlib
import functools
import math
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass

import torch
from torch.nn.parallel import DistributedDataParallel as DDP

import tct_github_workflow as tct
from config import configure, fail
from data.epochs import make_epoch
from data.masks import load_masks, no_masks
from data.windows import STRIDE, count_targets, fill, load
from loss import Validity
from metrics.likelihood import bits_per_byte, token_nats
from model import GPT, GPTConfig
from run.checkpoint import Progress, read_checkpoint, restore, write_checkpoint
from run.commands import command_for, command_to_resume
from run.device import choose_device
from run.log import Interval, RunLog, make_folder, time_left, write_config
from run.processes import Processes, is_loss_of_others, listen_for_signals
from run.screen import guard_screens

guard_screens()

# data and run
data_dir = "data/pypi"  # what prepare.py wrote; several folders, comma-separated, are read as one
out_dir = "out"  # the run's folder; a run that is already in it is moved aside, not overwritten
init_from = "scratch"  # 'scratch', or 'resume': continue from out_dir/ckpt.pt
seed = 1337  # of the weights, the order of the data and dropout
# model
n_layer = 8  # blocks
n_head = 6  # attention heads; n_embd / n_head must be even
n_embd = 384  # width
block_size = 1024  # tokens per row, position token included; a multiple of 32
dropout = 0.1  # share of what a block adds to the stream that is dropped in training; 0.0: none
part_share = 0.5  # of the embeddings of a token's parts, joins its own; 0.0: none
# what is learned
split_share = 0.1  # of the tokens, spelled by their parts in the first epoch; it falls to 0
validity_weight = 4.0  # on the probability of what cannot come, beyond cross-entropy; 0.0: none
# steps
batch_size = 16  # rows in one forward pass on one device, at most: lower it when memory runs out
gradient_accumulation_steps = 1  # a step has batch_size * this many rows, shared by all processes
max_iters = 1000  # steps in the whole run
learning_rate = 0.02  # of Muon, for matrices of blocks: an update's root mean square is 0.2 * it
embedding_lr = 0.2  # of AdamW, for the embeddings
unembedding_lr = 0.01  # of AdamW, for the head
weight_decay = 0.1  # of Muon, times its learning rate
embedding_decay = 0.03  # of the embeddings, times embedding_lr; the head has none
beta1 = 0.8  # of AdamW
beta2 = 0.95  # of AdamW
grad_clip = 1.0  # largest norm of the gradient; 0.0 switches clipping off
warmup_iters = 20  # steps in which the learning rates rise from 0
warmdown_ratio = 1.0  # share of the run, at its end, in which they fall to 0 in a straight line
# evaluation and log
eval_interval = 100  # steps between evaluations on all of val, each followed by a checkpoint
log_interval = 10  # steps between log lines
wandb_log = False  # also log to Weights & Biases (pip install wandb)
wandb_project = "nanotct"  # its project there; the run is called like out_dir
# machine
device = "auto"  # 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'
dtype = "auto"  # of the matrix products: 'auto', 'float32', 'bfloat16'
compile = "auto"  # torch.compile: 'auto' (on a GPU or CPU, if it works), 'True', 'False'
ddp_timeout = 60  # seconds that a process waits for the others before the run ends
config = configure(globals())

# ---- setup: the processes, and what they say

processes = Processes()
rank, world_size, is_first = processes.rank, processes.world_size, processes.is_first
out_dir = os.path.normpath(out_dir)  # a shell completes it to "out/"
ckpt_path = os.path.join(out_dir, "ckpt.pt")
best_path = os.path.join(out_dir, "ckpt_best.pt")
last_saved = "there is no checkpoint yet"
log = RunLog(is_first)


def stop(message):
    """fail(), in training.log as well. Any process may be the first to find the reason."""
    log.note(f"train.py: {message}")
    fail(message)


def explain(kind, error, trace):
    """One line instead of a traceback, where we know what the user can do."""
    if issubclass(kind, KeyboardInterrupt):
        log.say("stopped before the first step: nothing to save.")
    elif issubclass(kind, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        log.say(
            f"train.py: out of memory on {device}. Lower batch_size (now {batch_size}) and raise "
            "gradient_accumulation_steps by the same factor: the result stays the same."
        )
    elif issubclass(kind, ModuleNotFoundError):
        log.say(f"train.py: {error}. To install it: pip install {error.name}")
    elif world_size > 1 and is_loss_of_others(error):
        reason = str(error).splitlines()[0]
        lost = f"train.py: process {rank} lost the others ({reason:.200}); {last_saved}."
        print(lost, flush=True)
        os._exit(1)  # threads of gloo, which still look for them, would hold up a regular end
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = explain


# ---- settings, checked before anything is built

rows_per_step = batch_size * gradient_accumulation_steps
# forward passes of a process in one step, and the rows of each
micro_steps = max(1, math.ceil(gradient_accumulation_steps / world_size))
micro_rows = rows_per_step // (world_size * micro_steps)
CHOICES = {
    "init_from": ("scratch", "resume"),
    "dtype": ("auto", "float32", "bfloat16"),
    "compile": ("auto", "True", "False"),
}


def check_settings():
    for key in (
        "batch_size",
        "gradient_accumulation_steps",
        "max_iters",
        "eval_interval",
        "log_interval",
    ):
        if config[key] < 1:
            fail(f"{key} must be at least 1, not {config[key]}.")
    if not 0 <= split_share < 1:
        fail(f"split_share must be at least 0 and less than 1, not {split_share}.")
    if validity_weight < 0:
        fail(f"validity_weight must be at least 0, not {validity_weight}.")
    for key, choices in CHOICES.items():
        if config[key] not in choices:
            fail(f"{key} must be one of {', '.join(choices)}; not '{config[key]}'.")
    if block_size % STRIDE:
        fail(f"block_size {block_size} must be a multiple of {STRIDE}.")
    if n_embd % (2 * n_head):
        fail(f"n_embd {n_embd} must be n_head {n_head} times an even number.")
    if rows_per_step != micro_rows * micro_steps * world_size:
        fail(
            f"{world_size} processes cannot evenly share the {rows_per_step} rows of a step, "
            f"batch_size {batch_size} * gradient_accumulation_steps {gradient_accumulation_steps}. "
            f"Make that a multiple of {world_size}."
        )


check_settings()

# ---- data

try:
    data = load(data_dir)
    places, masks = load_masks(data) if validity_weight else no_masks(data)
except ValueError as e:
    fail(e)
metas = list(data.metas.values())
meta = metas[0]  # what the folders have in common: the tokenizer
vocab_size = tct.vocab_size()
if (meta["vocab_size"], meta["tokenizer_hash"]) != (vocab_size, tct.tokenizer_hash()):
    fail(
        f"{data_dir} was made with another tokenizer: vocab_size {meta['vocab_size']}, "
        f"tokenizer_hash {meta['tokenizer_hash'][:12]}, not {vocab_size}, "
        f"{tct.tokenizer_hash()[:12]}. Run prepare.py again."
    )
data_contents = [[m["train"], m["val"]] for m in metas]  # counts and hashes
train_tokens = sum(m["train"]["tokens"] for m in metas)
val_tokens = sum(m["val"]["tokens"] for m in metas)
val_bytes = sum(m["val"]["bytes"] for m in metas)
val_documents = data.documents("val")


@dataclass
class Step:
    """What one step trains on."""

    micro_batches: list  # of this process, as data.windows.fill() says: (4, micro_rows, block_size)
    n_targets: int  # in the whole step, all processes together
    next_cursor: tuple  # the (epoch, row) at which the step after this one begins


@functools.lru_cache(1)
def epoch_rows(epoch):
    """The rows of an epoch, in training order: pairs (Epoch, WINDOW array)."""
    n_epochs = max_iters * rows_per_step * block_size / train_tokens
    share = split_share * max(0.0, 1 - epoch / n_epochs)
    made = make_epoch(data, places, block_size, seed, epoch, share)
    return [(made, windows) for windows in made.rows]


def next_step(cursor):
    """The Step that begins at cursor, an (epoch, row)."""
    epoch, row = cursor
    rows = epoch_rows(epoch)[row : row + rows_per_step]
    row += len(rows)
    while len(rows) < rows_per_step:
        epoch, row = epoch + 1, rows_per_step - len(rows)
        rows = rows + epoch_rows(epoch)[:row]
    micro_batches = []
    for first in range(rank * micro_rows, rows_per_step, world_size * micro_rows):
        batch = torch.zeros(
            4, micro_rows, block_size, dtype=torch.int64, pin_memory=device_type == "cuda"
        )
        fill(rows[first : first + micro_rows], batch.numpy(), vocab_size)
        micro_batches.append(batch.to(device, non_blocking=True))
    return Step(micro_batches, count_targets(rows), (epoch, row))


# ---- device and precision: what the machine is good at

try:
    hardware = choose_device(device, processes.local_rank, world_size)
except ValueError as e:
    fail(f"--device={device}: {e}")
device, device_type = hardware.name, hardware.type
dtype, dtype_reason = hardware.choose_dtype(dtype)
autocast = contextlib.nullcontext()
if dtype == "bfloat16":
    autocast = torch.autocast(device_type, torch.bfloat16)
if device_type == "cuda":
    torch.set_float32_matmul_precision("high")
if device_type == "cpu":
    # or compiled code adds up the embeddings' gradients in whatever order its threads come
    torch.use_deterministic_algorithms(True, warn_only=True)

# ---- the run: from the start, or from a checkpoint

model_args = dict(
    vocab_size=vocab_size,
    n_layer=n_layer,
    n_head=n_head,
    n_embd=n_embd,
    block_size=block_size,
    dropout=dropout,
    part_share=part_share,
)


def load_checkpoint():
    """(checkpoint, Progress) of out_dir/ckpt.pt, if the settings are those of its model."""
    try:
        checkpoint, progress = read_checkpoint(ckpt_path)
    except ValueError as e:
        fail(e)
    found = {**asdict(GPTConfig()), **checkpoint["model_args"]}  # older ones say less
    found["tokenizer_hash"] = checkpoint["tokenizer_hash"]
    wanted = {**model_args, "tokenizer_hash": meta["tokenizer_hash"]}
    for key, value in wanted.items():
        if found[key] != value and key != "dropout":
            fail(
                f"{ckpt_path} has {key} {found[key]}, but the settings or the data say {value}. "
                "Resume with those of the run."
            )
    if checkpoint.get("data", data_contents) != data_contents:  # older ones do not say
        log.say(
            f"{data_dir} is not the data that {ckpt_path} was trained on: its best loss, "
            f"{progress.best_val_loss:.4f} nats, does not count, and epochs are counted anew."
        )
        progress.forget_data()
    return checkpoint, progress


progress = Progress()
if init_from == "resume":
    checkpoint, progress = load_checkpoint()
    last_saved = f"{ckpt_path} holds iter {progress.iter_num}"
    if progress.iter_num >= max_iters:
        log.say(
            f"nothing to do: {last_saved} of {max_iters}. "
            f"To train on: --max_iters={2 * max_iters} --init_from=resume"
        )
        sys.exit(0)
processes.join(hardware.backend, ddp_timeout)

# ---- the run's folder


def start_folder():
    """out_dir with config.json in it and nothing of another run."""
    aside = make_folder(out_dir, is_new=init_from == "scratch")
    if aside:
        log.say(
            f"{out_dir} held a run: it is now {aside}. "
            "(To continue a run instead: --init_from=resume)"
        )
    facts = {"device": hardware.description, "dtype": dtype, "processes": world_size}
    write_config(out_dir, config, {**facts, "data": data.metas})


if is_first:
    try:
        start_folder()
    except OSError as e:
        fail(
            f"cannot write into out_dir {out_dir} ({e.strerror or e}). Name another with --out_dir."
        )
    log.open(out_dir, progress.iter_num if init_from == "resume" else None)
    if wandb_log:
        import wandb

        log.start_wandb(wandb, wandb_project, config)

# ---- model and optimizers


def validity_of(place):
    """What loss.py needs to weigh what cannot come. place: (B, T), the number of each mask."""
    return Validity(place, masks, validity_weight) if validity_weight else None


def compile_model():
    """raw_model through torch.compile, or as it is where that does not work."""
    log.say("compiling the model, which takes a minute at most...")
    began = time.perf_counter()
    compiled = torch.compile(raw_model)
    nothing = torch.zeros(micro_rows, block_size, dtype=torch.int64, device=device)
    try:  # a step thrown away: what does not compile here fails here
        with autocast:
            _, loss = compiled(nothing, nothing, "sum", nothing, validity_of(nothing))
        loss.backward()
    except torch.OutOfMemoryError:
        raise
    except Exception as e:  # no compiler, an unsupported device: errors of many kinds
        log.say(
            f"torch.compile does not work here ({type(e).__name__}): continuing without. "
            "--compile=False saves the attempt."
        )
        compiled = raw_model
    raw_model.zero_grad(set_to_none=True)
    progress.seconds += time.perf_counter() - began
    return compiled


def say_what_is_trained():
    n_parameters = sum(p.numel() for p in raw_model.parameters())
    n_block_parameters = sum(p.numel() for p in raw_model.blocks.parameters())
    rows = epoch_rows(progress.cursor[0])
    padding = 1 - count_targets(rows) / len(rows) / block_size
    n_processes = "1 process" if world_size == 1 else f"{world_size} processes"
    log.say(f"device: {device} ({hardware.description}), {dtype} ({dtype_reason}), {n_processes}")
    log.say(f"model: {n_parameters:,} parameters, {n_block_parameters:,} of them in the blocks")
    log.say(
        f"data: {len(data.tables['train']):,} documents, {train_tokens:,} tokens; "
        f"val {len(val_documents):,}, {val_tokens:,}"
    )
    log.say(
        f"steps: {rows_per_step} rows of {block_size}, "
        f"as {world_size} x {micro_steps} x {micro_rows}; "
        f"an epoch is {len(rows) / rows_per_step:,.1f} steps, {padding:.2%} padding"
    )


torch.manual_seed(seed)
raw_model = GPT(GPTConfig(**model_args)).to(device)
masks = torch.from_numpy(masks).to(device)  # (masks, vocab_size) uint8: what might come
optimizers = raw_model.configure_optimizers(
    (learning_rate, embedding_lr, unembedding_lr),
    (weight_decay, embedding_decay),
    (beta1, beta2),
    dtype == "bfloat16",
)
if init_from == "resume":
    try:
        restore(checkpoint, raw_model, optimizers)
    except ValueError as e:
        stop(f"{ckpt_path} {e}")
    del checkpoint  # or it would take memory through the whole run
say_what_is_trained()
model = raw_model
if compile == "True" or (compile == "auto" and device_type in ("cuda", "cpu")):
    model = compile_model()
if world_size > 1:
    processes.wait_for_all()  # one may have compiled for long
    model = DDP(model, device_ids=hardware.device_ids)

# ---- the steps of the loop


def evaluate():
    """(nats per token, bits per byte) on all of val, of which each process reads its share."""
    raw_model.eval()
    with autocast:
        nats = token_nats(raw_model, val_documents[rank::world_size]).sum()
    raw_model.train()
    nats = processes.add_up(torch.tensor(nats), device).item()
    return nats / val_tokens, bits_per_byte(nats, val_bytes)


def save_checkpoint(path):
    """All that resuming needs. path always holds a whole checkpoint, the old one or the new."""
    global last_saved
    checkpoint = {
        "model": raw_model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "model_args": model_args,
        "config": config,
        "data_dir": data_dir,
        "data": data_contents,
        "tokenizer_hash": meta["tokenizer_hash"],
        "schema_hash": meta["schema_hash"],
    }
    try:
        write_checkpoint(path, checkpoint, progress)
    except OSError as e:
        reason = e.strerror or e
        stop(f"cannot write {path} ({reason}); {last_saved}. Make room, then --init_from=resume.")
    last_saved = f"{path} holds iter {progress.iter_num}"


def evaluate_and_save():
    """Evaluate, write to the log, save; what only people need comes last."""
    seconds = progress.seconds + interval.seconds()
    began = time.perf_counter()
    val_loss, val_bits_per_byte = evaluate()
    is_best = val_loss <= progress.best_val_loss
    if is_best:
        progress.best_val_loss = val_loss
    progress.last_eval = progress.iter_num
    log.record(
        iter=progress.iter_num,
        val_loss=val_loss,
        val_bits_per_byte=val_bits_per_byte,
        seconds=seconds,
    )
    if is_first and is_best:
        save_checkpoint(best_path)
    if is_first and math.isfinite(val_loss):
        save_checkpoint(ckpt_path)
    log.say(
        f"eval {progress.iter_num} | val {val_loss:.4f} nats | {val_bits_per_byte:.4f} bits/byte | "
        f"best {progress.best_val_loss:.4f} nats"
    )
    log.plot()
    processes.wait_for_all()
    interval.eval_seconds += time.perf_counter() - began


def set_learning_rates():
    """They rise, stay, and fall to zero. Returns what Muon's is now."""
    scale = min(
        1.0,
        (progress.iter_num + 1) / max(1, warmup_iters),
        (max_iters - progress.iter_num) / max(1.0, warmdown_ratio * max_iters),
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * scale
    return learning_rate * scale


def add_gradients(step):
    """The gradient of the mean over all targets of the step: a sum over rows, micro-steps and
    processes, divided once. Returns this process's part of that mean, a tensor on the device."""
    # dropout, too, follows from the step
    torch.manual_seed(hash((seed, progress.iter_num, rank)) % 2**63)
    loss_sum = torch.zeros((), device=device)
    for i, (idx, targets, windows, place) in enumerate(step.micro_batches):
        if world_size > 1:
            model.require_backward_grad_sync = i == micro_steps - 1  # what DDP.no_sync() sets
        with autocast:
            nats, loss = model(idx, targets, "sum", windows, validity_of(place))
        # DDP takes the mean over processes: world_size makes it a sum
        (loss * (world_size / step.n_targets)).backward()
        loss_sum += nats
    return loss_sum / step.n_targets


def update_weights(loss, norm):
    """A step of the optimizers, unless loss or gradient went wrong, which the device decides.

    Returns (loss, norm, number of signals), a tensor: reading it waits for the device.
    """
    numbers = torch.stack([loss, torch.full_like(loss, len(signals))])
    loss, n_signals = processes.add_up(numbers, device)
    found_inf = 1.0 - torch.isfinite(loss + norm).float()
    for optimizer in optimizers:
        optimizer.found_inf = found_inf
        optimizer.step()
    raw_model.zero_grad(set_to_none=True)
    return torch.stack([loss, norm, n_signals])


def count_bad_steps(loss, norm):
    """Steps in a row that changed nothing, as something was not finite; five end the run."""
    if math.isfinite(loss + norm):
        progress.bad_steps = 0
    else:
        progress.bad_steps += 1
        log.say(
            f"iter {progress.iter_num + 1} skipped: loss {loss}, gradient norm {norm} "
            f"({progress.bad_steps} in a row)"
        )
    if progress.bad_steps == 5:
        stop(
            f"5 steps in a row were not finite; {last_saved}. "
            f"Lower learning_rate (now {learning_rate}), embedding_lr ({embedding_lr}) and "
            f"unembedding_lr ({unembedding_lr}), or set --dtype=float32, then --init_from=resume."
        )


def log_interval_end(loss, norm, lr):
    """The line about the last log_interval steps, and a new Interval."""
    global interval
    spent = interval.seconds()
    progress.seconds += spent
    tokens_per_s = interval.n_targets / spent
    mfu = raw_model.estimate_mfu(tokens_per_s / world_size, hardware.description)
    spent_in_loop = time.perf_counter() - loop_began
    n_done = progress.iter_num - first_iter
    left = time_left(spent_in_loop, n_done, max_iters - progress.iter_num)
    mfu_text = f"mfu {mfu:.1%} | " if mfu else ""
    log.say(
        f"iter {progress.iter_num}/{max_iters} | loss {loss:.4f} nats | lr {lr:.2g} | "
        f"norm {norm:.2f} | {tokens_per_s:,.0f} tok/s | {mfu_text}{left} left"
    )
    log.record(
        iter=progress.iter_num,
        loss=loss,
        lr=lr,
        norm=norm,
        ms=1000 * spent / (progress.iter_num - interval.first_iter),
        tokens_per_s=tokens_per_s,
        mfu=mfu,
        epoch=progress.cursor[0],
        seconds=progress.seconds,
    )
    interval = Interval(progress.iter_num)


# ---- the loop

signals = listen_for_signals()
n_signals = 0  # of all processes
step = next_step(progress.cursor)
first_iter = progress.iter_num
loop_began = time.perf_counter()
interval = Interval(first_iter)
while True:
    is_last = progress.iter_num == max_iters
    is_due = progress.iter_num % eval_interval == 0 or is_last
    if is_due and progress.iter_num != progress.last_eval:
        evaluate_and_save()
    if is_last:
        break

    lr = set_learning_rates()
    loss = add_gradients(step)
    norm = torch.nn.utils.clip_grad_norm_(raw_model.parameters(), grad_clip or math.inf)
    numbers = update_weights(loss, norm)
    interval.n_targets += step.n_targets
    progress.cursor = step.next_cursor
    step = next_step(progress.cursor)  # while the GPU is busy
    loss, norm, n_signals = numbers.tolist()  # waits for it, once a step
    count_bad_steps(loss, norm)
    progress.iter_num += 1

    if progress.iter_num % log_interval == 0 or progress.iter_num == max_iters:
        log_interval_end(loss, norm, lr)
    if n_signals > 0:
        break

# ---- the end

is_stopped = n_signals > 0
if is_stopped:
    if is_first and progress.bad_steps == 0:
        save_checkpoint(ckpt_path)
    name = signals[0] if signals else "another process"
    log.say(f"stopped by {name}; {last_saved}. To continue:\n{command_to_resume(processes)}")
else:
    minutes = (time.perf_counter() - loop_began) / 60
    log.say(
        f"done in {minutes:.1f} minutes; {last_saved}. "
        f"Next: {command_for('sample.py', out_dir)}, {command_for('eval.py', out_dir)}"
    )
model = raw_model  # without DDP, which holds the group
processes.leave()
if is_stopped:
    sys.exit(128 + signal.SIGTERM)
