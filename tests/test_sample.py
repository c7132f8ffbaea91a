"""Facts about sample.py and generate.py: python -m pytest tests/test_sample.py"""

import errno
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import generate as generating
import sample
import tct_github_workflow as tct
from config import say_when_stopped
from generate import SamplingParams
from model import GPT
from tct_github_workflow.alphabet import EOD
from tct_github_workflow.beginning import units
from tct_github_workflow.json_text import dump_json
from tct_github_workflow.vocab import encode_symbols, token_bytes
from tests.sampling import make_model, workflow
from tests.training import ROOT


def generate(n=1, prompt=((), ()), model=None, batch_size=50, watch=None, seed=7, **settings):
    """n samples, in the order of their numbers. settings: SamplingParams."""
    params = SamplingParams(seed=seed, **settings)
    model = model or make_model()
    samples = generating.generate(model, [prompt] * n, params, batch_size, watch=watch)
    return sorted(samples)


def draw(logits, u, allowed=None, **settings):
    return generating.draw(logits, u, SamplingParams(**settings), allowed).tolist()


# ---- generating


def test_samples_do_not_depend_on_the_batch_size():
    batches = [generate(7, max_new_tokens=90, batch_size=b) for b in (1, 4, 7)]
    assert batches[0] == batches[1] == batches[2]
    assert len({tuple(sample.tokens) for sample in batches[0]}) == 7
    assert all(sample.n_drawn > len(sample.tokens) for sample in batches[0])  # went back


@pytest.mark.parametrize("settings", [{}, {"top_k": 5}, {"top_p": 0.5}, {"temperature": 0.0}])
def test_every_constrained_sample_is_valid_and_in_budget_also_past_the_block_size(settings):
    for made in generate(3, max_new_tokens=100, **settings):  # block_size is 64
        assert len(made.tokens) <= 100
        assert made.finish in ("stop", "budget")
        tct.decode(made.tokens)


@pytest.mark.parametrize("settings", [{}, {"top_k": 3}])
def test_a_sample_that_only_the_budget_closed_says_so(settings):
    model = make_model()
    with torch.no_grad():  # it wants nothing but more of the letter a
        model.lm_head.weight[:] = 0
        model.wte.weight[:] = 1
        model.lm_head.weight[encode_symbols("a")] = 1.0
    (made,) = generate(model=model, max_new_tokens=40, **settings)
    assert made.finish == "budget"
    assert 30 < len(made.tokens) <= 40
    assert b"a" * 10 in b"".join(token_bytes(made.tokens))


def test_unconstrained_samples_end_where_the_model_ends_them_or_are_cut():
    for made in generate(8, max_new_tokens=60, rules=None):
        closes = [b.endswith(EOD.encode()) for b in token_bytes(made.tokens)]
        assert not any(closes[:-1])
        assert made.finish == ("stop" if closes[-1] else "cut")


@pytest.mark.parametrize("settings, n_left", [({}, 4), ({"top_k": 4}, 2), ({"min_p": 1.0}, 1)])
def test_drawing_first_and_masking_on_refusal_has_the_masked_distribution(
    monkeypatch, settings, n_left
):
    allowed = np.zeros(8192, bool)
    model = make_model()
    p = model(torch.zeros(1, 1, dtype=torch.int64))[0][0, -1].softmax(-1).detach()
    allowed_ids = p.argsort(descending=True)[[0, 2, 5, 9]].numpy()
    allowed[allowed_ids] = True
    left = allowed_ids[:n_left]

    class OneOfFour:
        done = False

        def __init__(self, tokens=(), rules=None):
            pass

        def fork(self):
            return OneOfFour()

        def accept_token(self, token, tokens_left=None):
            self.done |= bool(allowed[token])
            return bool(allowed[token])

        def next_token_mask(self, out=None, tokens_left=None):
            return allowed.copy()

        def is_terminated(self):
            return self.done

    monkeypatch.setattr(tct, "Matcher", OneOfFour)
    n = 2000
    samples = generate(n, model=model, batch_size=1000, **settings)
    drawn = np.bincount([made.tokens[0] for made in samples], minlength=8192)
    assert drawn[left].sum() == n
    want = p.numpy()[left] / p.numpy()[left].sum()
    four_standard_deviations = 4 * 0.5 / math.sqrt(n)
    np.testing.assert_allclose(drawn[left] / n, want, atol=four_standard_deviations)


def make_model_of_two_letters():
    """Each token is an a or a b, as likely as the other."""
    model = make_model()
    with torch.no_grad():
        model.lm_head.weight[:] = 0
        model.wte.weight[:] = 1
        model.lm_head.weight[list(NoAAfterB.letters)] = 1.0
    return model


