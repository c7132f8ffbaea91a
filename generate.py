"""Continues documents with a model, token by token, many side by side, each guided by a Matcher.

    for sample in generate(model, [((), ())] * 50): ...     50 workflows from nothing
    generate(model, [tct.encode_prefix("on: pu")])          one that somebody has begun

Four steps a token: read_new (the model reads what each row got last), choose (draw, ask the
matcher, draw again where it refuses), find_finish, replace_finished. For sample.py and eval.py.
"""

import functools
from typing import NamedTuple

import numpy as np
import torch

import tct_github_workflow as tct
from data.windows import next_start, open_window
from tct_github_workflow.alphabet import EOD
from tct_github_workflow.rules import DEFAULT_RULES
from tct_github_workflow.vocab import vocab

PROMPTS_AT_ONCE = 16  # long inputs are read in small batches, to bound the padding


class Finish:
    """How a sample finished."""

    STOP = "stop"  # the model closed it
    BUDGET = "budget"  # max_new_tokens made it close
    CUT = "cut"  # it ran out of tokens
    UNTIL = "until"  # the caller of generate() had enough


class Sample(NamedTuple):
    """What generate() made of a prompt."""

    number: int  # of the prompt
    tokens: list  # all ids, the prompt's included
    finish: str  # one of Finish
    n_refused: int  # tokens that the model drew and the matcher refused


# --------------------------------------------------------------------------------------------------
# drawing a token


def draw(logits, u, allowed=None, temperature=1.0, top_k=0, top_p=1.0):
    """Token ids (B,), drawn by the uniform numbers u, a float64 tensor (B,) on the CPU, in [0, 1).

    logits: (B, V). allowed: bool (B, V), or None for all; at least one in each row.

    What is not allowed goes first, then come temperature, top_k and top_p. Drawing is by the
    inverse of the distribution function in the order of the ids, so a logit that differs in its
    last bit (as another batch size makes it) hardly ever changes the result.
    """
    if allowed is not None:
        logits = logits.masked_fill(~allowed.to(logits.device), -torch.inf)
    if temperature < torch.finfo(torch.float32).tiny:
        return logits.argmax(-1)
    # with the maximum at 0 no division overflows, however low the temperature
    logits = (logits - logits.amax(-1, keepdim=True)) / temperature
    if top_k:
        least = logits.topk(min(top_k, logits.size(-1))).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    p = logits.softmax(-1)
    if top_p < 1:
        p = keep_nucleus(p, top_p)
    cdf = p.cpu().double().cumsum(-1)  # on the CPU: MPS has no float64
    tokens = torch.searchsorted(cdf, u[:, None] * cdf[:, -1:], right=True)[:, 0]
    return tokens.clamp(max=p.size(1) - 1)


def keep_nucleus(p, top_p):
    """p (B, V) without all but the most likely tokens that make up top_p: the first that reaches it
    stays (https://arxiv.org/abs/1904.09751)."""
    ranked, order = p.sort(dim=-1, descending=True, stable=True)
    likelier = ranked.cumsum(-1) - ranked  # the share of the tokens before this one
    too_many = likelier >= top_p
    too_many[:, 0] = False
    return torch.zeros_like(p).scatter_(1, order, ranked.masked_fill(too_many, 0))


@functools.lru_cache(64)
def spells(texts):
    """bool (V,): the tokens that begin with one of texts, or with which one of texts begins.

    texts: a tuple of byte strings.
    """
    fits = []
    for token in vocab().bytes:
        fits.append(any(t.startswith(token) or token.startswith(t) for t in texts))
    return np.array([*fits, False])  # pad_token() spells nothing


# --------------------------------------------------------------------------------------------------
# the loop


