"""Train a GPT on prepared workflows, on GPUs or a CPU; safe to kill at any moment.

    torchrun --nproc_per_node=8 train.py config/medium.py   # 8 GPUs
    python train.py config/small.py                         # one GPU
    python train.py config/tiny.py                          # a CPU, minutes
    python train.py config/tiny.py --init_from=resume       # go on

Reads   data_dir/{train,val}.bin, .idx and meta.json, which prepare.py writes.
Writes  out_dir/: config.json, training.log, log.jsonl, loss.png, ckpt.pt (the
        last) and ckpt_best.pt (the best on val).

What a step trains on follows from the seed and the number of the step; neither
the number of processes nor an interruption changes it. On a CPU, a run that was
killed and resumed ends with the same weights, bit for bit.
"""

import contextlib
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP

from config import configure
from data.windows import STRIDE as _STRIDE  # the underscore keeps it from being a setting
from data.windows import count_targets, fill, load, pack
from device import choose_device
from metrics.likelihood import bits_per_byte, token_nats
from model import GPT, GPTConfig

# data and run
data_dir = "data/pypi"  # what prepare.py wrote; several folders, comma-separated, are read as one
out_dir = "out"  # the run's folder; a run that is already in it is moved aside, not overwritten
init_from = "scratch"  # 'scratch', or 'resume': go on from out_dir/ckpt.pt
seed = 1337  # of the weights, the order of the data and dropout
# model
n_layer = 8  # blocks
n_head = 6  # attention heads; n_embd / n_head must be even
n_embd = 384  # width
block_size = 1024  # tokens per row, position token included; a multiple of 32
dropout = (
    0.1  # share of what a block adds to the stream dropped while training; 0.0 switches it off
)
# steps
batch_size = 16  # rows in one forward pass on one device, at most: lower it when memory runs out
gradient_accumulation_steps = (
    1  # a step trains on batch_size * this many rows, however many processes share them
)
max_iters = 1000  # steps in the whole run
learning_rate = (
    0.02  # of Muon, for the matrices in the blocks; an update's root mean square is 0.2 times this
)
embedding_lr = 0.2  # of AdamW, for the embeddings
unembedding_lr = 0.01  # of AdamW, for the head
weight_decay = 0.1  # of Muon; what AdamW trains has none
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

# ---- processes and messages

rank, local_rank, world_size = (
    int(os.environ.get(k, v)) for k, v in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1).items()
)
master = rank == 0
history, log_jsonl, training_log = (
    [],
    None,
    None,
)  # what log.jsonl holds; the open files, once the run folder exists


def say(text):
    """The one way to the screen and to training.log."""
    if master:
        print(text, flush=True)
        if training_log:
            print(text, file=training_log, flush=True)


def record(**numbers):
    """The one way to log.jsonl (and to wandb)."""
    if master:
        history.append(numbers)
        print(json.dumps(numbers), file=log_jsonl, flush=True)
        if wandb_log:
            wandb.log(numbers, step=numbers["iter"])


def fail(message):
    (say if master else print)(
        f"train.py: {message}"
    )  # any process may be the first to find it, and ends the others
    sys.exit(1)


