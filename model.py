"""The GPT, in one file: the forward for training, the cached one for sampling, the optimizers.

A pre-norm decoder with rotary positions, QK norm, RMSNorm without weights, ReLU squared, no biases, projections that start at
zero, a soft cap on the logits, the embedding added again before each block and value embeddings in the last two blocks, as
kept after many trials by modded-nanogpt (https://github.com/KellerJordan/modded-nanogpt) and nanochat
(https://github.com/karpathy/nanochat), in the shape of nanoGPT's model.py.

A sequence is [position token, content...]. The position token is start // 32 where the content starts at token `start` of its
document, so 0 at a document's start; it stands where other models have a BOS, and is given, never predicted. Inputs and targets
are shifted: idx = [position, c1, ..., c(n-1)], targets = [c1, ..., cn].
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


@dataclass
class GPTConfig:
    block_size: int = 1024  # longest sequence, position token included
    vocab_size: int = 8192
    n_layer: int = 8
    n_head: int = 6
    n_embd: int = 384
    dropout: float = 0.0


def norm(x):
    """RMSNorm without weights, cast once for all the matrix products that read it."""
    x = F.rms_norm(x, (x.size(-1),))
    return (
        x.to(torch.get_autocast_dtype(x.device.type))
        if torch.is_autocast_enabled(x.device.type)
        else x
    )


def rotary(positions, head_dim):
    """cos and sin of the rotary angles (https://arxiv.org/abs/2104.09864): two tensors (..., T, head_dim / 2) in fp32."""
    freqs = 10000 ** -(
        torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    )
    angles = positions[..., None].float() * freqs
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """x (B, nh, T, hd) turned by its positions; cos, sin broadcast as (B or 1, 1, T, hd / 2)."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)


@torch.compiler.disable  # what it does depends on the data
def attend_windows(q, k, v, windows):
    """Causal attention within windows: q, k, v (B, nh, T, hd), windows (B, T) as in GPT.forward -> (B, nh, T, hd). For a CPU: a row
    of 1,024 holds some six workflows, so this is a fraction of the work that a mask over whole rows leaves."""
    B, nh, T, hd = q.size()
    apart = windows + torch.arange(B)[:, None] * (T + 1)  # no two rows have a number in common
    lengths = torch.unique_consecutive(apart, return_counts=True)[1].tolist()
    q, k, v = (
        t.transpose(0, 1).reshape(nh, B * T, hd).split(lengths, 1) for t in (q, k, v)
    )  # of each window: (nh, l, hd)
    above = torch.full((max(lengths), max(lengths)), -torch.inf, dtype=q[0].dtype).triu(1)
    y = [
        torch.baddbmm(above[:n, :n], q, k.mT, alpha=hd**-0.5).softmax(-1) @ v
        for q, k, v, n in zip(q, k, v, lengths)
    ]
    return torch.cat(y, 1).view(nh, B, T, hd).transpose(0, 1)


def block_mask(windows):
    """What attend_windows is to a CPU, for a compiled GPU: flex_attention passes over blocks in which no position attends to any other."""
    return create_block_mask(
        lambda b, h, q, k: (q >= k) & (windows[b, q] == windows[b, k]),
        len(windows),
        None,
        windows.size(1),
        windows.size(1),
        windows.device,
    )


class CausalSelfAttention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.layer, self.n_head = layer, config.n_head
        self.c_q = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.c_k = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.c_v = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(self, x, cos, sin, mask=None, cache=None, value_embed=None):
        B, T, C = x.size()
        q, k, v = self.c_q(x), self.c_k(x), self.c_v(x)
        if value_embed is not None:
            v = v + value_embed.to(v.dtype)
        q, k, v = (
            t.view(B, T, self.n_head, -1).transpose(1, 2) for t in (q, k, v)
        )  # (B, nh, T, hd)
        q, k = rotate(norm(q), cos, sin), rotate(norm(k), cos, sin)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)  # (B, nh, S, hd): all that the rows hold so far
        if isinstance(mask, BlockMask):
            y = flex_attention(q, k, v, block_mask=mask)
        elif mask is not None and mask.dim() == 2:
            y = attend_windows(q, k, v, mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.attn = CausalSelfAttention(config, layer)
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, *attn):
        x = x + self.dropout(self.attn(norm(x), *attn))
        return x + self.dropout(
            self.c_proj(F.relu(self.c_fc(norm(x))).square())
        )  # https://arxiv.org/abs/2109.08668


class HeadLoss(torch.autograd.Function):
    """Cross-entropies under the softly capped head, a slice of rows at a time, the gradients along with them.

    The logits of a whole batch, (N, vocab_size), are by far the largest tensor of a small model. Here they never exist: a slice
    stays in the CPU's cache, and as the cap bounds it, softmax needs no maximum.
    """

    @staticmethod
    def forward(ctx, x, weight, targets, cap, with_grad):
        """x (N, C), weight (V, C), targets (N,), -1 for what is not scored. Returns their sum and, without gradient, all (N,)."""
        losses = torch.zeros_like(targets, dtype=torch.float32)
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        rows, weight = 512 if x.device.type == "cpu" else 8192, weight.to(x.dtype)
        for a in range(0, len(x), rows):
            xs, ts = x[a : a + rows], targets[a : a + rows, None]
            scored, ts = ts >= 0, ts.clamp(min=0)
            z = xs @ weight.T
            z_target, z = z.gather(1, ts).float(), z.float()
            r, r_target = (
                torch.rsqrt(1 + (y / cap).square()) for y in (z, z_target)
            )  # capped = z * r, and its slope is r^3
            p, p_target = torch.exp(z * r), torch.exp(z_target * r_target)
            total = p.sum(1, keepdim=True)
            losses[a : a + rows] = ((total.log() - z_target * r_target) * scored)[:, 0]
            if with_grad:  # times total here, divided by it after the products: so that one pass over the logits is enough
                g = (p * (r * r * r)).to(xs.dtype)
                g.scatter_(1, ts, ((p_target - total) * r_target**3).to(xs.dtype))
                share = scored / total
                dx[a : a + rows] = (g @ weight) * share
                dweight += g.T @ (xs * share).to(xs.dtype)
        ctx.save_for_backward(dx, dweight)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx, grad, _):
        dx, dweight = ctx.saved_tensors
        return dx * grad, dweight * grad, None, None, None


class KVCache:
    """Keys and values of sequences of different lengths, preallocated. Make one with GPT.new_cache().

    length: (B,) int64 on the CPU, how many tokens each row holds. Set length[row] = 0 to start a row again.
    """

    def __init__(self, config, batch_size, max_len, device, dtype):
        # one slot more than max_len takes what must be written somewhere: the padding behind a full row
        shape = (
            config.n_layer,
            batch_size,
            config.n_head,
            max_len + 1,
            config.n_embd // config.n_head,
        )
        self.k = torch.zeros(shape, device=device, dtype=dtype)
        self.v = torch.zeros(shape, device=device, dtype=dtype)
        self.length = torch.zeros(batch_size, dtype=torch.int64)

    def keep(self, rows):
        """Keep only these rows, a list of row numbers, in this order: how finished sequences leave the batch. No row may move towards
        the end (rows[b] >= b): then it works in place, and moving the last row into the finished one's place copies one row."""
        assert all(row >= b for b, row in enumerate(rows)), rows
        for t in (self.k, self.v):
            for b, row in enumerate(rows):
                if row > b:
                    t[:, b, :, : self.length[row]] = t[:, row, :, : self.length[row]]
        self.k, self.v, self.length = (
            self.k[:, : len(rows)],
            self.v[:, : len(rows)],
            self.length[rows],
        )

    def plan(self, rows, counts, T):
        """Where the next T tokens of these rows go and what they may attend to. Returns their positions (B, T)."""
        begin = self.length[rows]
        max_len, S = self.k.size(3) - 1, int((begin + counts).max())
        if S > max_len:
            raise ValueError(
                f"the cache holds {max_len} tokens a row, not {S}. Re-window the row or make a longer cache."
            )
        at = begin[:, None] + torch.arange(T)
        device = self.k.device
        self.mask = (torch.arange(S) <= at[..., None])[:, None].to(device)  # (B, 1, T, S)
        self.rows, self.slots, self.S = rows.to(device), at.clamp(max=max_len).to(device), S
        self.whole = len(rows) == len(self.length) and bool((rows == torch.arange(len(rows))).all())
        self.length[rows] = begin + counts
        return self.slots

    def extend(self, layer, k, v):
        """Store k, v (B, nh, T, hd) and return all keys and values of their rows (B, nh, S, hd)."""
        everything = []
        for stored, new in ((self.k[layer], k), (self.v[layer], v)):
            stored[self.rows[:, None], :, self.slots] = new.transpose(1, 2).to(
                stored.dtype
            )  # indexed as (B, T, nh, hd)
            stored = stored[:, :, : self.S]
            everything.append((stored if self.whole else stored[self.rows]).to(new.dtype))
        return everything


class GPT(nn.Module):
    cap = 15.0  # logits stay within +-cap

    def __init__(self, config):
        super().__init__()
        if config.n_embd % config.n_head or config.n_embd // config.n_head % 2:
            raise ValueError(
                f"n_embd {config.n_embd} must be n_head {config.n_head} times an even number"
            )
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        # joins the values of the last blocks: much to know about a token, at hardly a cost (of 1 to 4 blocks, 2 or 3 learn best)
        self.value_embeds = nn.ModuleList(
            nn.Embedding(config.vocab_size, config.n_embd) for _ in range(min(2, config.n_layer))
        )
        self.x0_lambdas = nn.Parameter(
            torch.zeros(config.n_layer)
        )  # how much of the embedding joins the stream again before each block
        self.dropout = nn.Dropout(config.dropout)
        cos, sin = rotary(torch.arange(config.block_size), config.n_embd // config.n_head)
        self.register_buffer("cos", cos, persistent=False)  # (block_size, hd / 2)
        self.register_buffer("sin", sin, persistent=False)
        # what writes to the stream or the logits starts at zero: blocks as the identity, all tokens as equally likely
        nn.init.normal_(self.wte.weight, std=1.0)
        for embed in self.value_embeds:
            nn.init.normal_(embed.weight, std=0.5)
        nn.init.zeros_(self.lm_head.weight)
        for block in self.blocks:
            for linear in (block.attn.c_q, block.attn.c_k, block.attn.c_v, block.c_fc):
                bound = (3 / config.n_embd) ** 0.5  # for a standard deviation of n_embd ** -0.5
                nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(block.attn.c_proj.weight)
            nn.init.zeros_(block.c_proj.weight)

    def trunk(self, idx, cos, sin, mask=None, cache=None):
        """idx (B, T) -> (B, T, C), what the head reads."""
        x = x0 = self.dropout(F.rms_norm(self.wte(idx), (self.config.n_embd,)))
        for i, block in enumerate(self.blocks):
            at = i - len(self.blocks) + len(self.value_embeds)
            value_embed = self.value_embeds[at](idx) if at >= 0 else None
            x = block(x + self.x0_lambdas[i] * x0, cos, sin, mask, cache, value_embed)
        return norm(x)

    def head(self, x):
        """(..., C) -> logits (..., vocab_size) in fp32, softly capped (https://arxiv.org/abs/2408.00118)."""
        logits = self.lm_head(x).float()
        return logits * torch.rsqrt(1 + (logits / self.cap).square())

    def forward(self, idx, targets=None, reduction="mean", windows=None):
        """(logits, None) without targets, else (None, loss in nats per token).

        idx, targets: (B, T) int64, T <= block_size; a target of -1 is not scored. reduction: 'mean' over what is scored, 'sum',
        or 'none' for (B, T), without gradient. windows: (B, T), the number of each position's window, which attention then
        does not leave.
        """
        B, T = idx.size()
        assert T <= self.config.block_size, (
            f"a sequence of {T} tokens, but block_size is {self.config.block_size}"
        )
        mask = None
        if windows is not None:
            if idx.device.type == "cuda" and torch.compiler.is_compiling():
                mask = block_mask(windows)
            elif idx.device.type == "cpu" and T > 256:
                mask = windows
            else:  # on a CPU, up to some 256 tokens, quicker than many small products
                mask = (windows[:, None, :, None] == windows[:, None, None, :]).tril()
        x = self.trunk(idx, self.cos[:T], self.sin[:T], mask)
        if targets is None:
            return self.head(x), None
        total, losses = HeadLoss.apply(
            x.flatten(0, 1),
            self.lm_head.weight,
            targets.flatten(),
            self.cap,
            torch.is_grad_enabled(),
        )
        return None, {
            "mean": total / (targets >= 0).sum(),
            "sum": total,
            "none": losses.view(B, T),
        }[reduction]

    def new_cache(self, batch_size, max_len=None):
        """A KVCache for batch_size rows of at most max_len tokens (default block_size)."""
        device, dtype = self.wte.weight.device, self.wte.weight.dtype
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        return KVCache(self.config, batch_size, max_len or self.config.block_size, device, dtype)

    @torch.no_grad()
    def forward_cached(self, idx, cache, rows=None, counts=None):
        """Append tokens to rows of the cache; the logits (B, vocab_size) that follow each row's last token.

        idx: (B, T) int64, row b for row rows[b] of the cache (default: row b, all of them). counts: (B,) how many of the T tokens
        are real, where prompts of different lengths stand side by side, padded on the right (default: all T). To go on past
        block_size, start the row again: cache.length[row] = 0, then [start // 32, *tokens[start:]] with rows=[row].
        """
        B, T = idx.size()
        rows = (
            torch.arange(len(cache.length))
            if rows is None
            else torch.as_tensor(rows, dtype=torch.int64)
        )
        counts = (
            torch.full((B,), T) if counts is None else torch.as_tensor(counts, dtype=torch.int64)
        )
        assert B == len(rows) == len(counts), (
            f"idx has {B} rows for {len(rows)} rows of the cache and {len(counts)} counts"
        )
        cos, sin = rotary(cache.plan(rows, counts, T), self.config.n_embd // self.config.n_head)
        x = self.trunk(idx, cos[:, None], sin[:, None], cache.mask, cache)
        return self.head(x[torch.arange(B), (counts - 1).to(x.device)])

    def configure_optimizers(
        self, learning_rate, embedding_lr, unembedding_lr, weight_decay, betas, bf16
    ):
        """[Muon for the matrices of the blocks, AdamW for the rest: the embeddings at embedding_lr, head and x0_lambdas at
        unembedding_lr]. A schedule scales each group's initial_lr. bf16: whether Muon multiplies in bf16."""
        muon = Muon(
            self.blocks.parameters(),
            lr=learning_rate,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        muon.dtype = torch.bfloat16 if bf16 else torch.float32
        adamw = torch.optim.AdamW(
            [
                {"params": [self.wte.weight, *self.value_embeds.parameters()], "lr": embedding_lr},
                {"params": [self.lm_head.weight], "lr": unembedding_lr},
                # their first gradients are rounding errors, which a smaller eps would turn into full steps
                {"params": [self.x0_lambdas], "lr": unembedding_lr, "eps": 1e-6},
            ],
            betas=betas,
            eps=1e-10,
            weight_decay=0.0,
            fused=True,
        )
        for group in muon.param_groups + adamw.param_groups:
            group["initial_lr"] = group["lr"]
        return [muon, adamw]

    def estimate_mfu(self, tokens_per_s, device_name):
        """Share of the device's dense bf16 peak in use, counting operations as nanoGPT and PaLM do (https://arxiv.org/abs/2204.02311,
        appendix B: forward and backward, attention not halved for being causal). None for a device whose peak is not listed."""
        peaks = {
            "H100": 989e12,
            "H200": 989e12,
            "A100": 312e12,
        }  # FLOP/s, from the data sheets (SXM)
        peak = next((peak for name, peak in peaks.items() if name in device_name), None)
        matmul = sum(p.numel() for p in [*self.blocks.parameters(), self.lm_head.weight])
        flops_per_token = (
            6 * matmul + 12 * self.config.n_layer * self.config.n_embd * self.config.block_size
        )
        return peak and flops_per_token * tokens_per_s / peak


class Muon(torch.optim.Muon):
    """torch.optim.Muon (https://kellerjordan.github.io/posts/muon/) with a step that takes all matrices of a shape at once.

    The same update and state, but torch's goes matrix by matrix, thousands of small kernels on a GPU, and always in bf16, which a
    CPU without bf16 instructions emulates, fifty times slower than fp32: it would take most of a small model's step.
    """

    dtype = torch.bfloat16

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            for (rows, columns), params in shapes.items():
                for p in params:
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                buffers, grads = (
                    [self.state[p]["momentum_buffer"] for p in params],
                    [p.grad for p in params],
                )
                torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
                update = torch.stack(torch._foreach_lerp(grads, buffers, group["momentum"])).to(
                    self.dtype
                )  # Nesterov
                # Newton-Schulz: drives all singular values of each matrix towards 1
                x = update.mT if rows > columns else update
                x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])
                a, b, c = group["ns_coefficients"]
                for _ in range(group["ns_steps"]):
                    gram = x @ x.mT
                    x = torch.baddbmm(
                        x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a
                    )
                update = (x.mT if rows > columns else x).to(params[0].dtype)
                scale = 0.2 * math.sqrt(
                    max(rows, columns)
                )  # the RMS of an AdamW update: https://arxiv.org/abs/2502.16982
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(params, list(update.unbind()), alpha=-group["lr"] * scale)
