"""Tests of the model: its parts against plain versions, its cache, its windows, its loss."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask

from loss import HeadLoss, Validity
from model import GPT, GPTConfig, block_mask
from tct_github_workflow.vocab import token_parts


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


def embedding_by_hand(weight, token, n_rounds):
    """As AddParts is described: a token's own, and half of its first and last part's."""
    parts = token_parts()[token]
    if n_rounds == 0 or not parts:
        return weight[token]
    first, last = (embedding_by_hand(weight, part, n_rounds - 1) for part in (parts[0], parts[-1]))
    return weight[token] + 0.5 * (first + last)


def test_parts_join_the_embedding_of_each_token():
    gpt = model(part_share=0.5)
    weight = gpt.wte.weight
    found = gpt.add_parts(weight)
    for token in range(0, 8191, 7):
        want = embedding_by_hand(weight, token, n_rounds=2)
        torch.testing.assert_close(found[token], want)
    assert torch.equal(found[8191], weight[8191])  # pad has no parts


def test_what_is_learned_of_a_token_reaches_its_parts():
    gpt = model(part_share=0.5)
    weight = gpt.wte.weight
    tokens = range(0, 8191, 97)
    found = gpt.add_parts(weight)[list(tokens)]
    want = torch.stack([embedding_by_hand(weight, token, n_rounds=2) for token in tokens])
    slope = torch.randn_like(want)
    gradients = [torch.autograd.grad(each, weight, slope)[0] for each in (found, want)]
    torch.testing.assert_close(*gradients)


def test_folding_the_parts_changes_no_logits():
    gpt = model(part_share=0.5)
    idx = torch.arange(60, 8000, 199)[None]
    before, _ = gpt(idx)
    without, _ = model()(idx)  # the same weights
    assert not torch.allclose(before, without)
    gpt.fold_parts()
    assert torch.equal(gpt(idx)[0], before)
    again = GPT(GPTConfig(**dataclasses.asdict(gpt.config))).eval()
    again.load_state_dict(gpt.state_dict())
    assert torch.equal(again(idx)[0], before)


def test_head_loss_equals_plain_cross_entropy():
    torch.manual_seed(0)
    x = torch.randn(600, 16, requires_grad=True)
    weight = torch.randn(8192, 16, requires_grad=True)
    targets = torch.randint(-1, 8192, (600,))
    targets[:50] = -1
    logits = x @ weight.T
    capped = logits / (1 + (logits / 15) ** 2).sqrt()
    want = F.cross_entropy(capped, targets, ignore_index=-1, reduction="sum")
    found, each = HeadLoss.apply(x, weight, targets, 15.0, True, None)
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(each.sum(), want)
    gradients = torch.autograd.grad(3 * found, [x, weight])
    wanted = torch.autograd.grad(3 * want, [x, weight])
    torch.testing.assert_close(gradients, wanted, rtol=1e-3, atol=1e-4)
    assert not each[:50].any()


def test_validity_weighs_the_probability_of_what_cannot_come():
    torch.manual_seed(0)
    x = torch.randn(600, 16, requires_grad=True)
    weight = torch.randn(8192, 16, requires_grad=True)
    masks = torch.rand(5, 8192) < 0.3
    places = torch.randint(0, 5, (2, 300))
    targets = torch.multinomial(masks[places.flatten()].float(), 1)[:, 0]
    targets[:50] = -1
    logits = x @ weight.T
    log_p = (logits / (1 + (logits / 15) ** 2).sqrt()).log_softmax(1)
    log_allowed = log_p.masked_fill(~masks[places.flatten()], -torch.inf).logsumexp(1)
    cross_entropy = F.nll_loss(log_p, targets, ignore_index=-1, reduction="sum")
    want = cross_entropy - 4 * log_allowed[50:].sum()
    validity = Validity(places, masks.to(torch.uint8), 4.0)
    found, each = HeadLoss.apply(x, weight, targets, 15.0, True, validity)
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(each.sum(), cross_entropy)
    gradients = torch.autograd.grad(found, [x, weight])
    wanted = torch.autograd.grad(want, [x, weight])
    torch.testing.assert_close(gradients, wanted, rtol=1e-3, atol=1e-4)


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
        loss, each = HeadLoss.apply(inputs, weight, targets, 15.0, True, None)
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


@pytest.mark.parametrize("length", [50, 128, 300, 1024])
def test_block_mask_skips_what_torchs_own_skips(length):
    rng = np.random.default_rng(length)
    rows = []
    for n_windows in (1, 3, 9):
        rows.append(np.sort(rng.integers(0, n_windows, length)))
    windows = torch.tensor(np.stack(rows))

    def may_attend(b, h, q, k):
        return (q >= k) & (windows[b, q] == windows[b, k])

    want = create_block_mask(may_attend, 3, None, length, length, "cpu")
    assert torch.equal(block_mask(windows).to_dense(), want.to_dense())


def optimizers_of(gpt):
    return gpt.configure_optimizers((0.01, 0.2, 0.015), (0.1, 0.03), (0.8, 0.95), False)


def set_random_gradients(gpt, seed):
    torch.manual_seed(seed)
    for p in gpt.parameters():
        p.grad = torch.randn_like(p)


def test_muon_steps_as_torchs_own_does():
    gpt = model()
    twin = copy.deepcopy(gpt)
    muon, _ = optimizers_of(gpt)
    options = dict(lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    plain = torch.optim.Muon(twin.blocks.parameters(), **options)
    for step in range(3):
        for each in (gpt, twin):
            set_random_gradients(each, step)
        muon.step()
        plain.step()
    start = list(model().blocks.parameters())
    for p, want, begin in zip(
        gpt.blocks.parameters(), twin.blocks.parameters(), start, strict=True
    ):
        # torch's multiplies in bfloat16
        assert (p - want).norm() < 0.02 * (want - begin).norm()
        buffers = muon.state[p]["momentum_buffer"], plain.state[want]["momentum_buffer"]
        torch.testing.assert_close(*buffers)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_step_with_a_gradient_that_is_not_finite_changes_nothing(bad):
    """As if it had not been: the next steps go where they go without it."""
    gpt = model()
    twin = copy.deepcopy(gpt)
    for each, found in ((gpt, [0.0, 1.0, 0.0]), (twin, [0.0, 0.0])):
        optimizers = optimizers_of(each)
        for step, found_inf in enumerate(found):
            set_random_gradients(each, 0 if step == 0 else 1)
            if found_inf:
                for p in each.parameters():
                    p.grad.view(-1)[0] = bad
            for optimizer in optimizers:
                optimizer.found_inf = torch.tensor(found_inf)
                optimizer.step()
    for p, want in zip(gpt.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, want)
