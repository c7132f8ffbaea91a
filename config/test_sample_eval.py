"""Facts about sample.py, eval.py and what they use: python -m pytest config/test_sample_eval.py"""

import json
import math
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tct_github_workflow as tct
from tct_github_workflow import alphabet, json_text, linear, vocab

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
import sample  # noqa: E402
from data import judge as judging  # noqa: E402
from eval import complete, cut, likelihood  # noqa: E402
from model import GPT, GPTConfig, document_nats  # noqa: E402


def job(**more):
    return {
        "runs-on": "ubuntu-latest",
        "steps": [{"uses": "actions/checkout@v4"}, {"run": "make test"}],
        **more,
    }


def workflow(i=0, **jobs):
    return {"name": f"CI {i}", "on": "push", "jobs": jobs or {"build": job(env={"N": str(i)})}}


TRAIN, VAL = (
    [workflow(i) for i in range(8)],
    [{**workflow(100 + i), "name": "Prüfung"} for i in range(4)],
)


def make_model(heeds_context=False, **kwargs):
    """A small model with random weights, in the head too. It pays no attention to what came before: a new one's projections are zero."""
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(**{"block_size": 64, "n_layer": 1, "n_head": 2, "n_embd": 32, **kwargs})
    ).eval()
    torch.nn.init.normal_(model.lm_head.weight, std=0.5)
    for name, p in model.named_parameters():
        if heeds_context and "c_proj" in name:
            torch.nn.init.normal_(p, std=0.5)
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with a random model and a data folder, both written by hand."""
    folder = tmp_path_factory.mktemp("run")
    meta = {
        "vocab_size": 8192,
        "tokenizer_hash": tct.tokenizer_hash(),
        "schema_hash": tct.schema_hash(),
        "skipped": {"empty": 4},
    }
    for split, workflows in (("train", TRAIN), ("val", VAL)):
        ids = [np.array(tct.encode(json_text.dump_json(w)), np.uint16) for w in workflows]
        np.concatenate(ids).tofile(folder / f"{split}.bin")
        np.cumsum([0, *map(len, ids)], dtype=np.int64).tofile(folder / f"{split}.idx")
        meta[split] = {
            "documents": len(ids),
            "tokens": sum(map(len, ids)),
            "sha256": "",
            "bytes": sum(len(json_text.dump_json(w)) for w in workflows),
        }
    (folder / "meta.json").write_text(json.dumps(meta))
    model = make_model(heeds_context=True)
    torch.save(
        {
            "model": model.state_dict(),
            "model_args": vars(model.config),
            "iter_num": 0,
            "data_dir": str(folder),
            "tokenizer_hash": tct.tokenizer_hash(),
            "schema_hash": tct.schema_hash(),
        },
        folder / "ckpt.pt",
    )
    return folder


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script with these flags in this process: (exit code, stdout, stderr)."""

    def call(name, *flags):
        monkeypatch.setattr(sys, "argv", [name, *flags])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
            code = 0
        except SystemExit as e:
            code = e.code
        return code, *capsys.readouterr()

    return call


def generate(n=1, prompt=((), ()), seed=7, **kwargs):
    return {
        i: (tokens, finish)
        for i, tokens, finish, _ in sample.generate(make_model(), [prompt] * n, seed=seed, **kwargs)
    }


# ---- sampling


def test_samples_do_not_depend_on_the_batch_size():
    batches = [generate(7, max_new_tokens=90, batch_size=b) for b in (1, 4, 7)]
    assert batches[0] == batches[1] == batches[2]
    assert len({tuple(tokens) for tokens, _ in batches[0].values()}) == 7


@pytest.mark.parametrize("settings", [{}, {"top_k": 5}, {"top_p": 0.5}, {"temperature": 0.0}])
def test_every_constrained_sample_is_valid_and_in_budget_also_past_the_block_size(settings):
    for tokens, finish in generate(3, max_new_tokens=100, **settings).values():  # block_size is 64
        assert len(tokens) <= 100 and finish in ("stop", "budget")
        tct.decode(tokens)


