"""The GPT: the forward for training, the cached one for sampling, which optimizer trains what.

A pre-norm decoder with rotary positions, QK norm, RMSNorm without weights, ReLU squared, no biases,
projections that start at zero, a soft cap on the logits, the embedding added again before each
block and value embeddings in the last two blocks, as kept after many trials by modded-nanogpt
(https://github.com/KellerJordan/modded-nanogpt) and by nanochat
(https://github.com/karpathy/nanochat), in the shape of nanoGPT's model.py.

A sequence is [position token, content...]. The position token is start // 32 where the content
starts at token `start` of its document, so 0 at a document's start; it stands where other models
have a BOS, and is given, never predicted. Inputs and targets are shifted:
idx = [position, c1, ..., c(n-1)], targets = [c1, ..., cn].
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from loss import HeadLoss, cap_slope
from muon import Muon
from tct_github_workflow.vocab import token_parts

# FLOP/s in bf16, dense, from the data sheets (SXM)
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


@dataclass
class GPTConfig:
    block_size: int = 1024  # longest sequence, position token included
    vocab_size: int = 8192
    n_layer: int = 8
    n_head: int = 6
    n_embd: int = 384
    dropout: float = 0.0
    part_share: float = 0.0  # of the embeddings of a token's parts, joins its own

    @property
    def head_dim(self):
        return self.n_embd // self.n_head


def norm(x):
    """RMSNorm without weights, cast once for all the matrix products that read it."""
    device_type = x.device.type
    x = F.rms_norm(x, (x.size(-1),))
    if torch.is_autocast_enabled(device_type):
        x = x.to(torch.get_autocast_dtype(device_type))
    return x


def rotary(positions, head_dim):
    """cos and sin of the rotary angles: two tensors (..., T, head_dim / 2) in float32.

    https://arxiv.org/abs/2104.09864
    """
    device = positions.device
    pairs = torch.arange(0, head_dim, 2, device=device)
    freqs = 10000 ** -(pairs.float() / head_dim)
    angles = positions[..., None].float() * freqs
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """x (B, nh, T, hd) turned by its positions; cos, sin broadcast as (B or 1, 1, T, hd / 2)."""
    a, b = x.chunk(2, dim=-1)
    cos = cos.to(x.dtype)
    sin = sin.to(x.dtype)
    turned_a = a * cos + b * sin
    turned_b = b * cos - a * sin
    return torch.cat((turned_a, turned_b), dim=-1)


def attend(q, k, v, mask):
    """(B, nh, T, hd), as q is. mask: of GPT.window_mask() or KVCache.plan(), or None: causal."""
    if isinstance(mask, BlockMask):
        return flex_attention(q, k, v, block_mask=mask)
    if mask is not None and mask.dim() == 2:
        return attend_windows(q, k, v, mask)
    is_causal = mask is None
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)


@torch.compiler.disable  # what it does depends on the data
def attend_windows(q, k, v, windows):
    """Causal attention within windows, for a CPU: (B, nh, T, hd), as q, k and v are.

    windows: (B, T) as in GPT.forward. A row of 1,024 holds some six workflows, so this is a
    fraction of the work that a mask over whole rows leaves.
    """
    B, nh, T, hd = q.size()
    first_of_row = torch.arange(B) * (T + 1)
    apart = windows + first_of_row[:, None]  # no two rows have a number in common
    _, lengths = torch.unique_consecutive(apart, return_counts=True)
    lengths = lengths.tolist()

    def by_window(x):  # (B, nh, T, hd) -> for each window (nh, length, hd)
        x = x.transpose(0, 1)
        x = x.reshape(nh, B * T, hd)
        return x.split(lengths, dim=1)

    scale = hd**-0.5
    longest = max(lengths)
    future = torch.full((longest, longest), -torch.inf, dtype=q.dtype)
    future = future.triu(1)
    outputs = []
    pieces = zip(by_window(q), by_window(k), by_window(v), strict=True)
    for q_w, k_w, v_w in pieces:
        length = q_w.size(1)
        mask = future[:length, :length]
        scores = torch.baddbmm(mask, q_w, k_w.mT, alpha=scale)
        weights = scores.softmax(-1)
        outputs.append(weights @ v_w)
    y = torch.cat(outputs, dim=1)
    y = y.view(nh, B, T, hd)
    return y.transpose(0, 1)


def block_mask(windows, size=128):
    """What attend_windows is to a CPU, for a compiled GPU.

    flex_attention passes over blocks, of `size` positions each, in which no position attends to any
    other. As windows ascend, queries attend to an earlier block if its last window is their first.
    torch's create_block_mask finds the same from a look at every pair of positions, for which
    torch 2.9 also breaks the graph.
    """
    T = windows.size(1)
    n_blocks = math.ceil(T / size)
    block = torch.arange(n_blocks, device=windows.device)
    begin = block * size
    end = (begin + size).clamp(max=T)
    first = windows[:, begin]  # (B, n_blocks): the window of each block's first position
    last = windows[:, end - 1]
    reaches = last[:, None, :] >= first[:, :, None]  # (B, blocks of queries, of keys)
    attends = reaches.tril()
    n_keys = attends.sum(-1, dtype=torch.int32)
    # those that a block attends to are neighbours, itself the last; the order of the rest is free
    n_earlier = n_keys - 1
    first_key = block[:, None] - n_earlier[..., None]
    keys = (first_key + block) % n_blocks

    def may_attend(b, h, q, k):
        same_window = windows[b, q] == windows[b, k]
        return same_window & (q >= k)

    return BlockMask.from_kv_blocks(
        n_keys[:, None],
        keys[:, None].to(torch.int32),
        BLOCK_SIZE=size,
        mask_mod=may_attend,
        seq_lengths=(T, T),
    )


class CausalSelfAttention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        n_embd = config.n_embd
        self.layer = layer  # its number
        self.n_head = config.n_head
        self.c_q = nn.Linear(n_embd, n_embd, bias=False)
        self.c_k = nn.Linear(n_embd, n_embd, bias=False)
        self.c_v = nn.Linear(n_embd, n_embd, bias=False)
        self.c_proj = nn.Linear(n_embd, n_embd, bias=False)

    def forward(self, x, cos, sin, mask=None, cache=None, value_embed=None):
        q, k, v = self.project(x, at_once=cache is None)
        if value_embed is not None:
            v = v + value_embed.to(v.dtype)
        q = norm(self.by_head(q))  # (B, nh, T, hd)
        k = norm(self.by_head(k))
        v = self.by_head(v)
        q = rotate(q, cos, sin)
        k = rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)  # (B, nh, S, hd): all that the rows hold so far
        y = attend(q, k, v, mask)
        y = y.transpose(1, 2)
        y = y.reshape(x.size())  # (B, T, C)
        return self.c_proj(y)

    def project(self, x, at_once):
        """q, k and v of x, by one product: a third of the launches; Muon wants three matrices.

        at_once: False for three products, as few tokens do not pay for the copy.
        """
        linears = (self.c_q, self.c_k, self.c_v)
        if not at_once:
            return [linear(x) for linear in linears]
        weight = torch.cat([linear.weight for linear in linears])
        y = F.linear(x, weight)
        return y.chunk(3, dim=-1)

    def by_head(self, x):
        """(B, T, C) -> (B, nh, T, hd)"""
        B, T, _ = x.size()
        x = x.view(B, T, self.n_head, -1)
        return x.transpose(1, 2)


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        n_embd = config.n_embd
        n_hidden = 4 * n_embd
        self.attn = CausalSelfAttention(config, layer)
        self.c_fc = nn.Linear(n_embd, n_hidden, bias=False)
        self.c_proj = nn.Linear(n_hidden, n_embd, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, *attn):  # what attention takes
        y = self.attn(norm(x), *attn)
        x = x + self.dropout(y)
        hidden = self.c_fc(norm(x))
        hidden = F.relu(hidden).square()  # https://arxiv.org/abs/2109.08668
        y = self.c_proj(hidden)
        return x + self.dropout(y)


class KVCache:
    """Keys and values of sequences of different lengths, preallocated. GPT.new_cache() makes one.

    length: (B,) int64 on the CPU, how many tokens each row holds. Set length[row] = 0 to start a
    row again.
    """

    def __init__(self, config, batch_size, max_len, device, dtype):
        shape = (
            config.n_layer,
            batch_size,
            config.n_head,
            max_len + 1,  # the padding after a full row must be written somewhere
            config.head_dim,
        )
        self.k = torch.zeros(shape, device=device, dtype=dtype)
        self.v = torch.zeros(shape, device=device, dtype=dtype)
        self.length = torch.zeros(batch_size, dtype=torch.int64)

    def keep(self, rows):
        """Keep only these rows, a list of row numbers, in this order.

        That is how finished sequences leave the batch. No row may move towards the end
        (rows[b] >= b): then it works in place, and moving the last row into the finished one's
        place copies one row.
        """
        assert all(row >= b for b, row in enumerate(rows)), rows
        for stored in (self.k, self.v):
            for b, row in enumerate(rows):
                if row > b:
                    length = self.length[row]
                    moved = stored[:, row, :, :length]
                    stored[:, b, :, :length] = moved
        n_rows = len(rows)
        self.k = self.k[:, :n_rows]
        self.v = self.v[:, :n_rows]
        self.length = self.length[rows]

    def plan(self, rows, counts, T):
        """Prepare for the next T tokens of these rows, of which counts are real.

        Returns their positions (B, T); extend() then stores them, and mask says what they may
        attend to.
        """
        begin = self.length[rows]
        max_len = self.k.size(3) - 1
        end = begin + counts
        S = int(end.max())  # tokens of the longest row
        if S > max_len:
            raise ValueError(
                f"the cache holds {max_len} tokens a row, not {S}. "
                "Re-window the row or make a longer cache."
            )
        positions = begin[:, None] + torch.arange(T)  # (B, T)
        keys = torch.arange(S)
        may_attend = keys <= positions[..., None]  # (B, T, S)
        device = self.k.device
        self.mask = may_attend[:, None].to(device)
        self.slots = positions.clamp(max=max_len).to(device)
        self.rows = rows.to(device)
        self.S = S
        all_rows = torch.arange(len(self.length))
        self.has_all_rows = torch.equal(rows, all_rows)
        self.length[rows] = end
        return self.slots

    def extend(self, layer, k, v):
        """Store k, v (B, nh, T, hd); returns all keys and values of their rows (B, nh, S, hd)."""
        k = self._extend(self.k[layer], k)
        v = self._extend(self.v[layer], v)
        return k, v

    def _extend(self, stored, new):
        by_token = new.transpose(1, 2)  # (B, T, nh, hd), as is what is indexed so
        rows = self.rows[:, None]
        stored[rows, :, self.slots] = by_token.to(stored.dtype)
        stored = stored[:, :, : self.S]
        if not self.has_all_rows:
            stored = stored[self.rows]
        return stored.to(new.dtype)


class AddParts(nn.Module):
    """Embeddings (V, C) as they are used: a share of those of its parts joins a token's own.

    Most tokens are rare, but merged from what is less so: what is learned of one that holds
    "actions/checkout@" helps all others that do. Of the parts the first and the last count, and
    theirs in turn. Subwords do the same in https://arxiv.org/abs/1607.04606.
    """

    n_rounds = 2  # parts, and parts of parts

    def __init__(self, vocab_size, share):
        super().__init__()
        owners = []  # of all bags; a token's bag is itself, its parts and theirs
        members = []
        shares = []  # of each member's embedding
        for token in range(vocab_size):
            for member, its_share in bag_of(token, share, self.n_rounds):
                owners.append(token)
                members.append(member)
                shares.append(its_share)
        self.bags = Bags(owners, members, shares)
        self.bags_back = Bags(members, owners, shares)

    def forward(self, weight):
        return SumBags.apply(weight, self.bags, self.bags_back)


def bag_of(token, share, n_rounds):
    """The token with 1.0, then its first and last part with share, theirs with its square, ..."""
    yield token, 1.0
    parts = token_parts()[token]
    if n_rounds and parts:
        for part in (parts[0], parts[-1]):
            for member, its_share in bag_of(part, share, n_rounds - 1):
                yield member, share * its_share


class Bags(nn.Module):
    """Sums rows (V, C) by owner: each member's row times its share. Each token owns some."""

    def __init__(self, owners, members, shares):
        super().__init__()
        owners, order = torch.tensor(owners).sort(stable=True)  # as torch's own backward adds up
        begins = torch.searchsorted(owners, owners.unique())
        self.register_buffer("begins", begins, persistent=False)
        self.register_buffer("members", torch.tensor(members)[order], persistent=False)
        self.register_buffer("shares", torch.tensor(shares)[order], persistent=False)

    def forward(self, rows):
        return F.embedding_bag(
            self.members, rows, self.begins, mode="sum", per_sample_weights=self.shares
        )