def explain(kind, error, trace):
    """One line instead of a traceback, where we know what the user can do."""
    if issubclass(kind, KeyboardInterrupt):
        say("stopped before the first step: nothing to save.")
    elif issubclass(kind, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        say(
            f"train.py: out of memory on {device}. Lower batch_size (now {batch_size}) and raise "
            "gradient_accumulation_steps by the same factor: the result stays the same."
        )
    elif issubclass(kind, ModuleNotFoundError):
        say(f"train.py: {error}. To install it: pip install {error.name}")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = explain

# ---- settings and data, checked before anything is built

rows_per_step = batch_size * gradient_accumulation_steps
micro_steps = max(
    1, math.ceil(gradient_accumulation_steps / world_size)
)  # forward passes of a process in one step
micro_rows = rows_per_step // (world_size * micro_steps)  # rows of each
if min(batch_size, gradient_accumulation_steps, max_iters, eval_interval, log_interval) < 1:
    fail(
        "batch_size, gradient_accumulation_steps, max_iters, eval_interval and log_interval must be at least 1."
    )
if block_size % _STRIDE or n_embd % n_head or n_embd // n_head % 2:
    fail(
        f"block_size {block_size} must be a multiple of {_STRIDE}, and n_embd {n_embd} n_head {n_head} times an even number."
    )
for key, choices in dict(
    init_from="scratch resume", dtype="auto float32 bfloat16", compile="auto True False"
).items():
    if config[key] not in choices.split():
        fail(f"{key} must be one of: {choices}; not '{config[key]}'.")
if rows_per_step != micro_rows * micro_steps * world_size:
    fail(
        f"{world_size} processes cannot evenly share the {rows_per_step} rows of a step, batch_size {batch_size} * "
        f"gradient_accumulation_steps {gradient_accumulation_steps}. Make that a multiple of {world_size}."
    )

try:
    ids, tables, metas = load(data_dir)
except ValueError as e:
    fail(e)
meta = next(iter(metas.values()))
try:
    import tct_github_workflow as tct

    tokenizer = (tct.vocab_size(), tct.tokenizer_hash())
except ImportError:  # training alone needs only the ids
    say("tct_github_workflow is not installed: the data's tokenizer is not checked against it.")
    tokenizer = (meta["vocab_size"], meta["tokenizer_hash"])
if (meta["vocab_size"], meta["tokenizer_hash"]) != tokenizer:
    fail(
        f"{data_dir} was made with another tokenizer: vocab_size {meta['vocab_size']}, tokenizer_hash "
        f"{meta['tokenizer_hash'][:12]}, not {tokenizer[0]}, {tokenizer[1][:12]}. Run prepare.py again."
    )
val_documents = [
    ids["val"][folder][begin : begin + length] for folder, begin, length in tables["val"]
]
train_tokens, val_tokens, val_bytes = (
    sum(m[s][k] for m in metas.values())
    for s, k in (("train", "tokens"), ("val", "tokens"), ("val", "bytes"))
)

packed = {}  # epoch: its rows


def next_batch(epoch, row):
    """The step that begins at this row: this process's micro-batches (idx, targets, windows), (3, micro_rows, block_size) each;
    the number of targets in the whole step, all processes together; and the (epoch, row) at which the next step begins."""
    rows = []
    while len(rows) < rows_per_step:
        if epoch not in packed:
            packed.clear()
            packed[epoch] = pack(tables["train"], block_size, seed, epoch)
        taken = packed[epoch][row : row + rows_per_step - len(rows)]
        rows, row = rows + taken, row + len(taken)
        if len(rows) < rows_per_step:
            epoch, row = epoch + 1, 0
    batches = []
    for first in range(rank * micro_rows, rows_per_step, world_size * micro_rows):
        batch = torch.zeros(
            3, micro_rows, block_size, dtype=torch.int64, pin_memory=device_type == "cuda"
        )
        fill(rows[first : first + micro_rows], ids["train"], batch.numpy(), tokenizer[0])
        batches.append(batch.to(device, non_blocking=True))
    return batches, count_targets(rows), (epoch, row)


# ---- device and precision: what the machine is good at

try:
    hardware = choose_device(device, local_rank, world_size)
except ValueError as e:
    fail(f"--device={device}: {e}")
device, device_type = hardware.name, hardware.type
dtype, why = hardware.choose_dtype(dtype)
autocast = contextlib.nullcontext()
if dtype == "bfloat16":
    autocast = torch.autocast(device_type, torch.bfloat16)
if device_type == "cuda":
    torch.set_float32_matmul_precision("high")

# ---- the run folder

ckpt_path, best_path = os.path.join(out_dir, "ckpt.pt"), os.path.join(out_dir, "ckpt_best.pt")
model_args = {
    "vocab_size": tokenizer[0],
    **{k: config[k] for k in ("n_layer", "n_head", "n_embd", "block_size", "dropout")},
}
state = {
    "iter_num": 0,
    "best_val_loss": math.inf,
    "cursor": (0, 0),
    "last_eval": 0,
    "bad_steps": 0,
    "seconds": 0.0,
}
last_saved = "there is no checkpoint yet"
if init_from == "resume":
    try:
        checkpoint = torch.load(
            ckpt_path, map_location="cpu", weights_only=True
        )  # to CPU memory: a GPU may be full
        state, last_saved = (
            {key: checkpoint[key] for key in state},
            f"{ckpt_path} holds iter {checkpoint['iter_num']}",
        )
    except FileNotFoundError:
        fail(
            f"there is no {ckpt_path} to resume. Leave out --init_from=resume, or name the run's folder with --out_dir."
        )
    except Exception as e:  # a damaged file makes torch.load raise errors of many kinds
        fail(
            f"{ckpt_path} is damaged ({type(e).__name__}). Copy {best_path} over it to go on from the best checkpoint."
        )
    for key, mine in {**model_args, "tokenizer_hash": tokenizer[1]}.items():
        found = {**checkpoint["model_args"], **checkpoint}[key]
        if found != mine and key != "dropout":
            fail(
                f"{ckpt_path} has {key} {found}, but the settings or the data say {mine}. Resume with those of the run."
            )
    if state["iter_num"] >= max_iters:
        say(
            f"nothing to do: {last_saved} of {max_iters}. To train on: --max_iters={2 * max_iters} --init_from=resume"
        )
        sys.exit(0)

if world_size > 1:
    dist.init_process_group(hardware.backend, timeout=timedelta(seconds=ddp_timeout))
if master:
    if init_from == "scratch" and os.path.exists(ckpt_path):
        aside = next(
            f"{out_dir}.{n}" for n in range(1, 10**6) if not os.path.exists(f"{out_dir}.{n}")
        )
        os.rename(out_dir, aside)
        say(
            f"{out_dir} held a run: it is now {aside}. (To go on with a run instead: --init_from=resume)"
        )
    os.makedirs(out_dir, exist_ok=True)
    log_path = os.path.join(out_dir, "log.jsonl")
    if init_from == "resume" and os.path.exists(log_path):
        with open(
            log_path, encoding="utf-8"
        ) as f:  # without what came after the checkpoint: it is done again
            records = [json.loads(line) for line in f if line.endswith("\n")]
            history = [r for r in records if r["iter"] <= state["iter_num"]]
    log_jsonl = open(log_path, "w", encoding="utf-8")
    log_jsonl.writelines(json.dumps(r) + "\n" for r in history)
    training_log = open(
        os.path.join(out_dir, "training.log"),
        "w" if init_from == "scratch" else "a",
        encoding="utf-8",
    )
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=os.path.dirname(os.path.abspath(__file__)),
        capture_output=True,
    )
    facts = {
        "command": sys.argv,
        "git_commit": git.stdout.decode().strip() or None,
        "device": hardware.description,
        "dtype": dtype,
        "processes": world_size,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "data": metas,
    }
    with open(os.path.join(out_dir, "config.json"), "w", encoding="utf-8") as f:
        json.dump({**config, "facts": facts}, f, indent=1)
    if wandb_log:
        import wandb

        wandb.init(project=wandb_project, name=out_dir, config=config)