def test_a_sample_that_only_the_budget_closed_says_so():
    model = make_model()
    with torch.no_grad():
        model.lm_head.weight[:] = 0
        model.wte.weight[:] = 1
        model.lm_head.weight[vocab.encode_symbols("a")] = (
            1.0  # wants nothing but more of the letter a
        )
    for settings in ({}, {"top_k": 3}):
        ((_, tokens, finish, _),) = sample.generate(
            model, [((), ())], max_new_tokens=40, **settings
        )
        assert (
            finish == "budget"
            and 30 < len(tokens) <= 40
            and b"a" * 10 in b"".join(vocab.token_bytes(tokens))
        )


def test_unconstrained_samples_end_where_the_model_ends_them_or_are_cut():
    for tokens, finish in generate(8, max_new_tokens=60, constrained=False).values():
        closes = [b.endswith(alphabet.EOD.encode()) for b in vocab.token_bytes(tokens)]
        assert closes[:-1] == [False] * (len(closes) - 1) and finish == (
            "stop" if closes[-1] else "cut"
        )


def test_drawing_first_and_masking_on_refusal_has_the_masked_distribution(monkeypatch):
    allowed = np.zeros(8192, bool)
    model = make_model()
    p = model(torch.zeros(1, 1, dtype=torch.int64))[0][0, -1].softmax(-1).detach()
    allowed[p.argsort(descending=True)[[0, 2, 5, 9]].numpy()] = True

    class OneOfFour:
        done = False

        def __init__(self, tokens=()):
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
    drawn = np.bincount(
        [tokens[0] for _, tokens, _, _ in sample.generate(model, [((), ())] * n, batch_size=1000)],
        minlength=8192,
    )
    want = torch.where(torch.from_numpy(allowed), p, 0).numpy() / p.numpy()[allowed].sum()
    assert drawn[~allowed].sum() == 0
    np.testing.assert_allclose(
        drawn / n, want, atol=4 * 0.5 / math.sqrt(n)
    )  # four standard deviations


def test_draw_masks_before_it_takes_the_top_k():
    logits, allowed = (
        torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]),
        torch.tensor([[False, True, False, True, True]]),
    )
    u = torch.linspace(0, 0.999, 200, dtype=torch.float64)
    tokens = sample.draw(logits.expand(200, 5), u, allowed.expand(200, 5), top_k=2)
    assert set(tokens.tolist()) == {1, 3}
    assert abs((tokens == 1).double().mean() - 1 / (1 + math.exp(-2))) < 0.01
    assert set(sample.draw(logits.expand(200, 5), u, top_p=0.7).tolist()) == {
        0,
        1,
    }  # shares: 64%, 23%, 9%


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


@pytest.mark.parametrize(
    "text, open_value",
    [
        ("name: Buil", lambda w: w["name"].startswith("Buil")),
        ('name: "Buil', lambda w: w["name"].startswith("Buil")),
        ("name: Build\n", lambda w: w["name"] == "Build"),
        ('{"name": "Build", "o', lambda w: list(w)[:2] == ["name", "on"]),
        ('{"name": "B\\ud83d\\ude00 \\ud8', lambda w: w["name"].startswith("B\U0001f600 ")),
        ("on: workflow_d", lambda w: w["on"] == "workflow_dispatch"),
        (
            "on: [push, pull_requ",
            lambda w: w["on"][0] == "push" and w["on"][1].startswith("pull_request"),
        ),
        (
            '{"on": ["push"], "jobs": {"a": {"runs-on": "x", "steps": [{"run": "y"},',
            lambda w: len(w["jobs"]["a"]["steps"]) > 1,
        ),
        (
            "on: push\njobs:\n  a:\n    st",
            lambda w: any(k.startswith("st") for k in w["jobs"]["a"]),
        ),
        (
            "on: push\njobs:\n  a:\n    timeout-minutes: 3",
            lambda w: str(w["jobs"]["a"]["timeout-minutes"]).startswith("3"),
        ),
        (
            YAML,
            lambda w: (
                w["jobs"]["build"]["steps"][1]["run"].startswith("make\nmake te")
                and w["jobs"]["build"]["permissions"] == {}
            ),
        ),
        (YAML + "st\n", lambda w: w["jobs"]["build"]["steps"][1]["run"] == "make\nmake test\n"),
        (YAML + "\n      - ", lambda w: len(w["jobs"]["build"]["steps"]) > 2),
        (
            YAML + "\n      - name: Wr",
            lambda w: w["jobs"]["build"]["steps"][2]["name"].startswith("Wr"),
        ),
    ],
)
def test_a_start_goes_on_where_it_stops_and_keeps_what_was_written(text, open_value):
    prompt = tct.encode_prefix(text)
    for tokens, _ in generate(3, prompt, max_new_tokens=80).values():
        assert open_value(json.loads(tct.decode(tokens)[0])), tct.decode(tokens)[0]