class Row:
    """A sample on its way: what it holds, what the model has not read of it, what may follow."""

    def __init__(self, number, ids, texts, matcher, seed):
        self.number = number  # of its prompt
        self.tokens = list(ids)  # all ids so far, the prompt's included
        self.n_prompt = len(ids)
        self.texts = tuple(texts)  # byte strings of which one has to come next, in whatever tokens
        self.unread = [0, *ids]  # what the model has not read yet, the position token first
        self.matcher = matcher  # None: unconstrained
        self.rng = np.random.default_rng([seed, number])
        self.n_refused = 0
        self.closed_by_budget = False  # a token was refused for no other reason
        self.finish = None  # one of Finish, once it has

    def budget(self, max_new_tokens):
        """How many tokens may still follow."""
        return max_new_tokens - (len(self.tokens) - self.n_prompt)

    def mask(self, budget=None):
        """bool (V,): the ids that may follow; with a budget, those that keep to it."""
        if self.matcher is None:
            return spells(self.texts)
        mask = self.matcher.next_token_mask(tokens_left=budget)
        return mask & spells(self.texts) if self.texts else mask

    def accepts(self, token, budget):
        """Whether the prompt's text and the matcher allow the token; then the matcher moves on."""
        if self.texts and not spells(self.texts)[token]:
            return False
        if self.matcher is None or self.matcher.accept_token(token, budget):
            return True
        self.n_refused += 1
        if self.matcher.fork().accept_token(token):  # without the budget it is allowed
            self.closed_by_budget = True
        return False

    def append(self, token, text):
        """text: the token's bytes."""
        self.tokens.append(token)
        self.unread = [token]
        if any(text.startswith(wanted) for wanted in self.texts):
            self.texts = ()
        else:
            self.texts = tuple(t[len(text) :] for t in self.texts if t.startswith(text))

    def has_ended(self, text):
        """Whether the last token, of which text is the bytes, closed the workflow."""
        if self.matcher is None:
            return text.endswith(EOD.encode())
        return self.matcher.is_terminated()


@torch.no_grad()
def generate(
    model,
    prompts,
    max_new_tokens=1024,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    seed=1337,
    constrained=True,
    batch_size=50,
    until=None,
    watch=None,
    rules=DEFAULT_RULES,
):
    """Yields a Sample for each of the prompts as it is done, those with short prompts first.

    prompts: a list of (ids, texts): the document's first ids, then byte strings of which one has to
    come next, however it is split into tokens (() for none), as encode_prefix() returns them.
    until(number, id): true if the sample ends with the id just added. watch(tokens) sees prompt 0
    grow. rules: what a constrained row is held to, as in tct.Matcher.

    A constrained row draws from the model first and asks the matcher then; refused, it draws again,
    from what is allowed. That has exactly the distribution of masking every step: with A the
    allowed tokens, P(x) = p(x) + (1 - p(A)) p(x) / p(A) = p(x) / p(A). It costs a mask only on a
    refusal, and a trained model is hardly ever refused. With top_k or top_p it would not be exact,
    as the k most likely of the allowed tokens are not the allowed among the k most likely; then
    every step is masked first.
    """
    draw_tokens = functools.partial(draw, temperature=temperature, top_k=top_k, top_p=top_p)
    mask_first = constrained and temperature > 0 and (top_k > 0 or top_p < 1)
    waiting = new_rows(prompts, seed, rules if constrained else None)
    rows = []
    for _ in range(min(batch_size, len(prompts))):
        rows.append(next(waiting))
    longest = max(len(ids) for ids, _ in prompts) + 1 + max_new_tokens
    cache = model.new_cache(len(rows), min(model.config.block_size, longest))
    token_bytes = [*vocab().bytes, b""]  # pad_token() stands for nothing
    while rows:
        logits = read_new(model, cache, rows)
        budgets = [row.budget(max_new_tokens) for row in rows]
        tokens = choose(rows, logits, budgets, mask_first, draw_tokens)
        for row, token, budget in zip(rows, tokens, budgets, strict=True):
            row.append(token, token_bytes[token])
            row.finish = find_finish(row, token_bytes[token], budget, until)
            if watch and row.number == 0:
                watch(row.tokens)
        for row in replace_finished(rows, cache, waiting):
            yield Sample(row.number, row.tokens, row.finish, row.n_refused)


