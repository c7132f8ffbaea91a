"""Tests of the model: its parts against plain versions, its cache, its windows, its loss."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model import GPT, GPTConfig, HeadLoss, block_mask


def model(block_size=64, **changes):
    torch.manual_seed(0)
    settings = dict(block_size=block_size, n_layer=2, n_head=2, n_embd=32)
    settings.update(changes)
    gpt = GPT(GPTConfig(**settings)).eval()
    for p in gpt.parameters():  # also what starts at zero
        torch.nn.init.normal_(p, std=0.3)
    return gpt


def test_cached_logits_equal_uncached_ones():
    """Prompts of different lengths, single tokens, a row that leaves, one that starts again."""
    gpt = model()
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 8192, n).tolist() for n in (5, 1, 30)]

    def expect(logits):
        for row, found in zip(rows, logits, strict=True):
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
            rows = [row + [n] for row, n in zip(rows, new, strict=True)]
            expect(gpt.forward_cached(torch.tensor(new)[:, None], cache))
        with pytest.raises(ValueError, match="holds 40 tokens"):
            gpt.forward_cached(torch.zeros(2, 41, dtype=torch.int64), cache)


def test_head_loss_equals_plain_cross_entropy():
    torch.manual_seed(0)
    x = torch.randn(600, 16, requires_grad=True)
    weight = torch.randn(8192, 16, requires_grad=True)
    targets = torch.randint(-1, 8192, (600,))
    targets[:50] = -1
    logits = x @ weight.T
    capped = logits / (1 + (logits / 15) ** 2).sqrt()
    want = F.cross_entropy(capped, targets, ignore_index=-1, reduction="sum")
    found, each = HeadLoss.apply(x, weight, targets, 15.0, True)
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(each.sum(), want)
    gradients = torch.autograd.grad(3 * found, [x, weight])
    wanted = torch.autograd.grad(3 * want, [x, weight])
    torch.testing.assert_close(gradients, wanted, rtol=1e-3, atol=1e-4)
    assert not each[:50].any()


def test_the_gradient_of_a_sure_prediction_survives_bf16():
    """p - 1 of a target: rounded to bf16 before the 1 is taken off, a fifth of it would be lost."""
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
    assert touched[1:11].all() and not touched[11:].any()  # inputs after the last scored position


# rows of 50 and of 300 tokens: a CPU goes another way with long ones
@pytest.mark.parametrize("n", (1, 6))
def test_attention_stops_at_the_border_of_a_window(n):
    """Two rows of windows, with gradients; a number may stand in both."""
    gpt = model(block_size=320)
    idx = torch.randint(0, 8192, (2, 50 * n))
    windows = torch.tensor([[0] * 20 * n + [1] * 30 * n, [1] * 7 * n + [2] * 43 * n])
    packed = gpt(idx, idx, "sum", windows)[1]
    documents = (idx[:1, : 20 * n], idx[:1, 20 * n :], idx[1:, : 7 * n], idx[1:, 7 * n :])
    apart = sum(gpt(x, x, "sum")[1] for x in documents)
    torch.testing.assert_close(packed, apart, rtol=1e-5, atol=1e-4)
    gradients = torch.autograd.grad(packed, gpt.parameters())
    wanted = torch.autograd.grad(apart, gpt.parameters())
    torch.testing.assert_close(gradients, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_three_ways_to_stay_within_windows_attend_alike():
    """A mask, what a CPU does with long rows, what a GPU does (forward only on a CPU)."""
    gpt = model().requires_grad_(False)
    idx = torch.randint(0, 8192, (2, 50))
    for p in gpt.parameters():
        p.normal_(std=0.1)
    windows = torch.tensor([[0] * 20 + [1] * 30, [1] * 7 + [2] * 43])
    mask = (windows[:, None, :, None] == windows[:, None, None, :]).tril()
    outputs = []
    for way in (mask, windows, block_mask(windows)):
        outputs.append(gpt.trunk(idx, gpt.cos[:50], gpt.sin[:50], way))
    masked, cut, blocks = outputs
    torch.testing.assert_close(cut, masked, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(blocks, masked, rtol=1e-4, atol=1e-4)