def test_the_tokens_of_a_start_are_those_of_the_whole_as_far_as_they_are_settled():
    whole = json_text.dump_json(workflow())
    ids = tct.encode(whole)
    for end in range(1, len(whole)):
        start, texts = tct.encode_prefix(whole[:end])
        assert start == ids[: len(start)]
        rest = b"".join(vocab.token_bytes(ids[len(start) :]))
        assert not texts or any(rest.startswith(t) for t in texts), whole[:end]


@pytest.mark.parametrize(
    "text",
    ["- a list", "on: pushh\n", '{"on": "push"}}', "a: *x", "\tx", "[", "true", "jobs: {a: 3,"],
)
def test_what_no_workflow_begins_with_is_refused_in_one_line(text):
    with pytest.raises(tct.EncodeError) as e:
        tct.encode_prefix(text)
    assert "\n" not in str(e.value)


def test_sample_writes_valid_files_and_leaves_the_users_own_alone(run, script):
    folder = run / "samples"
    folder.mkdir(exist_ok=True)
    (folder / "mine.yml").write_text("mine")
    (folder / "0099.yml").write_text("of an earlier run")
    code, out, err = script(
        "sample.py",
        f"--out_dir={run}",
        "--num_samples=3",
        "--max_new_tokens=70",
        "--start=name: Mi",
    )
    assert code == 0, err
    assert sorted(os.listdir(folder)) == [
        "0001.yml",
        "0002.yml",
        "0003.yml",
        "mine.yml",
        "samples.jsonl",
    ]
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        text = (folder / f"{i + 1:04d}.yml").read_text()
        assert text.startswith("name: Mi") or text.startswith("name: |") or text[6] in "'\""
        assert tct.yaml_to_json(text) == tct.decode(row["tokens"])[0] and row["valid"]
    assert "3 valid" in out


def test_streaming_shows_the_whole_workflow_once(run, script):
    code, out, err = script(
        "sample.py",
        f"--out_dir={run}",
        "--num_samples=1",
        "--max_new_tokens=60",
        "--stream=True",
        "--seed=5",
    )
    assert (run / "samples" / "0001.yml").read_text() in out


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--out_dir=nowhere", "Train a model"),
        ("--max_new_tokens=2", "allow"),
        ("--start=nofile.yml", "no file"),
        ("--start=" + json_text.dump_json(workflow()), "complete"),
        ("--top_p=0", "top_p"),
    ],
)
def test_a_users_mistake_ends_sample_in_one_line(run, script, flag, says):
    code, out, err = script("sample.py", f"--out_dir={run}", flag)
    assert (
        says in (err or out) and (err or out).count("\n") == 1 and code == ("complete" not in says)
    )


# ---- the evaluator


def test_a_uniform_models_bits_per_byte_are_thirteen_per_token():
    model = make_model()
    torch.nn.init.zeros_(model.lm_head.weight)
    texts = [json_text.dump_json(w) for w in TRAIN + VAL]
    ids = [tct.encode(t) for t in texts]
    result = likelihood(model, ids, [len(t) for t in texts])
    n, n_bytes = sum(map(len, ids)), sum(map(len, texts))
    assert math.isclose(result["bits_per_byte"], 13 * n / n_bytes, rel_tol=1e-6)
    assert math.isclose(result["perplexity"], 8192, rel_tol=1e-4)
    assert (
        sum(x["tokens"] for x in result["by_content"].values())
        == sum(x["tokens"] for x in result["by_length"].values())
        == n
    )
    assert math.isclose(
        sum(x["share_of_nats"] for x in result["by_content"].values()), 1, rel_tol=1e-6
    )


def test_a_documents_likelihood_depends_neither_on_its_batch_nor_on_padding():
    model = make_model(heeds_context=True)
    ids = [
        tct.encode(json_text.dump_json(workflow(i, **{f"j{k}": job() for k in range(1 + 3 * i)})))
        for i in range(6)
    ]
    assert max(map(len, ids)) > 64  # more than a window
    with torch.no_grad():
        together, alone = document_nats(model, ids), [document_nats(model, [d]).item() for d in ids]
        small = document_nats(model, ids, batch_tokens=1)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(together, small, rtol=1e-5)
    alone = [likelihood(model, [d], [1])["nats_per_token"] * len(d) for d in ids]
    for batch_tokens in (1, 200, 16384):
        assert math.isclose(
            likelihood(model, ids, [1] * 6, batch_tokens)["nats_per_token"],
            sum(alone) / sum(map(len, ids)),
            rel_tol=1e-5,
        )