def new_rows(prompts, seed, rules):
    """Yields a Row for each prompt, the short ones first. rules: None for unconstrained ones."""
    known_ids = known_matcher = None  # most callers repeat one prompt: its matcher is forked
    for number in sorted(range(len(prompts)), key=lambda number: len(prompts[number][0])):
        ids, texts = prompts[number]
        matcher = None
        if rules:
            if known_matcher is None or ids != known_ids:
                known_ids = ids
                known_matcher = tct.Matcher(ids, rules)
            matcher = known_matcher.fork()
        yield Row(number, ids, texts, matcher, seed)


def read_new(model, cache, rows):
    """Step 1: the model reads what is new in each row. Returns the logits (B, V) that follow."""
    make_room(model.config, cache, rows)
    logits = torch.empty(len(rows), model.config.vocab_size, device=cache.k.device)
    prompts = [b for b, row in enumerate(rows) if len(row.unread) > 1]
    singles = [b for b, row in enumerate(rows) if len(row.unread) == 1]
    batches = []
    for first in range(0, len(prompts), PROMPTS_AT_ONCE):
        batches.append(prompts[first : first + PROMPTS_AT_ONCE])
    if singles:
        batches.append(singles)
    for batch in batches:
        counts = [len(rows[b].unread) for b in batch]
        idx = torch.zeros(len(batch), max(counts), dtype=torch.int64)
        for i, b in enumerate(batch):
            idx[i, : counts[i]] = torch.tensor(rows[b].unread)
        idx = idx.to(logits.device)
        logits[batch] = model.forward_cached(idx, cache, rows=batch, counts=counts)
    return logits


def make_room(config, cache, rows):
    """A row whose window is full starts again with the last half of it, at a multiple of STRIDE."""
    for b, length in enumerate(cache.length.tolist()):
        row = rows[b]
        if length + len(row.unread) > config.block_size:
            start = next_start(len(row.tokens), config.block_size)
            row.unread = open_window(row.tokens, start, config.vocab_size)
            cache.length[b] = 0


def choose(rows, logits, budgets, mask_first, draw_tokens):
    """Step 2: a token for each row, which its matcher has accepted.

    First all rows draw freely (with mask_first: from what their matchers allow, budgets aside);
    those that refuse what they drew draw again, from all that they allow.
    """
    # (B, 2): for the first draw, for the second
    u = torch.from_numpy(np.array([row.rng.random(2) for row in rows]))
    allowed = torch.from_numpy(np.stack([row.mask() for row in rows])) if mask_first else None
    tokens = draw_tokens(logits, u[:, 0], allowed).tolist()
    refused = []
    for b, row in enumerate(rows):
        if not row.accepts(tokens[b], budgets[b]):
            refused.append(b)
    if not refused:
        return tokens
    allowed = torch.from_numpy(np.stack([rows[b].mask(budgets[b]) for b in refused]))
    assert allowed.any(1).all(), "no token can follow within the budget"
    drawn_again = draw_tokens(logits[refused], u[refused, 1], allowed).tolist()
    for b, token in zip(refused, drawn_again, strict=True):
        accepted = rows[b].accepts(token, budgets[b])
        assert accepted, f"the mask allows {token}, the matcher refuses it"
        tokens[b] = token
    return tokens


def find_finish(row, text, budget, until):
    """Step 3: how the row finishes with its last token; None: it does not. text: its bytes."""
    if row.has_ended(text):
        return Finish.BUDGET if row.closed_by_budget else Finish.STOP
    if until and until(row.number, row.tokens[-1]):
        return Finish.UNTIL
    if budget == 1:
        return Finish.CUT
    return None


def replace_finished(rows, cache, waiting):
    """Step 4: takes the finished rows out and yields them.

    A waiting row takes the place of each; where none is left the batch shrinks.
    """
    for b in reversed(range(len(rows))):
        row = rows[b]
        if not row.finish:
            continue
        successor = next(waiting, None)
        if successor:
            rows[b] = successor
            cache.length[b] = 0
        else:
            remove_row(rows, cache, b)
        yield row


def remove_row(rows, cache, b):
    """The last row moves to where row b was."""
    last = rows.pop()
    keep = list(range(len(rows)))
    if b < len(rows):
        rows[b] = last
        keep[b] = len(rows)
    cache.keep(keep)