class NoAAfterB:
    """Stands for a Matcher of aa, ab and bb."""

    letters = {encode_symbols(letter)[0]: letter for letter in "ab"}

    def __init__(self, tokens=(), rules=None):
        self.text = ""

    def fork(self):
        copy = NoAAfterB()
        copy.text = self.text
        return copy

    def accept_token(self, token, tokens_left=None):
        text = self.text + self.letters.get(token, "?")
        is_allowed = text in ("a", "b", "aa", "ab", "bb")
        self.text = text if is_allowed else self.text
        return is_allowed

    def next_token_mask(self, out=None, tokens_left=None):
        mask = np.zeros(8192, bool)
        for token in self.letters:
            mask[token] = self.fork().accept_token(token)
        return mask

    def is_terminated(self):
        return len(self.text) == 2


def test_a_refused_row_draws_all_of_a_piece_again(monkeypatch):
    """Masks would make a half of them bb: all that begin with b."""
    monkeypatch.setattr(tct, "Matcher", NoAAfterB)
    n = 2000
    made = generate(n, model=make_model_of_two_letters(), batch_size=1000)
    texts = [b"".join(token_bytes(sample.tokens)) for sample in made]
    for text in (b"aa", b"ab", b"bb"):
        assert abs(texts.count(text) / n - 1 / 3) < 0.045


def test_a_row_that_repeats_itself_draws_again(monkeypatch):
    monkeypatch.setattr(tct, "Matcher", NoAAfterB)
    monkeypatch.setattr(generating, "RECENT", 2)
    monkeypatch.setattr(generating, "DISTINCT", 2)
    made = generate(50, model=make_model_of_two_letters())
    texts = [b"".join(token_bytes(sample.tokens)) for sample in made]
    assert texts == [b"ab"] * 50


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_row_that_went_back_continues_as_if_it_had_not(monkeypatch, batch_size):
    """Almost without chance it writes the same again, also past the block size."""
    starts = ["name: Buil", "on: [push, pull_requ", YAML]
    prompts = [tct.encode_prefix(start) for start in starts]
    params = SamplingParams(max_new_tokens=100, temperature=1e-6)
    model = make_model(heeds_context=True)
    runs = []
    for n_tries in (0, 40):
        monkeypatch.setattr(generating, "MAX_TRIES", n_tries)
        runs.append(sorted(generating.generate(model, prompts, params, batch_size)))
    for straight, went_back in zip(*runs, strict=True):
        assert went_back.tokens == straight.tokens
        assert went_back.n_drawn > straight.n_drawn


@pytest.mark.parametrize("rules, start", [("references", ""), (None, "name: Prüfung 123")])
def test_what_is_watched_ends_as_the_sample(rules, start):
    seen = []

    def watch(tokens):
        seen.append(list(tokens))

    (made,) = generate(
        prompt=tct.encode_prefix(start), max_new_tokens=90, watch=watch, seed=0, rules=rules
    )
    assert seen[-1] == made.tokens
    if not rules:  # what is forced by a prompt is not taken back
        assert all(made.tokens[: len(tokens)] == tokens for tokens in seen)


# ---- drawing


def test_draw_takes_the_top_k_of_all_and_of_what_is_allowed_where_none_of_them_is():
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]).expand(200, 5)
    u = torch.linspace(0, 0.999, 200, dtype=torch.float64)
    allowed = torch.tensor([[False, True, True, True, True]]).expand(200, 5)
    assert set(draw(logits, u, allowed, top_k=2)) == {1}
    allowed = torch.tensor([[False, False, True, True, True]]).expand(200, 5)
    tokens = draw(logits, u, allowed, top_k=2)
    assert set(tokens) == {2, 3}
    assert abs(tokens.count(2) / len(tokens) - 1 / (1 + math.exp(-1))) < 0.01
    # shares: 64%, 23%, 9%
    assert set(draw(logits, u, top_p=0.7)) == {0, 1}
    assert set(draw(logits, u, min_p=0.3)) == {0, 1}
    assert set(draw(logits, u, min_p=0.3, temperature=2.0)) == {0, 1, 2}