# ---- model and optimizers

torch.manual_seed(seed)
raw_model = GPT(GPTConfig(**model_args)).to(device)
optimizers = raw_model.configure_optimizers(
    learning_rate, embedding_lr, unembedding_lr, weight_decay, (beta1, beta2), dtype == "bfloat16"
)
if init_from == "resume":
    try:
        raw_model.load_state_dict(checkpoint["model"])
    except RuntimeError as e:
        fail(
            f"{ckpt_path} does not fit the GPT of model.py: {str(e).splitlines()[1].strip():.200} Resume with the model.py of the run."
        )
    for optimizer, saved in zip(optimizers, checkpoint["optimizers"]):
        for old, new in zip(saved["param_groups"], optimizer.param_groups):
            old.update(
                {k: v for k, v in new.items() if k != "params"}
            )  # rates and the like are those set now
        optimizer.load_state_dict(saved)
    del checkpoint, saved  # or they would take memory through the whole run
epoch_rows = len(pack(tables["train"], block_size, seed, 0))
say(
    f"device: {device} ({hardware.description}), {dtype} ({why}), {world_size} process{'es' * (world_size > 1)}"
)
say(
    f"model: {sum(p.numel() for p in raw_model.parameters()):,} parameters, "
    f"{sum(p.numel() for p in raw_model.blocks.parameters()):,} of them in the blocks"
)
say(
    f"data: {len(tables['train']):,} documents, {train_tokens:,} tokens; val {len(val_documents):,}, {val_tokens:,}"
)
say(
    f"steps: {rows_per_step} rows of {block_size}, as {world_size} x {micro_steps} x {micro_rows}; an epoch is "
    f"{epoch_rows / rows_per_step:,.1f} steps, {1 - train_tokens / epoch_rows / block_size:.2%} padding"
)

