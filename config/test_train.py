"""Tests of the overrides, the model, the packing and the training loop, with the faults it must survive. On a CPU, in two minutes:

python -m pytest -q config/test_train.py
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import tct_github_workflow as tct
from config import configure
from data.packing import fill, load, pack
from model import GPT, GPTConfig, HeadLoss, block_mask, document_nats

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TRAIN = os.path.join(ROOT, "train.py")
TINY = [
    "--n_layer=2",
    "--n_head=2",
    "--n_embd=16",
    "--block_size=32",
    "--batch_size=4",
    "--gradient_accumulation_steps=4",
    "--max_iters=20",
    "--eval_interval=10",
    "--log_interval=1",
    "--warmup_iters=2",
    "--dropout=0.0",
    "--device=cpu",
    "--compile=False",
]


def write_data(folder, seed=0, documents=120, **changes):
    """A dataset as prepare.py writes it, of random documents with lengths like real ones, and a meta.json with some changes."""
    rng = np.random.default_rng(seed)
    meta = {
        "format": 1,
        "vocab_size": tct.vocab_size(),
        "tokenizer_hash": tct.tokenizer_hash(),
        "schema_hash": tct.schema_hash(),
    }
    folder.mkdir()
    for split, n in ("train", documents), ("val", 12):
        lengths = np.clip(rng.lognormal(3.5, 1.2, n), 5, 3000).astype(np.int64)
        ids = (rng.zipf(1.3, lengths.sum()) % 8191).astype(np.uint16)
        ids.tofile(folder / f"{split}.bin")
        np.concatenate([[0], np.cumsum(lengths)]).tofile(folder / f"{split}.idx")
        meta[split] = {"documents": n, "tokens": len(ids), "bytes": 9 * len(ids)}
    (folder / "meta.json").write_text(json.dumps({**meta, **changes}))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "a")


ZYGOTE = """
import json, os, resource, runpy, sys
import matplotlib.backends.backend_agg, matplotlib.figure, numpy, torch.distributed, torch.optim, tct_github_workflow
for line in sys.stdin:
    argv, env, output, limit = json.loads(line)
    pid = os.fork()
    if pid == 0:
        for stream in 1, 2:
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        os.environ.update(env)
        sys.argv = argv
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        runpy.run_path(argv[0], run_name='__main__')
        sys.exit()
    print(pid, flush=True)
    if line.endswith(' \\n'):
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Trainer:
    """Runs train.py in forks of one process that has already imported torch, which takes seconds."""

    def __init__(self, folder):
        env = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
        self.output = folder / "output.txt"
        self.process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def start(self, *args, env={}, limit=0, wait=False):
        self.output.write_text("")
        line = json.dumps([[TRAIN, *TINY, *map(str, args)], env, str(self.output), limit])
        self.process.stdin.write(line + (" " if wait else "") + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def run(self, *args, **options):
        """(exit code, output) of train.py with these arguments."""
        self.start(*args, wait=True, **options)
        return int(self.process.stdout.readline()), self.output.read_text()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    trainer = Trainer(tmp_path_factory.mktemp("trainer"))
    yield trainer
    trainer.process.stdin.close()
    trainer.process.wait()


def checkpoint(folder, name="ckpt.pt"):
    return torch.load(folder / name, map_location="cpu", weights_only=True)


def numbers(folder):
    """What log.jsonl says, without what depends on the clock."""
    with open(folder / "log.jsonl") as f:
        return [
            {
                k: v
                for k, v in json.loads(line).items()
                if k not in ("ms", "tokens_per_s", "mfu", "seconds")
            }
            for line in f
        ]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---- config


def settings():
    return {
        "__file__": TRAIN,
        "__doc__": "",
        "rate": 0.1,
        "steps": 10,
        "flag": True,
        "name": "x",
        "maybe": None,
        "os": os,
    }


def test_overrides_apply_in_order_and_keep_types(tmp_path):
    (tmp_path / "a.py").write_text("import math\nsteps = 20\nrate = steps / 10\n")
    s = settings()
    found = configure(
        s,
        [
            "--steps=3",
            str(tmp_path / "a.py"),
            "--name=a=b",
            "--rate=1",
            "--flag=False",
            "--maybe=5",
        ],
    )
    assert found == {"rate": 1.0, "steps": 20, "flag": False, "name": "a=b", "maybe": 5}
    assert type(found["rate"]) is float and s["steps"] == 20
    assert configure(settings(), ["--name=7", "--maybe=None"])["name"] == "7"


@pytest.mark.parametrize(
    "argument, says",
    [
        ("--stepz=3", "'steps'"),
        ("--steps=1e6", "int"),
        ("--steps=2.0", "int"),
        ("--steps=True", "int"),
        ("--flag=1", "bool"),
        ("--flag=true", "bool"),
        ("--rate=fast", "float"),
        ("--steps", "equals sign"),
        ("gone.py", "gone.py"),
        ("--os=1", "no setting"),
    ],
)
def test_a_wrong_override_ends_with_one_line(argument, says, capsys):
    with pytest.raises(SystemExit) as e:
        configure(settings(), [argument])
    err = capsys.readouterr().err
    assert e.value.code == 2 and says in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "source, says",
    [
        ("stepz = 3", "'steps'"),
        ('steps = "3"', "int"),
        ("steps =", "SyntaxError"),
        ("steps = 1 / 0", "ZeroDivisionError"),
        ("rate = [1]", "float"),
    ],
)
def test_a_wrong_config_file_ends_with_one_line(source, says, tmp_path, capsys):
    (tmp_path / "a.py").write_text(source)
    with pytest.raises(SystemExit) as e:
        configure(settings(), [str(tmp_path / "a.py")])
    err = capsys.readouterr().err
    assert e.value.code == 2 and says in err and "a.py" in err and err.count("\n") == 1