@pytest.mark.parametrize(
    "settings",
    [
        *({"temperature": t} for t in (1e-300, 1e-46, 1e-40, 1e-38, 1e-30)),
        *(
            {"temperature": 1e-40, **more}
            for more in ({"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.5})
        ),
        {"top_p": 1e-60},
    ],
)
def test_next_to_no_temperature_or_share_draws_the_most_likely_token(settings):
    logits = torch.tensor([[-9.0, 2.0, 30.0, 29.0], [88.0, -88.0, 0.0, 87.0]]).repeat(50, 1)
    u = torch.linspace(0, 0.999, 100, dtype=torch.float64)
    assert draw(logits, u, **settings) == [2, 0] * 50
    allowed = torch.tensor([[True, True, False, False], [False, True, True, False]]).repeat(50, 1)
    assert draw(logits, u, allowed, **settings) == [1, 2] * 50


class Elsewhere(TorchDispatchMode):
    """Stands for a device that is not here: tensors on "meta", zeros where they come to the CPU."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()  # of what was computed there

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        to_cpu = kwargs.get("device") == torch.device("cpu")
        if operator is torch.ops.aten._to_copy.default and args[0].is_meta and to_cpu:
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        result = operator(*args, **kwargs)
        for t in tree_leaves(result):
            if isinstance(t, torch.Tensor) and t.is_meta:
                self.dtypes.add(t.dtype)
        return result


@pytest.mark.parametrize("settings", [{}, {"top_k": 5}, {"top_p": 0.5}, {"temperature": 0.0}])
@pytest.mark.parametrize("masked", [False, True])
def test_a_device_is_never_asked_for_float64(settings, masked):
    """MPS has none."""
    logits = torch.empty(3, 8192, device="meta")
    allowed = torch.ones(3, 8192, dtype=torch.bool) if masked else None
    u = torch.zeros(3, dtype=torch.float64)
    with Elsewhere() as elsewhere:
        assert len(draw(logits, u, allowed, **settings)) == 3
    assert elsewhere.dtypes <= {torch.float32, torch.int64, torch.bool}
    assert elsewhere.dtypes


# ---- --start


YAML = """name: CI
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    permissions: {}
    steps:
      - uses: actions/checkout@v4
      - run: |
          make
          make te"""


def first_job(w):
    return w["jobs"]["a"]


def build_steps(w):
    return w["jobs"]["build"]["steps"]


@pytest.mark.parametrize(
    "text, holds",
    [
        ("name: Buil", lambda w: w["name"].startswith("Buil")),
        ('name: "Buil', lambda w: w["name"].startswith("Buil")),
        ("name: Build\n", lambda w: w["name"] == "Build"),
        ('{"name": "Build", "o', lambda w: list(w)[:2] == ["name", "on"]),
        ('{"name": "B\\ud83d\\ude00 \\ud8', lambda w: w["name"].startswith("B\U0001f600 ")),
        ("on: workflow_d", lambda w: w["on"] == "workflow_dispatch"),
        ("on: [push, pull_requ", lambda w: w["on"][1].startswith("pull_request")),
        (
            '{"on": ["push"], "jobs": {"a": {"runs-on": "x", "steps": [{"run": "y"},',
            lambda w: len(first_job(w)["steps"]) > 1,
        ),
        ("on: push\njobs:\n  a:\n    st", lambda w: any(k.startswith("st") for k in first_job(w))),
        (
            "on: push\njobs:\n  a:\n    timeout-minutes: 3",
            lambda w: str(first_job(w)["timeout-minutes"]).startswith("3"),
        ),
        (YAML, lambda w: build_steps(w)[1]["run"].startswith("make\nmake te")),
        (YAML, lambda w: w["jobs"]["build"]["permissions"] == {}),
        (YAML + "\n      - ", lambda w: len(build_steps(w)) > 2),
        (YAML + "\n      - name: Wr", lambda w: build_steps(w)[2]["name"].startswith("Wr")),
    ],
)
def test_a_start_is_continued_where_it_stops_and_keeps_what_was_written(text, holds):
    prompt = tct.encode_prefix(text)
    for made in generate(3, prompt, max_new_tokens=80):
        written = tct.decode(made.tokens)[0]
        assert holds(json.loads(written)), written


# ---- the script


def test_sample_writes_valid_files_and_leaves_the_users_own_alone(run, script):
    folder = run / "samples"
    folder.mkdir(exist_ok=True)
    (folder / "mine.yml").write_text("mine")
    (folder / "0099.yml").write_text("of an earlier run")
    flags = ["--num_samples=3", "--max_new_tokens=70", "--start=name: Mi"]
    code, out, err = script("sample.py", f"--out_dir={run}/", *flags)
    assert code == 0, err
    names = ["0001.yml", "0002.yml", "0003.yml", "mine.yml", "samples.jsonl"]
    assert sorted(os.listdir(folder)) == names
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        text = (folder / f"{i + 1:04d}.yml").read_text()
        assert json.loads(tct.yaml_to_json(text))["name"].startswith("Mi")
        assert tct.yaml_to_json(text) == tct.decode(row["tokens"])[0]
        assert row["valid"]
        assert row["sample"] == i + 1
    assert "3 valid" in out
    assert "---- " in out


def test_streaming_shows_the_workflow_and_what_is_taken_back(run, script):
    flags = ["--num_samples=1", "--max_new_tokens=60", "--stream=True", "--seed=5"]
    _, out, _ = script("sample.py", f"--out_dir={run}", *flags)
    shown = []
    for line in out.partition(" on cpu\n")[2].partition("\n\n1 samples in")[0].splitlines():
        if line.startswith("# ---- taken back: all after line "):
            assert int(line.split()[-1]) < len(shown)
            del shown[int(line.split()[-1]) :]
        else:
            shown.append(line)
    assert "taken back" in out
    assert (run / "samples" / "0001.yml").read_text().splitlines() == shown


def test_a_line_is_shown_once_no_later_token_can_change_it(capsys):
    document = workflow(1, a={"runs-on": "x", "steps": [{"run": "make\nmake test\n"}] * 2})
    tokens = tct.encode(dump_json(document))
    whole = tct.json_to_yaml(dump_json(document))
    streamer = sample.Streamer()
    shown = ""
    for end in range(1, len(tokens) + 1):
        streamer(tokens[:end])
        shown += capsys.readouterr().out
        assert whole.startswith(shown)
    assert shown == whole


def test_the_budget_that_the_shortest_reading_needs_is_enough(run, script):
    """A: 1 may become a number, or a text like 1st, which takes a token less."""
    start = "on: push\nenv:\n  A: 1"
    ids, texts = tct.encode_prefix(start)
    assert len({len(text) for text in texts}) > 1
    flags = [f"--out_dir={run}", f"--start={start}", "--num_samples=4"]
    code, _, err = script("sample.py", *flags, "--max_new_tokens=1")
    assert code == 1
    needed = int(err.split("allow ")[1].rstrip(".\n"))
    needs = []
    for text in texts:
        matcher = tct.Matcher(ids)
        spelled = units(text)
        assert all(matcher.accept_token(unit) for unit in spelled)
        needs.append(len(spelled) + matcher.min_tokens())
    assert needed == min(needs) < max(needs)
    code, out, err = script("sample.py", *flags, f"--max_new_tokens={needed}")
    assert code == 0, err
    assert "4 valid" in out


def test_samples_keep_the_rules_that_they_are_held_to():
    """GitHub's parser takes no id that begins with __; the schema does."""
    ids, texts = tct.encode_prefix('{"on": "push", "jobs": {"__x": {')
    with pytest.raises(tct.DecodeError):
        generate(prompt=(ids, texts), max_new_tokens=60)
    (made,) = generate(prompt=(ids, texts), max_new_tokens=60, rules="schema")
    assert "__x" in tct.decode(made.tokens)[0]
    for made in generate(5, max_new_tokens=100):
        problems = tct.check(tct.decode(made.tokens)[0])
        assert [problem for problem in problems if problem.rule != "reference"] == []


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--out_dir=nowhere", "Train a model"),
        ("--max_new_tokens=2", "allow"),
        ("--start=nofile.yml", "no file"),
        ("--start=" + dump_json(workflow()), "complete"),
        ("--start=on: push\njobs:\n  __x:\n    runs-on: x\n", "GitHub refuses"),
        ("--rules=none", "one of schema, github"),
        ("--top_p=0", "top_p"),
        ("--temperature=1e999", "finite"),
        ("--device=nonsense", "--device=nonsense"),
    ],
)
def test_a_users_mistake_ends_sample_in_one_line(run, script, flag, says):
    code, out, err = script("sample.py", f"--out_dir={run}", flag)
    said = err or out
    assert says in said
    assert said.count("\n") == 1
    assert code == (0 if says == "complete" else 1)