model = raw_model
if compile == "True" or compile == "auto" and device_type in ("cuda", "cpu"):
    say("compiling the model, which takes a minute at most...")
    start = time.perf_counter()
    try:  # a step thrown away: what does not compile here fails here
        model, nothing = (
            torch.compile(raw_model),
            torch.zeros(micro_rows, block_size, dtype=torch.int64, device=device),
        )
        with autocast:
            model(nothing, nothing, "sum", nothing)[1].backward()
    except torch.OutOfMemoryError:
        raise
    except Exception as e:  # no compiler, an unsupported device: errors of many kinds
        say(
            f"torch.compile does not work here ({type(e).__name__}): going on without. --compile=False saves the attempt."
        )
        model = raw_model
    raw_model.zero_grad(set_to_none=True)
    state["seconds"] += time.perf_counter() - start
if world_size > 1:
    model = DDP(model, device_ids=hardware.device_ids)


def save_checkpoint(path):
    """All that resuming needs. Written beside, then renamed: path always holds a whole checkpoint, the old one or the new."""
    global last_saved
    try:
        with open(path + ".tmp", "wb") as f:
            torch.save(
                {
                    "model": raw_model.state_dict(),
                    "optimizers": [o.state_dict() for o in optimizers],
                    **state,
                    "model_args": model_args,
                    "config": config,
                    "data_dir": data_dir,
                    "tokenizer_hash": meta["tokenizer_hash"],
                    "schema_hash": meta["schema_hash"],
                },
                f,
            )
            f.flush()
            os.fsync(f.fileno())
        os.replace(path + ".tmp", path)
        last_saved = f"{path} holds iter {state['iter_num']}"
    except (OSError, RuntimeError) as e:  # torch.save makes a full disk a RuntimeError
        with contextlib.suppress(OSError):
            os.remove(path + ".tmp")
        reason = str(e.__context__ or e).splitlines()[0]
        fail(f"cannot write {path} ({reason}); {last_saved}. Make room, then --init_from=resume.")


def plot():
    """loss.png: both losses against the step."""
    try:
        from matplotlib.figure import Figure  # not pyplot, which may look for a screen
    except ImportError:
        return say("no loss.png: pip install matplotlib")
    axes = Figure(figsize=(7, 4)).subplots()
    for key, label in ("loss", "training batch"), ("val_loss", "validation"):
        axes.plot(
            [r["iter"] for r in history if key in r],
            [r[key] for r in history if key in r],
            label=label,
        )
    axes.set(xlabel="step", ylabel="loss, nats per token", title=out_dir)
    axes.legend()
    axes.figure.savefig(os.path.join(out_dir, "loss.png"), dpi=120, bbox_inches="tight")


# ---- the loop