class SumBags(torch.autograd.Function):
    """Bags with a backward that does not sort the members anew at each step, as torch's does."""

    @staticmethod
    def forward(ctx, weight, bags, bags_back):
        ctx.bags_back = bags_back
        return bags(weight)

    @staticmethod
    def backward(ctx, grad):
        return ctx.bags_back(grad), None, None


class GPT(nn.Module):
    cap = 15.0  # logits stay within +-cap

    def __init__(self, config):
        super().__init__()
        if config.n_embd % (2 * config.n_head):
            raise ValueError(
                f"n_embd {config.n_embd} must be n_head {config.n_head} times an even number"
            )
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        blocks = [Block(config, layer) for layer in range(config.n_layer)]
        self.blocks = nn.ModuleList(blocks)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        # join the values of the last blocks: much to know about a token, at hardly a cost
        # (of 1 to 4 blocks, 2 or 3 learn best)
        self.value_embeds = nn.ModuleList()
        for _ in range(min(2, config.n_layer)):
            embed = nn.Embedding(config.vocab_size, config.n_embd)
            self.value_embeds.append(embed)
        # how much of the embedding joins the stream again before each block
        self.x0_lambdas = nn.Parameter(torch.zeros(config.n_layer))
        self.add_parts = nn.Identity()
        if config.part_share:
            self.add_parts = AddParts(config.vocab_size, config.part_share)
        self.dropout = nn.Dropout(config.dropout)
        positions = torch.arange(config.block_size)
        cos, sin = rotary(positions, config.head_dim)
        self.register_buffer("cos", cos, persistent=False)  # (block_size, hd / 2)
        self.register_buffer("sin", sin, persistent=False)
        self.init_weights()

    def init_weights(self):
        """What writes to the stream or the logits starts at zero: blocks as the identity, all
        tokens as equally likely."""
        nn.init.normal_(self.wte.weight, std=1.0)
        for embed in self.value_embeds:
            nn.init.normal_(embed.weight, std=0.5)
        nn.init.zeros_(self.lm_head.weight)
        bound = (3 / self.config.n_embd) ** 0.5  # for a standard deviation of n_embd ** -0.5
        for block in self.blocks:
            attn = block.attn
            inner = (attn.c_q, attn.c_k, attn.c_v, block.c_fc)
            for linear in inner:
                nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(attn.c_proj.weight)
            nn.init.zeros_(block.c_proj.weight)

    @torch.no_grad()
    def fold_parts(self):
        """Makes the embeddings what add_parts() makes of them, once for all: logits stay."""
        for module in (self.wte, *self.value_embeds, self.lm_head):
            module.weight.copy_(self.add_parts(module.weight))
        self.add_parts = nn.Identity()
        self.config.part_share = 0.0

    def trunk(self, idx, cos, sin, mask=None, cache=None):
        """idx (B, T) -> (B, T, C), what the head reads."""
        x = F.embedding(idx, self.add_parts(self.wte.weight))
        x = F.rms_norm(x, (self.config.n_embd,))
        x = self.dropout(x)
        x0 = x
        n_plain = len(self.blocks) - len(self.value_embeds)  # blocks without value embeddings
        for i, block in enumerate(self.blocks):
            value_embed = None
            if i >= n_plain:
                embed = self.value_embeds[i - n_plain]
                value_embed = F.embedding(idx, self.add_parts(embed.weight))
            x = x + self.x0_lambdas[i] * x0
            x = block(x, cos, sin, mask, cache, value_embed)
        return norm(x)

    def head(self, x):
        """(..., C) -> logits (..., vocab_size) in float32, softly capped.

        https://arxiv.org/abs/2408.00118
        """
        logits = F.linear(x, self.add_parts(self.lm_head.weight)).float()
        return logits * cap_slope(logits, self.cap)

    def forward(self, idx, targets=None, reduction="mean", windows=None, validity=None):
        """(logits, None) without targets, else (cross-entropy without gradient, loss), in nats.

        idx, targets: (B, T) int64, T <= block_size; a target of -1 is not scored. reduction: 'mean'
        over what is scored, 'sum', or 'none' for (B, T), without gradient. windows: (B, T), the
        number of each position's window, ascending in a row, which attention then does not leave.
        validity: a loss.Validity, which adds to the loss what the model gives to what cannot come.
        """
        B, T = idx.size()
        x = self.read(idx, windows)
        if targets is None:
            return self.head(x), None
        total, losses = HeadLoss.apply(
            x.flatten(0, 1),
            self.add_parts(self.lm_head.weight),
            targets.flatten(),
            self.cap,
            torch.is_grad_enabled(),
            validity,
        )
        if reduction == "none":
            return None, losses.view(B, T)
        if reduction == "sum":
            return losses.sum(), total
        n_scored = (targets >= 0).sum()
        return losses.sum() / n_scored, total / n_scored

    def read(self, idx, windows=None):
        """(B, T) each -> (B, T, C), what the head reads of sequences without a cache."""
        T = idx.size(1)
        assert T <= self.config.block_size, (
            f"a sequence of {T} tokens, but block_size is {self.config.block_size}"
        )
        mask = None if windows is None else self.window_mask(windows)
        return self.trunk(idx, self.cos[:T], self.sin[:T], mask)

    def window_mask(self, windows):
        """What attention needs to stay within windows (B, T): the quickest form for the device."""
        device_type = windows.device.type
        if device_type == "cuda" and torch.compiler.is_compiling():
            return block_mask(windows)
        if device_type == "cpu" and windows.size(1) > 256:
            return windows  # for attend_windows
        # on a CPU, up to some 256 tokens, quicker than many small products
        same_window = windows[:, :, None] == windows[:, None, :]
        may_attend = same_window.tril()
        return may_attend[:, None]  # (B, 1, T, T)

    def new_cache(self, batch_size, max_len=None):
        """A KVCache for batch_size rows of at most max_len tokens (default block_size)."""
        weight = self.wte.weight
        device = weight.device
        dtype = weight.dtype
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        if max_len is None:
            max_len = self.config.block_size
        return KVCache(self.config, batch_size, max_len, device, dtype)

    @torch.no_grad()
    def forward_cached(self, idx, cache, rows=None, counts=None):
        """Append tokens to rows of the cache; the logits (B, vocab_size) after each row's last one.

        idx: (B, T) int64, row b for row rows[b] of the cache (default: row b, all of them). counts:
        (B,) how many of the T tokens are real, where prompts of different lengths stand side by
        side, padded on the right (default: all T). To continue past block_size, start the row
        again: cache.length[row] = 0, then data.windows.open_window(...) with rows=[row].
        """
        B, T = idx.size()
        if rows is None:
            rows = range(len(cache.length))
        if counts is None:
            counts = [T] * B
        rows = torch.as_tensor(rows, dtype=torch.int64)
        counts = torch.as_tensor(counts, dtype=torch.int64)
        assert B == len(rows) == len(counts), (
            f"idx has {B} rows for {len(rows)} rows of the cache and {len(counts)} counts"
        )
        positions = cache.plan(rows, counts, T)
        cos, sin = rotary(positions[:, None], self.config.head_dim)  # (B, 1, T, hd / 2)
        x = self.trunk(idx, cos, sin, cache.mask, cache)
        last = (counts - 1).to(x.device)
        row = torch.arange(B)
        return self.head(x[row, last])

    def configure_optimizers(self, rates, decays, betas, bf16):
        """[Muon for the matrices of the blocks, AdamW for the rest].

        rates: of the matrices, the embeddings, the head. decays: of the matrices, the embeddings.
        A schedule scales each group's initial_lr. betas: of AdamW. bf16: whether Muon multiplies
        in bfloat16.
        """
        learning_rate, embedding_lr, unembedding_lr = rates
        weight_decay, embedding_decay = decays
        muon = Muon(
            self.blocks.parameters(),
            lr=learning_rate,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        muon.dtype = torch.bfloat16 if bf16 else torch.float32
        embeddings = [self.wte.weight, *self.value_embeds.parameters()]
        head = [self.lm_head.weight]
        lambdas = [self.x0_lambdas]
        groups = [
            {"params": embeddings, "lr": embedding_lr, "weight_decay": embedding_decay},
            {"params": head, "lr": unembedding_lr},
            # their first gradients are rounding errors: a smaller eps makes full steps of them
            {"params": lambdas, "lr": unembedding_lr, "eps": 1e-6},
        ]
        adamw = torch.optim.AdamW(
            groups,
            betas=betas,
            eps=1e-10,
            weight_decay=0.0,
            fused=True,
        )
        for group in muon.param_groups + adamw.param_groups:
            group["initial_lr"] = group["lr"]
        return [muon, adamw]

    def estimate_mfu(self, tokens_per_s, device_name):
        """Share of the device's dense bf16 peak in use; None where that peak is not listed.

        Operations are counted as nanoGPT and PaLM do (https://arxiv.org/abs/2204.02311, appendix
        B): forward and backward, attention not halved for being causal.
        """
        peak = None
        for name, flops in PEAK_FLOPS.items():
            if name in device_name:
                peak = flops
        if peak is None:
            return None
        matrices = [*self.blocks.parameters(), self.lm_head.weight]
        n_weights = sum(p.numel() for p in matrices)
        config = self.config
        attention = 12 * config.n_layer * config.n_embd * config.block_size
        flops_per_token = 6 * n_weights + attention
        return flops_per_token * tokens_per_s / peak