@pytest.mark.parametrize(
    "content, says",
    [
        (b"on: push\njobs:\n\ta: {}\n", "line 3"),
        (b"name: Pr\xc3\n", "UTF-8"),
        (b"on: push\njobs: []\n", "allows nothing"),
        (b"", None),
        (b"name: Pr\xc3\xbc", None),
        ("name: Pr\u00fc".encode("utf-16"), None),
        (b"name: Pr\xc3", None),
    ],
)
def test_a_file_to_start_from_is_read_or_named_with_its_mistake(
    run, script, tmp_path, content, says
):
    start = tmp_path / "begun here.yml"
    start.write_bytes(content)
    flags = [f"--out_dir={run}", "--num_samples=1", "--max_new_tokens=50", f"--start={start}"]
    code, _, err = script("sample.py", *flags)
    assert "no file" not in err
    if says:
        assert code == 1 and err.startswith(f"sample.py: --start='{start}': "), err
        assert says in err and err.count("\n") == 1
    else:
        assert code == 0, err
        name = json.loads(tct.yaml_to_json((run / "samples/0001.yml").read_text())).get("name", "")
        assert name.startswith("Pr") or not content


def test_next_to_no_temperature_samples_greedily(run, script):
    flags = [f"--out_dir={run}", "--num_samples=2", "--max_new_tokens=40"]
    written = []
    for temperature in ("1e-40", "0.0"):
        code, out, err = script("sample.py", *flags, f"--temperature={temperature}")
        assert code == 0, err
        written.append((run / "samples" / "0002.yml").read_text())
    assert written[0] == written[1]


