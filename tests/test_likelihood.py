"""Tests of metrics/likelihood.py: by a plain computation, by what must not matter."""

import math

import numpy as np
import pytest
import torch

import tct_github_workflow as tct
from metrics.known import known_shares
from metrics.likelihood import bits_per_byte, likelihood_page, measure_likelihood, token_nats
from tct_github_workflow import alphabet, vocab
from tct_github_workflow.json_text import dump_json
from tests.sampling import TRAIN, VAL, make_model


def random_documents(*lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 8191, n).astype(np.uint16) for n in lengths]


def test_a_uniform_models_bits_per_byte_are_thirteen_per_token():
    model = make_model()
    torch.nn.init.zeros_(model.lm_head.weight)
    texts = [dump_json(w) for w in TRAIN + VAL]
    ids = [tct.encode(text) for text in texts]
    result = measure_likelihood(model, ids, [len(text) for text in texts], [0] * len(texts))
    n_tokens = sum(map(len, ids))
    n_bytes = sum(map(len, texts))
    assert result["bits_per_byte"] == pytest.approx(13 * n_tokens / n_bytes)
    assert result["perplexity"] == pytest.approx(8192)
    assert (result["documents"], result["tokens"]) == (len(texts), n_tokens)
    for groups in (result["by_content"], result["by_length"]):
        assert sum(group["tokens"] for group in groups.values()) == n_tokens
    shares = [group["share_of_nats"] for group in result["by_content"].values()]
    assert sum(shares) == pytest.approx(1)


def test_each_token_is_predicted_once_from_half_a_block_of_context_or_more():
    """By hand, a token at a time: the window at the earliest multiple of half a block."""
    model = make_model(heeds_context=True, block_size=128)
    for document in random_documents(1, 127, 128, 129, 192, 193, 500):
        found = token_nats(model, [document])
        assert len(found) == len(document)
        for i, token in enumerate(document.tolist()):
            start = max(0, -(-(i - 127) // 64)) * 64
            content = document[start:i].tolist()
            logits = model(torch.tensor([[start // 32, *content]]))[0][0, -1]
            assert found[i] == pytest.approx(-logits.log_softmax(-1)[token].item(), rel=1e-4)


def test_a_documents_likelihood_depends_neither_on_its_batch_nor_on_its_neighbours():
    model = make_model(heeds_context=True)
    documents = random_documents(1, 7, 64, 65, 200, 300)
    alone = np.concatenate([token_nats(model, [document]) for document in documents])
    for batch_tokens in (1, 200, 16384):
        together = token_nats(model, documents, batch_tokens)
        np.testing.assert_allclose(together, alone, rtol=1e-4)
    backwards = token_nats(model, documents[::-1])
    assert backwards.sum() == pytest.approx(alone.sum(), rel=1e-6)


def test_training_and_evaluation_measure_the_same_bits_per_byte():
    model = make_model(heeds_context=True)
    documents = random_documents(5, 64, 200)
    sizes = [50, 300, 900]
    shares = [token_nats(model, documents[rank::2]).sum() for rank in (0, 1)]  # two processes
    in_training = bits_per_byte(sum(shares), sum(sizes))
    figures = measure_likelihood(model, documents, sizes, [0] * 3)
    assert figures["bits_per_byte"] == pytest.approx(in_training)


def test_a_process_without_documents_adds_nothing():
    assert token_nats(make_model(), []).sum() == 0


def test_progress_counts_each_token_once():
    calls = []
    documents = random_documents(10, 100)
    token_nats(make_model(), documents, 64, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (110, 110)
    assert all(a[0] < b[0] for a, b in zip(calls, calls[1:], strict=False))


def test_structure_and_string_content_are_told_apart():
    texts = {
        "structure only": alphabet.KEY["steps"] + alphabet.ARRAY,
        "both": alphabet.KEY["name"] + "CI",
        "string content only": "abc",
    }
    ids = {kind: vocab.encode_symbols(text) for kind, text in texts.items()}
    assert len(ids["both"]) == 1
    for i in ids["structure only"]:
        assert set(vocab.vocab().bytes[i].decode()) <= set(alphabet.SYMBOLS)
    document = sum(ids.values(), [])
    found = measure_likelihood(make_model(), [document], [1], [0])["by_content"]
    assert {kind: group["tokens"] for kind, group in found.items()} == {
        kind: len(part) for kind, part in ids.items()
    }


def test_documents_are_grouped_by_their_number_of_tokens():
    documents = random_documents(1, 63, 64, 2048)
    by_length = measure_likelihood(make_model(), documents, [1] * 4, [0] * 4)["by_length"]
    assert {name: group["documents"] for name, group in by_length.items()} == {
        "0 to 63": 2,
        "64 to 127": 1,
        "2,048 and more": 1,
    }
    total = math.fsum(g["nats_per_token"] * g["tokens"] for g in by_length.values())
    assert total == pytest.approx(token_nats(make_model(), documents).sum())


def test_a_document_is_known_by_its_runs_of_twelve_tokens_in_training():
    train = [np.arange(100, 140), np.arange(200, 220)]
    documents = {
        "a copy": (np.arange(200, 220), 1),
        "a part": (np.arange(105, 117), 1),
        "eleven tokens": (np.arange(105, 116), 0),
        "half": (np.concatenate([np.arange(300, 320), np.arange(105, 125)]), 0.5),
        "two runs that overlap": (np.array([1, *range(110, 125), 2, 3, 4, 5]), 0.75),
        "the end of one, the beginning of another": (np.array([*range(130, 140), 200, 201]), 0),
        "in another order": (np.arange(219, 199, -1), 0),
    }
    shares = known_shares([ids for ids, _ in documents.values()], train)
    assert dict(zip(documents, shares, strict=True)) == {
        name: share for name, (_, share) in documents.items()
    }


def test_new_documents_are_those_less_than_half_known():
    model = make_model()
    documents = random_documents(5, 64, 200, 20)
    sizes = [50, 300, 900, 70]
    figures = measure_likelihood(model, documents, sizes, [0, 0.49, 0.5, 1])
    alone = measure_likelihood(model, documents[:2], sizes[:2], [0, 0])
    for figure in ("documents", "tokens", "bytes", "bits_per_byte"):
        assert figures["new"][figure] == pytest.approx(alone[figure])
    assert any("all that are new | 2 |" in paragraph for paragraph in likelihood_page(figures))
    nothing_new = measure_likelihood(model, documents, sizes, [0.5, 1, 1, 1])
    assert not any("all that are new" in paragraph for paragraph in likelihood_page(nothing_new))
