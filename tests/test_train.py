"""Tests of the training loop, with the faults it must survive. On a CPU, in two minutes."""

import os
import pty
import random
import shlex
import shutil
import signal
import time

import pytest
import torch

from tests.training import COMPILED, TINY, TRAIN, Trainer, checkpoint, numbers, write_data


def wait_for(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_kill_and_resume_give_the_same_bits(dataset, trainer, tmp_path):
    """4 micro-steps, dropout: 20 steps, and 20 steps with a kill -9 and a SIGTERM in between."""
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


def test_the_cut_of_a_batch_does_not_matter_and_two_processes_resume_exactly(
    dataset, trainer, tmp_path
):
    """1 x 16 rows, 4 x 4 rows, 2 processes of 2 x 4 rows and 4 of 4 train alike;
    2, killed and resumed, end with the same bits."""
    runs = {name: tmp_path / name for name in ("whole", "cut", "two", "four", "killed")}
    options = [f"--data_dir={dataset}", "--dtype=float32"]
    whole = ["--batch_size=16", "--gradient_accumulation_steps=1"]
    code, text = trainer.run(*options, *whole, f"--out_dir={runs['whole']}")
    assert code == 0, text
    code, text = trainer.run(*options, f"--out_dir={runs['cut']}")
    assert code == 0, text
    trainer.run_together(2, *options, f"--out_dir={runs['two']}")
    trainer.run_together(4, *options, f"--out_dir={runs['four']}")
    for name in "cut", "two", "four":
        for a, b in zip(numbers(runs["whole"]), numbers(runs[name]), strict=True):
            assert a == pytest.approx(b, rel=1e-4), name
    options.append(f"--out_dir={runs['killed']}")
    pids = trainer.start_together(2, *options)
    wait_for(lambda: "iter 12/" in trainer.output.read_text())
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    trainer.run_together(2, *options, "--init_from=resume")
    assert same_weights(checkpoint(runs["two"])["model"], checkpoint(runs["killed"])["model"])
    assert numbers(runs["two"]) == numbers(runs["killed"])


def test_a_process_that_dies_ends_the_others_in_one_line(dataset, trainer, tmp_path):
    options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out", "--max_iters=100000"]
    first, second = trainer.start_together(2, *options, "--eval_interval=100000")
    wait_for(lambda: "iter 5/" in trainer.output.read_text())
    os.kill(second, signal.SIGKILL)
    code, text = trainer.end(first)
    lost = [line for line in text.splitlines() if "lost the others" in line]
    assert code != 0 and "Traceback" not in text, text
    assert len(lost) == 1 and lost[0].startswith("train.py: process 0 lost the others ("), text
    assert lost[0].endswith("; there is no checkpoint yet."), text


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


def test_a_checkpoint_that_does_not_say_part_share_resumes_without(dataset, trainer, tmp_path):
    options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out"]
    assert trainer.run(*options, "--part_share=0", "--max_iters=1")[0] == 0
    ckpt = tmp_path / "out/ckpt.pt"
    older = torch.load(ckpt, weights_only=True)
    del older["model_args"]["part_share"]
    torch.save(older, ckpt)
    resume = [*options, "--max_iters=2", "--init_from=resume"]
    code, text = trainer.run(*resume)
    assert code == 1 and "has part_share 0.0" in text and text.count("\n") == 1, text
    code, text = trainer.run(*resume, "--part_share=0")
    assert code == 0 and checkpoint(tmp_path / "out")["iter_num"] == 2, text


def test_settings_and_data_that_cannot_work_are_refused_before_anything_is_built(
    dataset, trainer, tmp_path
):
    foreign = write_data(tmp_path / "foreign", tokenizer_hash="0" * 64)
    cut = write_data(tmp_path / "cut")
    (cut / "train.bin").write_bytes((cut / "train.bin").read_bytes()[:-2])
    for flags, env, says in (
        (["--data_dir=gone"], {}, "prepare.py --data_dir=gone"),
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


# ---- nothing beside the training can stop it: screen, logs, pictures, git, names of folders


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_screen_that_cannot_be_written_to_is_given_up(dataset, trainer, tmp_path):
    options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out"]
    assert trainer.run(*options, output="/dev/full")[0] == 0
    assert checkpoint(tmp_path / "out")["iter_num"] == 20
    assert "done in" in (tmp_path / "out/training.log").read_text()


def test_a_terminal_that_is_gone_costs_nothing(dataset, trainer, tmp_path):
    """As when a connection breaks: the terminal answers EIO, and SIGHUP comes."""
    out = tmp_path / "out"
    terminal, screen = pty.openpty()
    options = [f"--data_dir={dataset}", f"--out_dir={out}", "--max_iters=100000"]
    pid = trainer.start(*options, "--eval_interval=100000", output=os.ttyname(screen))
    wait_for(lambda: (out / "log.jsonl").exists() and len(numbers(out)) > 2)
    os.close(screen)
    os.close(terminal)
    done = len(numbers(out))
    wait_for(lambda: len(numbers(out)) > done + 2)
    os.kill(pid, signal.SIGHUP)
    assert trainer.end(pid)[0] == 128 + signal.SIGTERM
    assert checkpoint(out)["iter_num"] > done
    assert "stopped by SIGHUP" in (out / "training.log").read_text()


def test_logs_and_pictures_that_cannot_be_written_are_given_up(dataset, trainer, tmp_path):
    out = tmp_path / "out"
    for name in "training.log", "log.jsonl", "loss.png":
        (out / name).mkdir(parents=True)
    code, text = trainer.run(f"--data_dir={dataset}", f"--out_dir={out}")
    assert code == 0 and "Traceback" not in text, text
    assert checkpoint(out)["iter_num"] == 20


def test_without_git_training_starts(dataset, trainer, tmp_path):
    options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/out", "--max_iters=1"]
    code, text = trainer.run(*options, env={"PATH": ""})
    assert code == 0, text


def test_a_damaged_line_in_the_log_does_not_block_resuming(dataset, trainer, tmp_path):
    out = tmp_path / "out"
    options = [f"--data_dir={dataset}", f"--out_dir={out}"]
    assert trainer.run(*options, "--max_iters=10")[0] == 0
    with open(out / "log.jsonl", "ab") as f:
        f.write(b'{"iter": 11, "lo\n\x00\xff\n')
    code, text = trainer.run(*options, "--max_iters=12", "--init_from=resume")
    assert code == 0 and "2 damaged lines" in text, text
    assert [r["iter"] for r in numbers(out) if "loss" in r] == list(range(1, 13))


def test_the_best_loss_on_other_data_does_not_count(dataset, trainer, tmp_path):
    out, moved = tmp_path / "out", tmp_path / "moved"
    shutil.copytree(dataset, moved)
    other = write_data(tmp_path / "other", seed=5)
    assert trainer.run(f"--data_dir={dataset}", f"--out_dir={out}", "--max_iters=10")[0] == 0
    unbeatable = {**checkpoint(out), "best_val_loss": 0.1}
    for data_dir, best_iter in (moved, 10), (other, 12):
        torch.save(unbeatable, out / "ckpt.pt")
        options = [f"--data_dir={data_dir}", f"--out_dir={out}", "--max_iters=12"]
        code, text = trainer.run(*options, "--init_from=resume")
        assert code == 0, text
        assert checkpoint(out, "ckpt_best.pt")["iter_num"] == best_iter
        assert ("does not count" in text) == (best_iter == 12), text


def test_a_folder_may_be_named_with_a_slash_at_its_end(dataset, trainer, tmp_path):
    for _ in range(2):
        options = [f"--data_dir={dataset}", f"--out_dir={tmp_path}/r/", "--max_iters=1"]
        code, text = trainer.run(*options)
        assert code == 0, text
    assert (tmp_path / "r/ckpt.pt").exists() and (tmp_path / "r.1/ckpt.pt").exists()


def test_a_run_that_was_moved_continues_where_it_is(dataset, trainer, tmp_path):
    straight, out, moved = tmp_path / "straight", tmp_path / "out", tmp_path / "deep" / "moved"
    options = [f"--data_dir={dataset}", "--max_iters=12"]
    assert trainer.run(*options, f"--out_dir={straight}")[0] == 0
    pid = trainer.start(*options, f"--out_dir={out}")
    wait_for(lambda: "iter 11/" in trainer.output.read_text())
    os.kill(pid, signal.SIGKILL)
    moved.parent.mkdir()
    out.rename(moved)
    code, text = trainer.run(*options, f"--out_dir={moved}", "--init_from=resume")
    assert code == 0 and f"{moved}/ckpt.pt holds iter 12" in text, text
    assert same_weights(checkpoint(straight)["model"], checkpoint(moved)["model"])
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(dataset, trainer, tmp_path):
    (tmp_path / "file").write_text("precious")
    for out_dir in tmp_path / "file", tmp_path / "file" / "out":
        code, text = trainer.run(f"--data_dir={dataset}", f"--out_dir={out_dir}")
        assert code == 1 and text.startswith("train.py: cannot write into"), text
        assert text.count("\n") == 1 and str(out_dir) in text
    assert (tmp_path / "file").read_text() == "precious"


def test_the_command_to_continue_can_be_pasted(dataset, trainer, tmp_path):
    out = tmp_path / "it's a run"
    options = [f"--data_dir={dataset}", f"--out_dir={out}", "--max_iters=100000"]
    pid = trainer.start(*options)
    wait_for(lambda: "iter 1/" in trainer.output.read_text())
    os.kill(pid, signal.SIGTERM)
    code, text = trainer.end(pid)
    words = shlex.split(text.splitlines()[-1])
    assert code == 128 + signal.SIGTERM
    assert words == ["python", TRAIN, *TINY, *options, "--init_from=resume"]


# ---- several processes, and several threads


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are listed on Linux only")
def test_two_processes_wait_for_a_slow_picture_and_end_without_threads(dataset, trainer, tmp_path):
    """The first is held in its picture for longer than ddp_timeout. A thread of gloo that is there
    when the interpreter ends aborts the process, now and then."""
    out, picture = tmp_path / "out", tmp_path / "out/loss.png.tmp"
    out.mkdir()
    os.mkfifo(picture)  # opening it for writing takes until somebody reads
    options = [f"--data_dir={dataset}", f"--out_dir={out}", "--max_iters=12", "--ddp_timeout=8"]
    pids = trainer.start_together(2, *options)
    wait_for(lambda: (out / "ckpt.pt").exists())
    time.sleep(10)
    picture.read_bytes()
    for pid in pids:
        code, text = trainer.end(pid)
        assert code == 0, text
    assert text.count("threads of gloo at the end: 0") == 2
    assert checkpoint(out)["iter_num"] == 12


def test_compiled_runs_on_two_threads_repeat_bit_for_bit(dataset, tmp_path):
    """Once straight, and again with a kill and a resume, with what is the default on a CPU."""
    trainer = Trainer(tmp_path, threads=2)
    options = [f"--data_dir={dataset}", *COMPILED]
    code, text = trainer.run(*options, f"--out_dir={tmp_path}/straight")
    assert code == 0 and "torch.compile does not work" not in text, text
    out = tmp_path / "killed"
    pid = trainer.start(*options, f"--out_dir={out}")
    wait_for(lambda: "iter 13/20" in trainer.output.read_text(), seconds=300)
    os.kill(pid, signal.SIGKILL)
    code, text = trainer.run(*options, f"--out_dir={out}", "--init_from=resume")
    assert code == 0, text
    assert same_weights(checkpoint(tmp_path / "straight")["model"], checkpoint(out)["model"])
    trainer.close()