def link_run(run, folder):
    """The run's checkpoint in another folder."""
    folder.mkdir()
    (folder / "ckpt.pt").symlink_to(run / "ckpt.pt")
    return folder


def test_the_next_command_can_be_copied_whatever_the_folders_name(run, script, tmp_path):
    folder = link_run(run, tmp_path / "it's a run; ls")
    code, out, _ = script("sample.py", f"--out_dir={folder}", "--num_samples=1")
    command = out.strip().splitlines()[-1].split("Next: ")[1]
    shown = subprocess.run(
        ["bash", "-c", f"python() {{ printf '%s|' \"$@\"; }}; {command}"],
        capture_output=True,
        text=True,
    )
    assert (code, shown.stdout) == (0, f"eval.py|--out_dir={folder}|")


def test_an_out_dir_that_is_a_file_ends_sample_in_one_line(script, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, _, err = script("sample.py", f"--out_dir={tmp_path}/file")
    assert code == 1
    assert "Train a model" in err
    assert err.count("\n") == 1


def test_samples_that_cannot_be_written_are_told_before_the_work(run, script, tmp_path):
    folder = link_run(run, tmp_path / "run")
    (folder / "samples").write_text("mine")
    code, _, err = script("sample.py", f"--out_dir={folder}", "--num_samples=100000")
    assert code == 1
    assert "samples cannot be made: File exists" in err
    assert err.count("\n") == 1
    assert (folder / "samples").read_text() == "mine"


def test_a_full_disk_leaves_the_earlier_samples_as_they_were(run, script, tmp_path, monkeypatch):
    folder = link_run(run, tmp_path / "run")
    flags = [f"--out_dir={folder}", "--max_new_tokens=40"]
    assert script("sample.py", *flags, "--num_samples=4")[0] == 0
    before = {path.name: path.read_bytes() for path in (folder / "samples").iterdir()}
    calls = []

    def fill_the_disk(_):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fill_the_disk)
    code, _, err = script("sample.py", *flags, "--num_samples=3", "--seed=1")
    assert code == 1
    assert "No space left" in err
    assert err.count("\n") == 1
    assert before == {path.name: path.read_bytes() for path in (folder / "samples").iterdir()}


def test_nobody_has_to_read_what_sample_says(run, tmp_path):
    folder = link_run(run, tmp_path / "run")
    flags = f"--out_dir={folder} --num_samples=2 --max_new_tokens=40 --stream=True --device=cpu"
    command = f'"$0" sample.py {flags} >/dev/full 2>/dev/full'
    done = subprocess.run(["bash", "-c", command, sys.executable], cwd=ROOT, timeout=120)
    assert done.returncode == 0
    assert len(list((folder / "samples").iterdir())) == 3


def test_a_ctrl_c_is_told_in_one_line_and_a_bug_by_its_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", None)
    say_when_stopped("nothing was written")
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err.strip().endswith(": stopped; nothing was written")
    sys.excepthook(ValueError, ValueError("a bug"), None)
    assert "ValueError: a bug" in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting, gpu, apple, device",
    [
        ("auto", True, False, "cuda:0"),
        ("cuda", True, False, "cuda:0"),
        ("cuda:1", True, False, "cuda:1"),
        ("auto", False, True, "mps"),
        ("mps", False, True, "mps"),
        ("auto", False, False, "cpu"),
        ("cpu", True, True, "cpu"),
    ],
)
def test_each_device_setting_leads_to_its_device(run, monkeypatch, setting, gpu, apple, device):
    moved_to = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "set_device", lambda name: torch.device(name).index)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    monkeypatch.setattr(GPT, "to", lambda model, device: moved_to.append(device) or model)
    sample.load(str(run), setting)
    assert moved_to == [device]