@pytest.mark.parametrize("n", [1, 63, 64, 65, 96, 97, 300])
def test_each_token_is_predicted_once_with_as_much_context_as_fits(n):
    """By hand, a token at a time: the window that holds it and begins at the earliest multiple of 32."""
    model, document = make_model(heeds_context=True), np.random.default_rng(n).integers(0, 8191, n)
    nats = 0.0
    for i, token in enumerate(document.tolist()):
        start = max(0, -(-(i - 63) // 32)) * 32
        logits = model(torch.tensor([[start // 32, *document[start:i].tolist()]]))[0][0, -1]
        nats -= logits.log_softmax(-1)[token].item()
    result = likelihood(model, [document], [n])
    assert math.isclose(result["nats_per_token"], nats / n, rel_tol=1e-5)
    assert math.isclose(result["bits_per_byte"], nats / n / math.log(2), rel_tol=1e-5)


def test_structure_and_string_content_are_told_apart():
    model, what = (
        make_model(),
        {
            "structure only": alphabet.KEY["steps"] + alphabet.ARRAY,
            "both": alphabet.KEY["name"] + "CI",
            "string content only": "abc",
        },
    )
    by_content = {name: vocab.encode_symbols(text) for name, text in what.items()}
    document = [id for ids in by_content.values() for id in ids]
    found = likelihood(model, [document], [1])["by_content"]
    symbols = {
        name: [sum(c in alphabet.SYMBOLS for c in vocab.vocab().bytes[id].decode()) for id in ids]
        for name, ids in by_content.items()
    }
    assert (
        all(symbols["structure only"])
        and not any(symbols["string content only"])
        and len(by_content["both"]) == 1
    ), symbols
    assert {name: x["tokens"] for name, x in found.items()} == {
        name: len(ids) for name, ids in by_content.items()
    }


W = workflow(9)
INVALID = {  # the schema's keyword that refuses it (const stands beside a $ref only, where it counts for nothing): a workflow
    "required": {"on": "push"},
    "enum": {**W, "on": "pushh"},
    "additionalProperties": {**W, "jbos": {}},
    "type": {**W, "name": 3},
    "minItems": workflow(0, a={"runs-on": "x", "steps": []}),
    "minProperties": {**W, "jobs": {}},
    "minLength": {**W, "on": {"push": {"branches": [""]}}},
    "pattern": workflow(0, a={"uses": "here"}),
    "patternProperties": workflow(0, **{"9a": job()}),
    "dependencies": workflow(0, a=job(steps=[{"uses": "a/b@v1", "shell": "sh"}])),
    "oneOf": workflow(0, a=job(steps=[{"uses": "a/b@v1", "run": "x"}])),
    "anyOf": workflow(0, a=job(**{"if": ["x"]})),
    "not, in allOf": {**W, "on": {"push": {"tags": ["a"], "tags-ignore": ["b"]}}},
}


def test_violations_of_each_kind_are_counted_each_by_its_reason():
    planted = [
        w for i, w in enumerate(INVALID.values()) for _ in range(i + 1)
    ]  # the first once, the second twice, ...
    judged = [judging.judge(data=json_text.dump_json(w).encode()) for w in planted] + [
        judging.judge(tct.encode(json_text.dump_json(W)))
    ]
    assert [rungs for rungs, *_ in judged] == [2] * len(planted) + [4]
    rungs, reasons = judging.ladder(judged)
    assert rungs == [len(judged), len(judged), 1, 1]
    assert sorted(n for n, _ in reasons.values()) == list(range(1, len(INVALID) + 1)), reasons
    assert all(example in {reason for _, reason, _ in judged} for _, example in reasons.values())


def test_tokens_that_are_no_workflow_stop_at_the_rung_where_they_break():
    ids = tct.encode(json_text.dump_json(W))
    broken = vocab.encode_symbols(
        linear.linearise({"on": "push", "jobs": {}})
    )  # well formed, against the schema
    for tokens, rungs in (
        (ids, 4),
        (ids[:-1], 0),
        (ids + ids, 0),
        ([], 0),
        ([8191], 0),
        ([-1], 0),
        (ids[::-1], 0),
        (broken, 2),
    ):
        assert judging.judge(tokens)[0] == rungs, tokens


DEFECTS = {  # file name: (text, rungs climbed)
    "a.json": ('{"on": "push", "jobs": ', 1),
    "b.yml": ("on: [push\n", 1),
    "c.yml": (b"on: \xff\xfe", 0),
    "d.yml": ("", 1),
    "e.yml": ("on: push\n", 2),
    "f.json": (json.dumps({**workflow(), "on": "pushh"}), 2),
    "g.json": (json.dumps({**workflow(), "jbos": {}}), 2),
    "h.json": (json.dumps(workflow(0, a={"runs-on": "x", "steps": []})), 2),
    "i.json": (json.dumps(workflow(0, a=job(**{"timeout-minutes": "x y"}))), 2),
    "j.json": (json.dumps(workflow(1, a=job(needs="b"))), 3),
    "k.json": (json.dumps(workflow(1, a=job(needs=["b"]), b=job(needs="a"), c=job())), 3),
    "l.json": (
        json.dumps(workflow(1, a=job(steps=[{"run": "x", "id": "s"}, {"run": "y", "id": "S"}]))),
        3,
    ),
    "m.json": (
        json.dumps(workflow(1, a=job(steps=[{"run": "echo ${{ steps.nope.outputs.x }}"}]))),
        3,
    ),
    "n.json": (json.dumps(workflow(1, a=job(**{"if": "needs['b'].result == 'steps.q'"}))), 3),
    "o.json": (
        json.dumps(
            workflow(
                1,
                a=job(
                    steps=[
                        {"run": "x", "id": "s"},
                        {"run": "${{ steps.S.outputs.x && 'steps.none' }}"},
                    ]
                ),
                B=job(needs="a", **{"if": "needs.A.outputs.x"}),
                c=job(needs=["B"], env={"x": "${{ needs.B.result }}"}),
            )
        ),
        4,
    ),
    "p.json": (json.dumps(TRAIN[0]), 4),
    "q.json": (json.dumps(TRAIN[1], indent=2), 4),
    "r.yml": (tct.json_to_yaml(json_text.dump_json(TRAIN[1])), 4),
    "s.json": (json.dumps(workflow(55)), 4),
    "t.json": (json.dumps(workflow(55)), 4),
}


def test_planted_defects_copies_and_duplicates_come_out_as_planted(run, script, tmp_path):
    for name, (text, rungs) in DEFECTS.items():
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(data)
        assert judging.judge(data=data)[0] == rungs, (name, judging.judge(data=data))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    code, out, err = script(
        "eval.py", f"--samples={tmp_path}", f"--out_dir={run}", f"--data_dir={run}"
    )
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["samples"]["n"] == len(DEFECTS)
    assert (
        result["samples"]["rungs"]
        == [sum(r > k for _, r in DEFECTS.values()) for k in range(4)]
        == [19, 16, 11, 6]
    )
    assert sum(n for n, _ in result["samples"]["reasons"].values()) == len(DEFECTS) - 6 and result[
        "samples"
    ]["finish"] == {"given": len(DEFECTS)}
    copies = result["copies"]["samples"]
    assert (copies["n"], copies["exact"], copies["distinct"]) == (
        11,
        3,
        9,
    )  # p; q and r are one; s and t are one
    assert result["real"]["rungs"] == [4] * 4
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert (run / "judged.png").stat().st_size > 10_000
    page = (run / "judged.md").read_text()
    assert all(
        f"| {row} [" in page
        for row in (
            "fits the schema | 55.0%",
            "fit the schema | 55.0%",
            "and have sound references | 30.0%",
            "copies of a training workflow | 27.3%",
        )
    )  # 11 and 6 of 20, 3 of 11
    assert "the nearest of 4 of their own" in page  # as there are but 4 real ones
    nearest = (run / "judged_nearest.md").read_text()  # apart, as its second half is somebody's
    assert (
        sum(tct.json_to_yaml(json_text.dump_json(w)) in nearest for w in TRAIN) == 1
        and "```yaml" not in page
        and "make test" not in out + page
    )


def test_wilsons_interval_is_the_published_one():
    assert np.allclose(
        judging.wilson(81, 263), (0.2553, 0.3662), atol=5e-5
    )  # Newcombe 1998, table I
    assert np.allclose(judging.wilson(0, 20), (0.0000, 0.1611), atol=5e-5)


def test_the_nearest_document_is_found_and_measured():
    index = judging.make_index([[1, 2, 3, 4], [1, 2, 3, 9, 9], [7, 8]])
    assert judging.nearest([1, 2, 3, 4], index) == (1.0, 0)
    assert judging.nearest([1, 2, 3, 4], index, but=0) == (1 / 4, 1)
    assert judging.nearest([7, 8], index) == (1.0, 2)


def test_originality_counts_copies_distinct_ones_and_sizes():
    long, part = (
        workflow(7, **{f"j{k}": job(name=f"job {k}") for k in range(n)}) for n in (30, 20)
    )
    ours = [TRAIN[0], TRAIN[0], TRAIN[1], part, {**long, "name": "Another"}]
    ids = [tct.encode(json_text.dump_json(w)) for w in [*TRAIN, long]]
    found, (likeness, which, number) = judging.originality(
        ours, ids, judging.make_index(ids), 5, lambda *_: None
    )
    assert [found[k] for k in ("n", "exact", "over_0.8", "distinct")] == [5, 3, 4, 4]
    assert 0.9 < likeness < 1 and (which, number) == (4, len(TRAIN))
    assert (
        0.5
        < judging.nearest(tct.encode(json_text.dump_json(part)), judging.make_index(ids))[0]
        < 0.8
    )
    assert found["nearest"] == 1 and 0 < found["self"] <= 1
    assert found["sizes"]["jobs"] == [1, 1, pytest.approx(26), pytest.approx(10.6)] and found[
        "sizes"
    ]["steps"][3] == pytest.approx(21.2)
    assert (
        judging.originality([workflow(50)], ids, judging.make_index(ids), 1, lambda *_: None)[0][
            "self"
        ]
        is None
    )


def test_total_variation_distance():
    assert judging.distance({"a": 0.5, "b": 0.5}, {"a": 0.5, "c": 0.5}) == 0.5
    assert judging.distance({"a": 1.0}, {"a": 1.0}) == 0
    assert judging.distance({}, {"a": 1.0}) == 1 and judging.distance({}, {}) == 0


def test_features_are_those_of_the_workflow():
    w = {
        "on": {"push": {"branches": ["a"]}, "pull_request": None},
        "env": {"A": "b"},
        "jobs": {
            "env": job(strategy={"matrix": {"os": ["x"], "include": [{"os": "y", "z": 1}]}}),
            "b": {"uses": "a/b/c.yml@v1", "with": {"q": "r"}},
        },
    }
    found = judging.features(w)
    assert (
        found["events"] == ["push", "pull_request"]
        and found["runners"] == ["ubuntu-latest"]
        and found["actions"] == ["actions/checkout"]
    )
    assert found["step kinds"] == ["uses", "run"]
    assert sorted(found["keys"]) == sorted(
        [
            "workflow.on",
            "workflow.env",
            "workflow.jobs",
            "on.push",
            "on.pull_request",
            "push.branches",
            "steps[].uses",
            "steps[].run",
            "strategy.matrix",
            *(f"jobs.*.{k}" for k in ("runs-on", "steps", "strategy", "uses", "with")),
        ]
    )
    assert sorted(found["keys per object"]) == sorted("3 2 1 1 2 3 1 1 1 2 2 2 1".split())
    assert judging.shares([found, found], "step kinds") == {"uses": 0.5, "run": 0.5}


def test_a_cut_is_the_beginning_of_the_documents_own_tokens():
    steps = [{"uses": "a/b@v1", "with": {"x": "\ue000"}}, {"run": "make\nmake test\n"}] * 3
    workflows = [
        workflow(i, **{f"j{k}": job(steps=steps, env={}) for k in range(3)}) for i in range(6)
    ]
    tasks = cut(workflows, 5)
    assert len(tasks) == 5 and len({(name, len(before)) for *_, name, before, _ in tasks}) > 2
    documents = [tct.encode(json_text.dump_json(w)) for w in workflows]
    for ids, texts, name, before, rest in tasks:
        document = next(d for d in documents if d[: len(ids)] == ids)
        assert texts == [alphabet.OBJECT.encode()] and vocab.token_bytes(document[len(ids) :])[
            0
        ].startswith(texts[0])
        assert before + rest == steps and before and rest


def test_completions_are_scored_against_the_steps_that_were_cut_off():
    """With a model that is only random, the baselines must still be right wherever the training set determines the answer."""
    tasks = cut(VAL, 3)
    assert len(tasks) == 3 and all(
        before + rest == job()["steps"] and len(before) == 1 for *_, before, rest in tasks
    )
    result = complete(make_model(), tasks, TRAIN)
    assert result["cuts"] == 3 and result["uses"] == 0
    assert result["most frequent after the same step"] == {
        "exact": 3,
        "action": 0,
        "kind": 3,
        "job": 3,
    }


def test_a_model_that_knows_the_answers_is_told_that_it_does(monkeypatch):
    """The model writes the true rest; a right step but one too many; another version; the wrong kind; the true rest, closed by the budget."""
    first, then = {"run": "make"}, [{"uses": "a/b@v1", "with": {"x": "y"}}, {"run": "make test"}]
    tasks = [
        t
        for t in cut([workflow(i, a=job(steps=[first, *then])) for i in range(40)], 40)
        if t[4] == then
    ][:5]
    answers = [then, [*then, first], [{"uses": "a/b@v2"}], [{"run": "make test"}], then]

    def knows(model, prompts, *_, until, **__):
        for i, (ids, _) in enumerate(prompts):
            more = vocab.encode_symbols(
                linear.linearise({"x": answers[i]})[3:-1]
            )  # the steps and the end of their list
            assert [until(i, token) for token in more] == [False] * (len(more) - 1) + [True]
            yield i, ids + more, "budget" if i == 4 else "until", 0

    monkeypatch.setattr("eval.generate", knows)
    result = complete(
        None,
        tasks,
        [workflow(0, a=job(steps=[{"run": "x"}] * 4)), workflow(1, a=job(steps=[first, *then]))],
    )
    assert result == {
        "cuts": 5,
        "uses": 5,
        "model": {"exact": 3, "action": 4, "kind": 4, "job": 1},
        "most frequent": {"exact": 0, "action": 0, "kind": 0, "job": 0},
        "most frequent after the same step": {"exact": 5, "action": 5, "kind": 5, "job": 5},
    }


def test_evaluating_a_run_writes_a_page_and_comparing_runs_reads_it(run, script):
    flags = (
        f"--out_dir={run}",
        "--num_samples=2",
        "--max_new_tokens=40",
        "--num_cuts=2",
        "--max_cut_tokens=40",
    )
    code, out, err = script("eval.py", *flags)
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result == json.loads((run / "results.json").read_text())
    assert result["samples"]["rungs"][2] == 2 and result["likelihood"]["documents"] == len(VAL)
    assert result["likelihood"]["bytes"] == sum(len(json_text.dump_json(w).encode()) for w in VAL)
    page = (run / "results.md").read_text()
    assert all(
        title in page
        for title in (
            "## Likelihood",
            "## Validity",
            "## Not copied",
            "## Looks",
            "## Useful",
            "## To repeat",
        )
    )
    assert page.index("| bits per byte") < page.index("## Likelihood") and "--num_cuts=2" in page
    # the numbers follow from the run, whatever the batch size
    code, out, err = script("eval.py", *flags, "--batch_size=1")
    again, own = json.loads(out.splitlines()[-1]), ("settings", "facts")
    assert code == 0 and {k: v for k, v in again.items() if k not in own} == {
        k: v for k, v in result.items() if k not in own
    }
    # measured on other workflows, and in part
    (run / "other").mkdir()
    again["facts"]["val_sha256"] = ["0"]
    del again["completion"]
    (run / "other" / "results.json").write_text(json.dumps(again))
    code, out, err = script("eval.py", f"--compare={run},{run}/other")
    compared = (run / "compared.md").read_text()
    assert (
        code == 0
        and compared.split("\n\n", 1)[1] in out
        and "Not the same validation workflows" in compared
    )
    bits = f"{result['likelihood']['bits_per_byte']:.3f}"
    assert f"| bits per byte of minified JSON | {bits} | {bits} |" in compared
    assert "| rest of the job exactly right | 0.0% [0.0, 65.8] | - |" in compared


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--compare=nowhere", "Run python eval.py"),
        ("--num_samples=0", "at least 1"),
        ("--seed=-1", "seed 0"),
        ("--device=nonsense", "--device=nonsense"),
        ("--data_dir=nowhere", "Run prepare.py"),
        ("--out_dir=nowhere", "Train a model"),
        ("--samples=nowhere", "No such file"),
        ("--samples=empty", "no workflow"),
        ("--samples=bad.jsonl", "bad.jsonl: "),
    ],
)
def test_a_users_mistake_ends_eval_in_one_line(run, script, tmp_path, monkeypatch, flag, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text('{"tokens": [1, 2]}\n{"tok\n')
    monkeypatch.chdir(tmp_path)
    code, out, err = script("eval.py", f"--out_dir={run}", f"--data_dir={run}", flag)
    assert code == 1 and says in err and err.count("\n") == 1


def test_the_samples_of_sample_py_are_judged_as_they_were_written(run, script):
    assert (
        script(
            "sample.py",
            f"--out_dir={run}",
            "--num_samples=3",
            "--max_new_tokens=40",
            "--constrained=False",
        )[0]
        == 0
    )
    rows = [
        json.loads(line) for line in (run / "samples" / "samples.jsonl").read_text().splitlines()
    ]
    for samples in (run / "samples", run / "samples" / "samples.jsonl"):
        code, out, err = script(
            "eval.py", f"--out_dir={run}", f"--data_dir={run}", f"--samples={samples}"
        )
        result = json.loads(out.splitlines()[-1])
        assert (
            code == 0
            and result["samples"]["n"] == 3
            and result["samples"]["rungs"][2] == sum(r["valid"] for r in rows) == 0
        )
        assert (
            sum(result["samples"]["finish"].values()) == 3
            and "copies" not in result
            and "likelihood" not in result
        )


@pytest.fixture
def linters(tmp_path, monkeypatch):
    """Linters that only look for a word."""
    for name, findings in (("actionlint", 1), ("zizmor", 13)):
        (tmp_path / name).write_text(f"""#!/bin/sh
            for file; do :; done
            test "$1" = --version && echo {name} 0.1 && exit
            grep -q bad "$file" && exit {findings}
            grep -q odd "$file" && exit 3 || exit 0""")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))


def test_a_linters_verdict_is_its_exit_code(linters, monkeypatch):
    """Findings and failures apart: what a linter cannot read it has not found fault with."""
    found = judging.lint(["good", "bad", "odd", "bad", "bad", "good", "odd"], lambda *_: None)
    assert found == {
        name: {"version": f"{name} 0.1", "findings": 3, "failed": 2}
        for name in ("zizmor", "actionlint")
    }
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert judging.lint(["good"], lambda *_: None) == {}


def test_ends_and_linters_are_reported_for_samples_of_others(run, script, tmp_path, linters):
    fits = [
        tct.encode(json_text.dump_json({**workflow(), "name": name}))
        for name in ("bad", "odd", "odd 2")
    ]
    broken = vocab.encode_symbols(linear.linearise({"on": "push", "jobs": {}}))
    rows = [*zip(fits, ("stop", "budget", "stop")), (broken, "stop"), (fits[0][:-1], "cut")]
    (tmp_path / "s.jsonl").write_text(
        "".join(json.dumps({"tokens": tokens, "finish": finish}) + "\n" for tokens, finish in rows)
    )
    code, out, err = script(
        "eval.py",
        f"--out_dir={run}",
        f"--data_dir={run}",
        f"--samples={tmp_path}/s.jsonl",
        "--lint=True",
    )
    assert code == 0, err
    result, page = json.loads(out.splitlines()[-1]), (run / "judged.md").read_text()
    assert (
        result["samples"]["finish"] == {"stop": 3, "budget": 1, "cut": 1}
        and result["samples"]["stop_and_fit"] == 2
    )
    assert (
        "| finished by itself | 3 | - |" in page
        and "| finished by itself and fits | 2 | - |" in page
    )
    assert result["lint"] == {
        group: {
            "n": 3,
            **{
                name: {"version": f"{name} 0.1", "findings": n, "failed": m}
                for name in ("zizmor", "actionlint")
            },
        }
        for group, n, m in (("samples", 1, 2), ("real", 0, 0))
    }
    assert (
        "| zizmor: has findings | 33.3% [" in page
        and "| zizmor: cannot read it | 66.7% [" in page
        and "| zizmor | zizmor 0.1 |" in page
    )
