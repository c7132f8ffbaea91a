"""The loss under the model's head: cross-entropy, and the weight on what cannot come.

    -log p(target)  -  validity_weight * log p(allowed)

p(allowed) is the sum over all tokens that might have come, as the tokenizer's Matcher knows them
(the semantic loss of https://arxiv.org/abs/1711.11157, with one constraint for each place).
Cross-entropy holds -log p(allowed) once already: it is that plus the loss among what is allowed.
"""

from typing import NamedTuple

import torch


class Validity(NamedTuple):
    """What might have come."""

    places: torch.Tensor  # (B, T) int64: the row of masks for each target
    # (masks, V) uint8: 1 for what is allowed (of bool, a CPU's compiled code is a quarter slower)
    masks: torch.Tensor
    weight: float  # of log p(allowed), beyond what cross-entropy has


def cap_slope(logits, cap):
    """logits * slope stays within +-cap, softly; the derivative of that is slope ** 3."""
    return torch.rsqrt(1 + (logits / cap).square())


class HeadLoss(torch.autograd.Function):
    """The losses under the softly capped head, slice by slice, with their gradients.

    GPT.head() and F.cross_entropy in one. The logits of a whole batch, (N, vocab_size), are by far
    the largest tensor of a small model. Here they never exist: a slice stays in the CPU's cache,
    and as the cap bounds it, softmax needs no maximum.
    """

    @staticmethod
    def forward(ctx, x, weight, targets, cap, with_grad, validity):
        """x (N, C), weight (V, C), targets (N,), -1 for what is not scored, validity or None.

        Returns the sum of the losses and, without gradient, the cross-entropies (N,).
        """
        losses = torch.zeros_like(targets, dtype=torch.float32)
        invalid_nats = torch.zeros((), device=x.device)
        dx = torch.empty_like(x)
        dweight = torch.zeros_like(weight)
        weight = weight.to(x.dtype)
        n_rows = 512 if x.device.type == "cpu" else 16384
        for first in range(0, len(x), n_rows):
            rows = slice(first, first + n_rows)
            scored = targets[rows, None] >= 0
            target = targets[rows, None].clamp(min=0)
            logits = x[rows] @ weight.T
            target_logit = logits.gather(1, target).float()
            logits = logits.float()
            slope = cap_slope(logits, cap)
            target_slope = cap_slope(target_logit, cap)
            target_capped = target_logit * target_slope
            target_p = target_capped.exp()
            p = torch.exp(logits * slope)  # times their total
            total = p.sum(1, keepdim=True)
            loss = total.log() - target_capped
            losses[rows] = (loss * scored)[:, 0]
            if validity is not None:
                p_allowed = p * validity.masks[validity.places.flatten()[rows]]
                odds = total / p_allowed.sum(1, keepdim=True)
                invalid_nats += (odds.log() * scored).sum()
                p = p + validity.weight * (p - p_allowed * odds)
                target_p = target_p + validity.weight * (target_p - target_p * odds)
            if with_grad:
                # divided by the total only after the products: one pass over the logits is enough
                dlogits = (p * (slope * slope * slope)).to(x.dtype)
                dtarget = (target_p - total) * target_slope**3
                # scatter_ would write all of dlogits anew, where torch is to be deterministic
                each = torch.arange(len(target), device=x.device)
                dlogits[each, target[:, 0]] = dtarget[:, 0].to(x.dtype)
                share = scored / total
                dx[rows] = (dlogits @ weight) * share
                x_share = (x[rows] * share).to(x.dtype)
                dweight += dlogits.T @ x_share
        ctx.save_for_backward(dx, dweight)
        ctx.mark_non_differentiable(losses)
        total = losses.sum()
        if validity is not None:
            total = total + validity.weight * invalid_nats
        return total, losses

    @staticmethod
    def backward(ctx, grad, _):
        dx, dweight = ctx.saved_tensors
        return dx * grad, dweight * grad, None, None, None, None