signals = []  # names of those received; looked at after each step
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: signals.append(signal.Signals(number).name))
batches, n_targets, next_cursor = next_batch(*state["cursor"])
first_iter, began = state["iter_num"], time.perf_counter()
log_iter, log_time, log_targets, eval_seconds = first_iter, began, 0, 0.0  # since the last log line
while True:
    iter_num = state["iter_num"]  # steps done
    if (iter_num % eval_interval == 0 or iter_num == max_iters) and iter_num != state["last_eval"]:
        start = time.perf_counter()
        raw_model.eval()
        with autocast:
            nats = token_nats(raw_model, val_documents[rank::world_size]).sum()
        nats = torch.tensor(nats)
        raw_model.train()
        if world_size > 1:
            nats = nats.to(device)
            dist.all_reduce(nats)
        val_loss = nats.item() / val_tokens
        val_bits_per_byte = bits_per_byte(nats.item(), val_bytes)
        best = min(val_loss, state["best_val_loss"])
        state.update(last_eval=iter_num, best_val_loss=best)
        record(
            iter=iter_num,
            val_loss=val_loss,
            val_bits_per_byte=val_bits_per_byte,
            seconds=state["seconds"] + start - log_time - eval_seconds,
        )
        say(
            f"eval {iter_num} | val {val_loss:.4f} nats | {val_bits_per_byte:.4f} bits/byte | best {best:.4f} nats"
        )
        if master:
            plot()
            if val_loss == best:
                save_checkpoint(best_path)
            if math.isfinite(val_loss):
                save_checkpoint(ckpt_path)
        eval_seconds += time.perf_counter() - start
    if iter_num == max_iters:
        break

    # the learning rates rise, stay, and fall to zero
    scale = min(
        1.0,
        (iter_num + 1) / max(1, warmup_iters),
        (max_iters - iter_num) / max(1.0, warmdown_ratio * max_iters),
    )
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = group["initial_lr"] * scale

    # the gradient of the mean over all targets of the step: a sum over rows, micro-steps and processes, divided once
    torch.manual_seed(hash((seed, iter_num, rank)) % 2**63)  # dropout, too, follows from the step
    loss_sum = torch.zeros((), device=device)
    for i, (idx, targets, windows) in enumerate(batches):
        if world_size > 1:
            model.require_backward_grad_sync = i == micro_steps - 1  # what DDP.no_sync() sets
        with autocast:
            _, loss = model(idx, targets, "sum", windows)
        (
            loss * (world_size / n_targets)
        ).backward()  # DDP takes the mean over processes: world_size makes it a sum
        loss_sum += loss.detach()
    norm = torch.nn.utils.clip_grad_norm_(raw_model.parameters(), grad_clip or math.inf)
    stats = torch.stack([loss_sum / n_targets, torch.tensor(float(len(signals)), device=device)])
    log_targets, state["cursor"] = log_targets + n_targets, next_cursor
    batches, n_targets, next_cursor = next_batch(*next_cursor)  # while the GPU is busy
    if world_size > 1:
        dist.all_reduce(stats)
    (loss, stopping), norm = stats.tolist(), norm.item()
    if math.isfinite(loss) and math.isfinite(norm):
        for optimizer in optimizers:
            optimizer.step()
        state["bad_steps"] = 0
    else:
        state["bad_steps"] += 1
        say(
            f"iter {iter_num + 1} skipped: loss {loss}, gradient norm {norm} ({state['bad_steps']} in a row)"
        )
        if state["bad_steps"] == 5:
            fail(
                f"5 steps in a row were not finite; {last_saved}. Lower learning_rate (now {learning_rate}), "
                f"embedding_lr ({embedding_lr}) and unembedding_lr ({unembedding_lr}), or set --dtype=float32, then --init_from=resume."
            )
    raw_model.zero_grad(set_to_none=True)
    state["iter_num"] = iter_num = iter_num + 1

    if iter_num % log_interval == 0 or iter_num == max_iters:
        now = time.perf_counter()
        spent = now - log_time - eval_seconds
        state["seconds"] += spent
        tokens_per_s, left = (
            log_targets / spent,
            round((now - began) / (iter_num - first_iter) * (max_iters - iter_num)),
        )
        mfu = raw_model.estimate_mfu(tokens_per_s / world_size, hardware.description)
        say(
            f"iter {iter_num}/{max_iters} | loss {loss:.4f} nats | lr {learning_rate * scale:.2g} | norm {norm:.2f} | "
            f"{tokens_per_s:,.0f} tok/s | {f'mfu {mfu:.1%} | ' if mfu else ''}{left // 60}m{left % 60:02d}s left"
        )
        record(
            iter=iter_num,
            loss=loss,
            lr=learning_rate * scale,
            norm=norm,
            ms=1000 * spent / (iter_num - log_iter),
            tokens_per_s=tokens_per_s,
            mfu=mfu,
            epoch=state["cursor"][0],
            seconds=state["seconds"],
        )
        log_iter, log_time, log_targets, eval_seconds = iter_num, now, 0, 0.0

    if stopping:
        if master and not state["bad_steps"]:
            save_checkpoint(ckpt_path)
        again = " ".join(arg for arg in sys.argv if not arg.startswith("--init_from"))
        say(
            f"stopped by {signals[0] if signals else 'another process'}; {last_saved}. To go on:\n"
            f"python {again} --init_from=resume"
        )
        sys.exit(128 + signal.SIGTERM)

memory = math.nan  # GB; Windows does not say
if device_type == "cuda":
    memory = torch.cuda.max_memory_allocated() / 1e9
elif sys.platform != "win32":
    import resource

    memory = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024)
        / 1e9
    )
say(
    f"done in {(time.perf_counter() - began) / 60:.1f} minutes, with {memory:.1f} GB of memory at most; {last_saved}. "
    "Next: python sample.py, python eval.py"
)
if world_size > 1:
    dist.destroy_process_group()