def test_help_lists_every_setting_with_its_comment_in_80_columns():
    run = subprocess.run(
        [sys.executable, TRAIN, "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    text = " ".join(run.stdout.split())
    assert (
        run.returncode == 0
        and "--n_layer=8 blocks" in text
        and "--compile=auto torch.compile" in text
    )
    assert max(map(len, run.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", ["tiny", "small", "medium", "large"])
def test_configs_name_only_settings_of_train(name):
    with open(TRAIN) as f:
        head = f.read().split("config = configure")[0].split("# data and run")[1]
    s = {"__file__": TRAIN}
    exec(head, s)
    configure(s, [os.path.join(ROOT, "config", f"{name}.py")])
    assert s["n_embd"] % s["n_head"] == 0 and s["block_size"] % 32 == 0


# ---- model


def model(block_size=64, **changes):
    torch.manual_seed(0)
    gpt = GPT(
        GPTConfig(**{**dict(block_size=block_size, n_layer=2, n_head=2, n_embd=32), **changes})
    ).eval()
    for p in gpt.parameters():  # also what starts at zero
        torch.nn.init.normal_(p, std=0.3)
    return gpt


def test_cached_logits_equal_uncached_ones():
    """Prompts of different lengths side by side, single tokens, a row that leaves, a row that starts again."""
    gpt, rng = model(), np.random.default_rng(0)
    rows = [rng.integers(0, 8192, n).tolist() for n in (5, 1, 30)]

    def expect(logits):
        for row, found in zip(rows, logits):
            want = gpt(torch.tensor([row]))[0][0, -1]
            torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)

    with torch.no_grad():
        cache = gpt.new_cache(3, 40)
        padded = torch.tensor([row + [0] * (30 - len(row)) for row in rows])
        expect(gpt.forward_cached(padded, cache, counts=[len(row) for row in rows]))
        for step in range(12):
            if step == 4:
                cache.keep([2, 1])
                rows = [rows[2], rows[1]]
            if step == 8:  # the long row has 38 of 40: re-window it
                rows[0] = [1, *rows[0][32:]]
                cache.length[0] = 0
                gpt.forward_cached(torch.tensor([rows[0]]), cache, rows=[0])
            new = rng.integers(0, 8192, len(rows)).tolist()
            rows = [row + [n] for row, n in zip(rows, new)]
            expect(gpt.forward_cached(torch.tensor(new)[:, None], cache))
        with pytest.raises(ValueError, match="holds 40 tokens"):
            gpt.forward_cached(torch.zeros(2, 41, dtype=torch.int64), cache)


def test_head_loss_equals_plain_cross_entropy():
    torch.manual_seed(0)
    x, weight = torch.randn(600, 16, requires_grad=True), torch.randn(8192, 16, requires_grad=True)
    targets = torch.randint(-1, 8192, (600,))
    targets[:50] = -1
    logits = x @ weight.T
    want = F.cross_entropy(
        logits / (1 + (logits / 15) ** 2).sqrt(), targets, ignore_index=-1, reduction="sum"
    )
    found, each = HeadLoss.apply(x, weight, targets, 15.0, True)
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(each.sum(), want)
    for a, b in zip(
        torch.autograd.grad(3 * found, [x, weight]), torch.autograd.grad(3 * want, [x, weight])
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert not each[:50].any()


def test_the_gradient_of_a_sure_prediction_survives_bf16():
    """p - 1 of a target, rounded to bf16 before the 1 is taken off, would be off by a fifth of itself."""
    torch.manual_seed(0)
    weight = torch.randn(8192, 64).bfloat16().float()
    weight[100:] *= 2.0**-7
    weight.requires_grad_()
    targets = torch.arange(100)
    x = (0.5 * weight[:100].detach()).bfloat16()
    grads = []
    for dtype in torch.float32, torch.bfloat16:
        inputs = x.to(dtype).requires_grad_()
        loss, each = HeadLoss.apply(inputs, weight, targets, 15.0, True)
        grads.append(torch.autograd.grad(loss, inputs)[0].float())
    assert 0.001 < (1 - (-each).exp()).median() < 0.1  # how unsure it is
    error = (grads[1] - grads[0]).norm(dim=1) / grads[0].norm(dim=1)
    assert error.max() < 0.1, error.max()


def test_what_is_not_scored_has_no_gradient():
    gpt = model()
    idx = torch.arange(1, 33)[None]
    targets = torch.full((1, 32), -1)
    targets[0, :10] = 5
    gpt(idx, targets)[1].backward()
    touched = gpt.wte.weight.grad.abs().sum(1) > 0
    assert touched[1:11].all() and not touched[11:].any()  # inputs behind the last scored position


@pytest.mark.parametrize(
    "n", (1, 6)
)  # rows of 50 and of 300 tokens: a CPU goes another way with long ones
def test_attention_stops_at_the_border_of_a_window(n):
    """Two rows of windows, the last of one and the first of the next with the same number; with gradients."""
    gpt, idx = model(block_size=320), torch.randint(0, 8192, (2, 50 * n))
    windows = torch.tensor([[0] * 20 * n + [1] * 30 * n, [1] * 7 * n + [2] * 43 * n])
    packed = gpt(idx, idx, "sum", windows)[1]
    apart = sum(
        gpt(x, x, "sum")[1]
        for x in (idx[:1, : 20 * n], idx[:1, 20 * n :], idx[1:, : 7 * n], idx[1:, 7 * n :])
    )
    torch.testing.assert_close(packed, apart, rtol=1e-5, atol=1e-4)
    for a, b in zip(
        torch.autograd.grad(packed, gpt.parameters()), torch.autograd.grad(apart, gpt.parameters())
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_three_ways_to_stay_within_windows_attend_alike():
    """A mask over whole rows, what a CPU does with long rows, and what a GPU does (forward only: a CPU has no more of it)."""
    gpt, idx = model().requires_grad_(False), torch.randint(0, 8192, (2, 50))
    for p in gpt.parameters():
        p.normal_(std=0.1)
    windows = torch.tensor([[0] * 20 + [1] * 30, [1] * 7 + [2] * 43])
    mask = (windows[:, None, :, None] == windows[:, None, None, :]).tril()
    masked, cut, blocks = (
        gpt.trunk(idx, gpt.cos[:50], gpt.sin[:50], way)
        for way in (mask, windows, block_mask(windows))
    )
    torch.testing.assert_close(cut, masked, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(blocks, masked, rtol=1e-4, atol=1e-4)


def test_document_nats_scores_every_token_once_whatever_the_batch():
    gpt, rng = model(), np.random.default_rng(0)
    documents = [rng.integers(0, 8192, n).astype(np.uint16) for n in (1, 7, 64, 65, 200, 300)]
    nats = document_nats(gpt, documents)
    torch.testing.assert_close(
        document_nats(gpt, documents, batch_tokens=64), nats, rtol=1e-5, atol=1e-3
    )
    torch.testing.assert_close(
        document_nats(gpt, documents[::-1]).flip(0), nats, rtol=1e-5, atol=1e-3
    )
    ids = torch.from_numpy(documents[2].astype(np.int64))
    whole = gpt(F.pad(ids[:-1], (1, 0))[None], ids[None], "sum")[1].item()
    assert nats[2].item() == pytest.approx(whole, rel=1e-5)
    torch.nn.init.zeros_(
        gpt.lm_head.weight
    )  # each token then takes log(8192), so the number of tokens shows
    for d, n in zip(documents, document_nats(gpt, documents)):
        assert n.item() == pytest.approx(len(d) * np.log(8192), rel=1e-5)


# ---- packing


def test_an_epoch_has_every_token_once_and_hardly_any_padding(tmp_path):
    ids, tables, _ = load(str(write_data(tmp_path / "d", documents=2000)))
    table, block_size = tables["train"], 256
    assert (table[:, 2] > block_size).sum() > 50
    for epoch in 0, 1:
        rows = pack(table, block_size, 1, epoch)
        windows = np.concatenate(rows)
        order = windows[np.argsort(windows[:, 1])]
        assert (
            order[0, 1] == 0 and (order[1:, 1] == order[:-1, 1] + order[:-1, 2]).all()
        )  # they tile the file
        assert order[-1, 1] + order[-1, 2] == len(ids["train"][0])
        assert all(row[:, 2].sum() <= block_size for row in rows)
        assert 1 - windows[:, 2].sum() / (len(rows) * block_size) < 0.03
        begins = table[np.searchsorted(table[:, 1], windows[:, 1], "right") - 1, 1]
        assert (
            windows[:, 1] - begins == 32 * windows[:, 3]
        ).all()  # a window starts where its position token says
    again = pack(table, block_size, 1, 1)
    assert all(np.array_equal(a, b) for a, b in zip(rows, again))
    assert not np.array_equal(
        np.sort(np.concatenate(pack(table, block_size, 1, 0))[:, 1]), np.sort(windows[:, 1])
    )  # other cuts


def test_a_row_predicts_each_content_token_from_what_is_before_it():
    ids = [np.array([10, 11, 12, 13], np.uint16), np.array([20, 21], np.uint16)]
    batch = np.zeros((3, 1, 8), np.int64)
    fill([np.array([[0, 1, 3, 7], [1, 0, 2, 0]])], ids, batch, 8192)
    assert batch[:, 0].tolist() == [
        [7, 11, 12, 0, 20, 0, 0, 0],
        [11, 12, 13, 20, 21, -1, -1, -1],
        [0, 0, 0, 1, 1, 2, 2, 2],
    ]


def test_several_folders_read_as_one_unless_their_tokenizers_differ(tmp_path):
    a, b = write_data(tmp_path / "a", 1), write_data(tmp_path / "b", 2)
    ids, tables, _ = load(f"{a},{b}")
    for folder, first, length in tables["train"][[0, 119, 120, 239]]:
        assert len(ids["train"][folder][first : first + length]) == length
    assert tables["train"][120:, 0].all() and tables["train"][:, 2].sum() == sum(
        map(len, ids["train"])
    )
    with pytest.raises(ValueError, match="differ in tokenizer_hash"):
        load(f"{a},{write_data(tmp_path / 'c', 3, tokenizer_hash='0')}")


# ---- training


def test_kill_and_resume_give_the_same_bits(dataset, trainer, tmp_path):
    """One process, 4 micro-steps, dropout: 20 steps, and 20 steps with a kill -9 and a SIGTERM in between."""
    options = [f"--data_dir={dataset}", "--dropout=0.1"]
    code, text = trainer.run(*options, f"--out_dir={tmp_path}/straight")
    assert (
        code == 0 and "done in" in text and (tmp_path / "straight/loss.png").stat().st_size > 1000
    ), text
    out = tmp_path / "broken"
    pid = trainer.start(*options, f"--out_dir={out}")
    wait_for(lambda: "iter 13/20" in trainer.output.read_text())
    os.kill(pid, signal.SIGKILL)
    assert checkpoint(out)["iter_num"] == 10
    pid = trainer.start(*options, f"--out_dir={out}", "--init_from=resume")
    wait_for(lambda: "iter 15/20" in trainer.output.read_text())
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: "--init_from=resume" in trainer.output.read_text())
    assert (
        "stopped by SIGTERM" in trainer.output.read_text()
        and 15 <= checkpoint(out)["iter_num"] < 20
    )
    code, text = trainer.run(*options, f"--out_dir={out}", "--init_from=resume")
    assert code == 0, text
    for name in "ckpt.pt", "ckpt_best.pt":
        a, b = checkpoint(tmp_path / "straight", name), checkpoint(out, name)
        assert same_weights(a["model"], b["model"]) and a["iter_num"] == b["iter_num"]
    assert numbers(tmp_path / "straight") == numbers(out)
    code, text = trainer.run(*options, f"--out_dir={out}", "--init_from=resume")
    assert code == 0 and "nothing to do" in text


def torchrun(*args, processes=2, **options):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={processes}",
        TRAIN,
        *TINY,
        *map(str, args),
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def test_the_cut_of_a_batch_does_not_matter_and_two_processes_resume_exactly(
    dataset, trainer, tmp_path
):
    """1 x 16 rows, 4 x 4 rows, 2 processes of 2 x 4 rows and 4 of 4 train alike; 2, killed and resumed, end with the same bits."""
    runs = {name: tmp_path / name for name in ("whole", "cut", "two", "four", "killed")}
    options = [f"--data_dir={dataset}", "--dtype=float32"]
    straight = torchrun(*options, f"--out_dir={runs['two']}")
    assert (
        trainer.run(
            *options,
            f"--out_dir={runs['whole']}",
            "--batch_size=16",
            "--gradient_accumulation_steps=1",
        )[0]
        == 0
    )
    assert trainer.run(*options, f"--out_dir={runs['cut']}")[0] == 0
    text = straight.communicate(timeout=120)[0]
    assert straight.returncode == 0, text
    four = torchrun(*options, f"--out_dir={runs['four']}", processes=4)
    text = four.communicate(timeout=180)[0]
    assert four.returncode == 0, text
    for name in "cut", "two", "four":
        for a, b in zip(numbers(runs["whole"]), numbers(runs[name]), strict=True):
            assert a == pytest.approx(b, rel=1e-4), name
    killed = torchrun(*options, f"--out_dir={runs['killed']}", start_new_session=True)
    for line in killed.stdout:
        if line.startswith("iter 12/"):
            break
    os.killpg(killed.pid, signal.SIGKILL)  # torchrun and both of its processes
    killed.wait()
    resumed = torchrun(*options, f"--out_dir={runs['killed']}", "--init_from=resume")
    text = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0, text
    assert same_weights(checkpoint(runs["two"])["model"], checkpoint(runs["killed"])["model"])
    assert numbers(runs["two"]) == numbers(runs["killed"])


def test_a_process_that_dies_ends_the_run(dataset, tmp_path):
    run = torchrun(
        f"--data_dir={dataset}",
        f"--out_dir={tmp_path}/out",
        "--max_iters=100000",
        "--eval_interval=100000",
    )
    for line in run.stdout:
        if line.startswith("iter 5/"):
            break
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(run.pid)], capture_output=True, text=True
    ).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    run.communicate(timeout=60)
    assert run.returncode != 0


def test_killed_twenty_times_while_saving_the_last_good_checkpoint_always_loads(
    dataset, trainer, tmp_path
):
    out, rng, last, torn = tmp_path / "out", random.Random(0), 0, 0
    options = [
        f"--data_dir={dataset}",
        f"--out_dir={out}",
        "--max_iters=100000",
        "--eval_interval=1",
        "--log_interval=1000",
        "--gradient_accumulation_steps=1",
    ]
    for attempt in range(20):
        for stale in out.glob("*.tmp"):
            stale.unlink()
        pid = trainer.start(*options, *(["--init_from=resume"] if attempt else []))
        wait_for(lambda: "eval " in trainer.output.read_text() and (out / "ckpt.pt").exists())
        if attempt % 2:  # in the middle of a save, where one can be caught; else anywhere
            wait_for(lambda: (out / "ckpt.pt.tmp").exists() or (out / "ckpt_best.pt.tmp").exists())
        else:
            time.sleep(rng.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        torn += any(out.glob("*.tmp"))
        iter_num = checkpoint(out)["iter_num"]
        checkpoint(out, "ckpt_best.pt")
        assert iter_num >= last, "an older checkpoint came back"
        last = iter_num
    assert torn > 2, "no save was interrupted, so nothing was tested"


def test_a_full_disk_keeps_the_last_good_checkpoint(dataset, trainer, tmp_path):
    options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out"]
    assert trainer.run(*options, "--max_iters=10")[0] == 0
    before = (tmp_path / "out/ckpt.pt").read_bytes()
    code, text = trainer.run(*options, "--max_iters=12", "--init_from=resume", limit=200_000)
    assert (
        code == 1 and "cannot write" in text and "holds iter 10" in text and "Traceback" not in text
    ), text
    assert (tmp_path / "out/ckpt.pt").read_bytes() == before and not list(
        (tmp_path / "out").glob("*.tmp")
    )


def test_damaged_or_foreign_checkpoints_are_refused_in_one_line(dataset, trainer, tmp_path):
    options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out"]
    assert trainer.run(*options, "--max_iters=1")[0] == 0
    ckpt = tmp_path / "out/ckpt.pt"
    whole, other = ckpt.read_bytes(), torch.load(ckpt, weights_only=True)
    other["model"]["h.weight"] = other["model"].pop("x0_lambdas")
    torch.save(other, tmp_path / "other.pt")
    for content, flags, says in (
        (whole[: len(whole) // 2], [], "is damaged"),
        (b"", [], "is damaged"),
        (b"PK", [], "is damaged"),
        (whole, ["--n_layer=3"], "has n_layer 2"),
        (None, [], "no "),
        ((tmp_path / "other.pt").read_bytes(), [], 'Missing key(s) in state_dict: "x0_lambdas"'),
    ):
        ckpt.unlink() if content is None else ckpt.write_bytes(content)
        code, text = trainer.run(*options, *flags, "--init_from=resume")
        assert (
            code == 1 and says in text and text.startswith("train.py: ") and text.count("\n") == 1
        ), text


def test_settings_and_data_that_cannot_work_are_refused_before_anything_is_built(
    dataset, trainer, tmp_path
):
    foreign = write_data(tmp_path / "foreign", tokenizer_hash="0" * 64)
    cut = write_data(tmp_path / "cut")
    (cut / "train.bin").write_bytes((cut / "train.bin").read_bytes()[:-2])
    for flags, env, says in (
        (["--data_dir=gone"], {}, "Run prepare.py --data_dir=gone"),
        ([f"--data_dir={foreign}"], {}, "another tokenizer"),
        ([f"--data_dir={cut}"], {}, "train.bin"),
        (["--n_embd=30", "--n_head=4"], {}, "n_embd 30"),
        (["--block_size=100"], {}, "block_size 100"),
        ([], {"WORLD_SIZE": "3", "RANK": "0"}, "the 16 rows"),
    ):
        code, text = trainer.run(
            f"--data_dir={dataset}", f"--out_dir={tmp_path}/out", *flags, env=env
        )
        assert (
            code == 1 and says in text and text.startswith("train.py: ") and text.count("\n") == 1
        ), text
    assert not (tmp_path / "out").exists()


def test_steps_that_are_not_finite_are_skipped_and_five_in_a_row_end_the_run(
    dataset, trainer, tmp_path
):
    options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out"]
    assert trainer.run(*options, "--max_iters=3")[0] == 0
    code, text = trainer.run(
        *options,
        "--max_iters=100",
        "--init_from=resume",
        "--embedding_lr=1e30",
        "--learning_rate=1e30",
    )
    assert (
        code == 1 and "5 steps in a row were not finite" in text and "ckpt.pt holds iter 3" in text
    ), text
    assert all(p.isfinite().all() for p in checkpoint(tmp_path / "out")["model"].values())


def test_a_new_run_moves_an_old_one_aside(dataset, trainer, tmp_path):
    options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out", "--max_iters=1"]
    assert trainer.run(*options)[0] == 0
    old = (tmp_path / "out/ckpt.pt").read_bytes()
    code, text = trainer.run(*options, "--seed=2")
    assert code == 0 and "held a run" in text
    assert (
        (tmp_path / "out.1/ckpt.pt").read_bytes() == old != (tmp_path / "out/ckpt.pt").read_bytes()
    )
