"""The vocabulary file and the command that learns one."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tct_github_workflow as tct
from tct_github_workflow import alphabet, train_vocab, vocab


def test_8191_tokens_never_cut_a_symbol_nor_hold_two_texts_and_end_with_the_end():
    table, symbols, symbol = (
        vocab.vocab().bytes,
        {s.encode() for s in alphabet.SYMBOLS},
        re.compile(b"\xee[\x80-\xbf]{2}"),
    )
    assert len(table) == len(set(table)) == 8191 == tct.pad_token() == tct.vocab_size() - 1 and all(
        table
    )
    for token in table:
        assert set(symbol.findall(token)) <= symbols and b"\xee" not in symbol.sub(b"", token)
        assert sum(map(bool, symbol.split(token.replace(alphabet.ESC.encode(), b"x")))) <= 1
        assert alphabet.EOD.encode() not in token[:-3]
    with pytest.raises(tct.DecodeError, match="token 2: 8191 is the pad token"):
        tct.decode([1, 2, tct.pad_token()])


def test_pieces_and_ids_lose_nothing_of_any_string():
    rng, table = random.Random(0), vocab.vocab().bytes
    text = [
        "a",
        " ",
        "\n",
        "é",
        "😀",
        "\uf000",
        "\uf8ff",
        "\0",
        "\r",
        "\x85",
        "\u2028",
        "\U0010ffff",
        alphabet.ESC + "\uf001",
        "steps",
        "   ",
    ]
    for _ in range(4000):
        string = "".join(
            rng.choice(alphabet.SYMBOLS if rng.random() < 0.4 else text)
            for _ in range(rng.randrange(30))
        )
        assert "".join(vocab.split_pieces(string)) == string and all(vocab.split_pieces(string))
        assert b"".join(table[i] for i in vocab.encode_symbols(string)) == string.encode()


def test_the_hash_is_that_of_the_vocabulary_and_the_schema(tmp_path, monkeypatch):
    before, text = tct.tokenizer_hash(), vocab.VOCAB_FILE.read_bytes()
    assert (
        re.fullmatch("[0-9a-f]{64}", before)
        and re.fullmatch("[0-9a-f]{64}", tct.schema_hash())
        and before != tct.schema_hash()
    )
    assert (
        json.loads(vocab.VOCAB_FILE.with_suffix(".json").read_text())["schema_sha256"]
        == tct.schema_hash()
    )
    monkeypatch.setattr(vocab, "VOCAB_FILE", tmp_path / "v")
    for content, schema, equal in (
        (text, tct.schema_hash(), True),
        (text + b" ", tct.schema_hash(), False),
        (text, "0" * 64, False),
    ):
        (tmp_path / "v").write_bytes(content)
        monkeypatch.setattr(vocab, "schema_hash", lambda schema=schema: schema)
        assert (vocab.tokenizer_hash.__wrapped__() == before) is equal


# --- train_vocab
def made_up(path, n, n_lines):
    """n workflows with n_lines lines of made-up words, so that there are merges to learn; then a
    duplicate and an invalid one."""
    rng = random.Random(0)
    words = []
    for _ in range(4000):
        n_letters = rng.randrange(4, 11)
        words.append("".join(rng.choices("abcdefghijklmnopqrstuvwxyzéü", k=n_letters)))
    rows = []
    for i in range(n):
        lines = [" ".join(rng.choices(words, k=6)) + "\n" for _ in range(n_lines)]
        run = "".join(lines)
        text = json.dumps(
            {
                "name": f"W{i}",
                "on": "push",
                "jobs": {
                    "t": {"runs-on": "x", "steps": [{"uses": "actions/checkout@v4"}, {"run": run}]}
                },
            }
        )
        rows.append({"yaml": tct.json_to_yaml(text)} if i % 2 else {"json": text})
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, rows[0], {"yaml": "on: push"}]), "utf-8"
    )
    return [row["json"] for row in rows[::2]]


def run(*args):
    command = [sys.executable, "-m", "tct_github_workflow.train_vocab", *map(str, args)]
    return subprocess.run(
        command, cwd=Path(__file__).resolve().parents[2], capture_output=True, encoding="utf-8"
    )


def test_two_runs_give_the_same_bytes_and_the_vocabulary_works(tmp_path, monkeypatch):
    pytest.importorskip("tokenizers")
    texts = made_up(tmp_path / "w.jsonl", 300, 20)
    for name in "ab":
        done = run(tmp_path / "w.jsonl", f"--out={tmp_path / name}.tiktoken")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.tiktoken").read_bytes() == (
        tmp_path / "b.tiktoken"
    ).read_bytes() and not list(tmp_path.glob("*.tmp"))
    about = json.loads((tmp_path / "a.json").read_text())
    assert [about[k] for k in ("read", "documents", "duplicates", "invalid", "ids")] == [
        302,
        300,
        1,
        1,
        8191,
    ]
    shipped = tct.encode(texts[0])
    with monkeypatch.context() as patch:
        patch.setattr(vocab, "VOCAB_FILE", tmp_path / "a.tiktoken")
        vocab.clear_caches()
        sequences = [tct.encode(text) for text in texts]
        back = [json.loads(tct.decode(ids)[0]) for ids in sequences]
    vocab.clear_caches()
    assert (
        back == list(map(json.loads, texts))
        and len(sequences[0]) < len(shipped)
        and tct.encode(texts[0]) == shipped
    )
    assert (
        1.9 < about["tokens"] / sum(map(len, sequences)) < 2.1
    )  # every other text was counted here


def test_no_more_than_max_workflows_are_read_so_that_memory_is_bounded(tmp_path, monkeypatch):
    made_up(tmp_path / "w.jsonl", 30, 2)
    whole = train_vocab.read_corpus(tmp_path / "w.jsonl").documents
    monkeypatch.setattr(train_vocab, "MAX_WORKFLOWS", 10)
    corpus = train_vocab.read_corpus(tmp_path / "w.jsonl")
    assert corpus.documents == whole[:10] and len(whole) == 30 and corpus.counts["read"] == 10


def test_what_no_vocabulary_can_be_learnt_from_is_refused_in_one_line(tmp_path):
    pytest.importorskip("tokenizers")
    made_up(tmp_path / "few.jsonl", 3, 2)
    (tmp_path / "none.jsonl").write_text('{"yaml": "on: push"}\n')
    (tmp_path / "ci.yml").write_text("on: push\n")
    for name, out, why in (
        ("few.jsonl", "v", "few.jsonl: 3 workflows are too few"),
        ("none.jsonl", "v", "no valid workflow"),
        ("gone", "v", "no such file"),
        ("ci.yml", "v", "ci.yml: line 1: "),
        ("few.jsonl", "gone/v", "no folder"),
    ):
        done = run(tmp_path / name, f"--out={tmp_path / out}")
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and why in done.stderr, (
            done.stderr
        )
    assert not (tmp_path / "v").exists() and "python -m" in run().stderr


AB, AC = {"ab": ["a", "b"]}, {"ac": ["a", "c"]}


@pytest.mark.parametrize("n_ids, spelled", [(6, {}), (5, AB), (4, AB | AC)])
def test_the_least_used_merges_give_their_ids_back_and_are_spelled_by_the_others(n_ids, spelled):
    units = ["a", "b", "c"]
    merges = [("a", "b"), ("ab", "c"), ("a", "c")]
    used = {"abc": 9, "ab": 1, "ac": 5, "a": 2, "b": 2, "c": 2}
    spelling = train_vocab.give_back(units, merges, used, n_ids)
    assert spelling == {"ab": ["ab"], "abc": ["abc"], "ac": ["ac"]} | spelled


def test_units_stand_for_bytes():
    string = "aé\x80\ue001😀\uf8ff\n"
    assert train_vocab.to_bytes(train_vocab.to_units(string)) == string.encode()
