"""Continues documents with a model, token by token, many side by side, each guided by a Matcher.

    for sample in generate(model, [((), ())] * 50): ...     50 workflows from nothing
    generate(model, [tct.encode_prefix("on: pu")])          one that somebody has begun

Four steps a token: read_new (the model reads what each row got last), choose (draw, ask the
matcher; where it refuses go back a little, or draw from what it allows), find_finish,
replace_finished. For sample.py and eval.py.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch

import tct_github_workflow as tct
from data.windows import next_start, open_window
from tct_github_workflow.alphabet import EOD
from tct_github_workflow.rules import DEFAULT_RULES
from tct_github_workflow.token_table import token_table
from tct_github_workflow.vocab import vocab

TRIES = 4  # times that a row goes back to the same place
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
    n_drawn: int  # tokens that the model drew, those included that were taken back
    n_refused: int  # of them, that the matcher refused


# --------------------------------------------------------------------------------------------------
# drawing a token


def draw(logits, u, allowed=None, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """Token ids (B,), drawn by the uniform numbers u, a float64 tensor (B,) on the CPU, in [0, 1).

    logits: (B, V). allowed: bool (B, V), or None for all; at least one in each row.

    Of the likely() tokens those are left that are allowed; where that is none, the likely() ones of
    those that are allowed. Drawing is by the inverse of the distribution function in the order of
    the ids, so a logit that differs in its last bit (as another batch size makes it) hardly ever
    changes the result.
    """
    if temperature < torch.finfo(torch.float32).tiny:
        temperature = 1.0
        top_k = 1
    cut = functools.partial(likely, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    kept = cut(logits)
    if allowed is not None:
        allowed = allowed.to(logits.device)
        both = kept & allowed
        others = cut(logits.masked_fill(~allowed, -torch.inf))
        kept = torch.where(both.any(-1, keepdim=True), both, others)
    p = probabilities(logits.masked_fill(~kept, -torch.inf), temperature)
    cdf = p.cpu().double().cumsum(-1)  # on the CPU: MPS has no float64
    tokens = torch.searchsorted(cdf, u[:, None] * cdf[:, -1:], right=True)[:, 0]
    return tokens.clamp(max=p.size(1) - 1)


def probabilities(logits, temperature):
    # with the maximum at 0 no division overflows, however low the temperature
    return ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1)


def likely(logits, temperature, top_k, top_p, min_p):
    """bool (B, V): the tokens that may be drawn.

    They are the top_k likeliest (0: all), of them the likeliest that make up top_p, with the first
    that reaches it (https://arxiv.org/abs/1904.09751), and of them those at least min_p times as
    likely as the likeliest (https://arxiv.org/abs/2407.01082).
    """
    kept = logits > -torch.inf
    if top_k:
        best = logits.topk(min(top_k, logits.size(-1))).indices
        kept &= torch.zeros_like(kept).scatter_(1, best, True)
    if top_p < 1:
        p = probabilities(logits.masked_fill(~kept, -torch.inf), temperature)
        ranked, order = p.sort(dim=-1, descending=True, stable=True)
        likelier = ranked.cumsum(-1) - ranked  # the share of the tokens before this one
        too_many = likelier >= top_p
        too_many[:, 0] = False
        kept &= torch.zeros_like(kept).scatter_(1, order, ~too_many)
    if min_p:
        kept &= logits >= logits.amax(-1, keepdim=True) + temperature * math.log(min_p)
    return kept


@functools.lru_cache(64)
def spells(texts):
    """bool (V,): the tokens that begin with one of texts, or with which one of texts begins.

    texts: a tuple of byte strings.
    """
    fits = []
    for token in vocab().bytes:
        fits.append(any(t.startswith(token) or token.startswith(t) for t in texts))
    return np.array([*fits, False])  # pad_token() spells nothing


@functools.cache
def has_bracket():
    """bool (V - 1,): the tokens in which an object or list begins or ends; pad_token() is last."""
    table = token_table()
    return (table.n_opened > 0) | (table.n_closed > 0)


# --------------------------------------------------------------------------------------------------
# the loop


class Place(NamedTuple):
    """Where a row can go back to."""

    n_tokens: int  # that the row held
    texts: tuple  # Row.texts then
    matcher: tct.Matcher | None  # as it was then


class Row:
    """A sample on its way: what it holds, what the model has not read of it, what may follow."""

    def __init__(self, number, ids, texts, matcher, seed, max_tries):
        self.number = number  # of its prompt
        self.tokens = list(ids)  # all ids so far, the prompt's included
        self.n_prompt = len(ids)
        self.texts = tuple(texts)  # byte strings of which one has to come next, in whatever tokens
        self.start = 0  # of the model's window: the first token in it
        self.unread = [0, *ids]  # what the model has not read yet, the position token first
        self.matcher = matcher  # None: unconstrained
        self.place = Place(len(ids), self.texts, matcher)  # to go back to
        self.n_tries = 0  # how often it went back there
        self.max_tries = max_tries
        self.rng = np.random.default_rng([seed, number])
        self.n_drawn = 0
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
        if self.matcher is None:
            return True
        before = self.matcher
        self.matcher = before.fork()
        if self.matcher.accept_token(token, budget):
            if has_bracket()[token]:
                self.move_place(before)
            return True
        self.n_refused += 1
        if self.matcher.fork().accept_token(token):  # without the budget it is allowed
            self.closed_by_budget = True
        return False

    def move_place(self, matcher):
        """The row can go back to where it stands now, no further."""
        if len(self.tokens) > self.place.n_tokens:
            self.n_tries = 0
        self.place = Place(len(self.tokens), self.texts, matcher)

    def can_go_back(self):
        """Whether it may try again from its place."""
        is_behind = self.start <= self.place.n_tokens < len(self.tokens)
        return is_behind and self.n_tries < self.max_tries and not self.closed_by_budget

    def go_back(self, vocab_size):
        """Returns how much of its window the model has read there."""
        self.n_tries += 1
        del self.tokens[self.place.n_tokens :]
        self.texts = self.place.texts
        self.matcher = self.place.matcher
        # the last token is read again: what follows it is drawn from what the model says then
        *read, last = open_window(self.tokens, self.start, vocab_size)
        self.unread = [last]
        return len(read)

    def settled(self):
        """The tokens that it will not take back."""
        if self.finish or self.matcher is None:
            return self.tokens
        return self.tokens[: self.place.n_tokens]

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
    min_p=0.0,
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
    until(tokens): true if a sample ends here. watch(tokens) sees prompt 0 grow, without what may be
    taken back. rules: what a constrained row is held to, as in tct.Matcher.

    A constrained row draws from the model first and asks the matcher then, so that only a refusal
    costs a mask. With p the model's distribution after temperature and cut, and A what is allowed,
    drawing again from A has exactly the distribution of masking every step:
    P(x) = p(x) + (1 - p(A)) p(x) / p(A) = p(x) / p(A).

    But token by token that allows what cannot end well, and then forces an end on it that the model
    has never seen. So a row that is refused first goes back to before the last token in which an
    object or list began or ended, and draws all since then again: a piece that is taken has the
    probability p(piece) / p(all pieces that are allowed), not a product of forced tokens. Where
    none of TRIES is taken, the mask decides.
    """
    draw_tokens = functools.partial(
        draw, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    max_tries = TRIES if temperature > 0 else 0  # without chance every try ends alike
    waiting = new_rows(prompts, seed, rules if constrained else None, max_tries)
    rows = []
    for _ in range(min(batch_size, len(prompts))):
        rows.append(next(waiting))
    longest = max(len(ids) for ids, _ in prompts) + 1 + max_new_tokens
    cache = model.new_cache(len(rows), min(model.config.block_size, longest))
    token_bytes = [*vocab().bytes, b""]  # pad_token() stands for nothing
    while rows:
        logits = read_new(model, cache, rows)
        budgets = [row.budget(max_new_tokens) for row in rows]
        tokens = choose(rows, cache, logits, budgets, draw_tokens)
        for row, token, budget in zip(rows, tokens, budgets, strict=True):
            if token is None:
                continue
            row.append(token, token_bytes[token])
            row.finish = find_finish(row, token_bytes[token], budget, until)
            if watch and row.number == 0:
                watch(row.settled())
        for row in replace_finished(rows, cache, waiting):
            yield Sample(row.number, row.tokens, row.finish, row.n_drawn, row.n_refused)


def new_rows(prompts, seed, rules, max_tries):
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
        yield Row(number, ids, texts, matcher, seed, max_tries)


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
            row.start = next_start(len(row.tokens), config.block_size)
            row.unread = open_window(row.tokens, row.start, config.vocab_size)
            cache.length[b] = 0


def choose(rows, cache, logits, budgets, draw_tokens):
    """Step 2: a token for each row, which its matcher has accepted; None where it went back.

    First all rows draw freely. One that refuses what it drew goes back; where it cannot, it draws
    again, from all that it allows.
    """
    # (B, 2): for the first draw, for the second
    u = torch.from_numpy(np.array([row.rng.random(2) for row in rows]))
    tokens = draw_tokens(logits, u[:, 0]).tolist()
    refused = []
    for b, row in enumerate(rows):
        row.n_drawn += 1
        if row.accepts(tokens[b], budgets[b]):
            continue
        if row.can_go_back():
            cache.length[b] = row.go_back(logits.size(1))
            tokens[b] = None
        else:
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
    if until and until(row.tokens):
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
