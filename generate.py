"""Continues documents with a model, token by token, many side by side, each guided by a Matcher.

    params = SamplingParams(temperature=0.8)
    for sample in generate(model, [((), ())] * 50, params): ...     50 workflows from nothing
    generate(model, [tct.encode_prefix("on: pu")], params)          one that somebody has begun

Four steps a token: read_new (the model reads what each row got last), take_tokens (draw, ask the
matcher; where it refuses go back a little, or draw from what it allows), find_finish,
replace_finished. For sample.py and eval.py.
"""

import functools
import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

import tct_github_workflow as tct
from data.windows import next_start, open_window
from tct_github_workflow.alphabet import EOD
from tct_github_workflow.rules import DEFAULT_RULES
from tct_github_workflow.token_table import token_table
from tct_github_workflow.vocab import PAD, VOCAB_SIZE, vocab

TRIES = 2  # times that a row goes back to the same place, before it goes further back
MAX_TRIES = 128  # times that it goes back in all
# a row whose last RECENT tokens are fewer than DISTINCT different ones repeats itself and hardly
# ever stops, though all of it may be allowed; 0.2% of real workflows have such a place
RECENT = 64
DISTINCT = 16
PROMPTS_AT_ONCE = 16  # long inputs are read in small batches, to bound the padding


@dataclass(frozen=True)
class SamplingParams:
    """How to sample. What stands here is the model's own distribution, held to all rules."""

    max_new_tokens: int = 1024  # of a sample
    temperature: float = 1.0  # 0.0: the likeliest token
    top_k: int = 0  # only the k likeliest tokens; 0: all
    top_p: float = 1.0  # only the likeliest that make up this share; 1.0: all
    min_p: float = 0.0  # only those at least so many times as likely as the likeliest; 0.0: all
    seed: int = 1337  # sample i follows from (seed, i)
    rules: str | None = DEFAULT_RULES  # what tct.Matcher holds a sample to; None: nothing
    goes_back: bool = True  # where it is refused; False: it finishes there, that token its last

    def is_greedy(self):
        """Whether there is no chance in it; no float32 is between that and 0.0."""
        return self.temperature < torch.finfo(torch.float32).tiny


GREEDY = SamplingParams(top_k=1)  # draws what temperature 0.0 would, without dividing by it


class Finish:
    """How a sample finished."""

    STOP = "stop"  # the model closed it
    BUDGET = "budget"  # max_new_tokens made it close
    CUT = "cut"  # it ran out of tokens
    UNTIL = "until"  # the caller of generate() had enough
    REFUSED = "refused"  # it went wrong, and was not to go back


class Sample(NamedTuple):
    """What generate() made of a prompt."""

    number: int  # of the prompt
    tokens: list  # all ids, the prompt's included
    finish: str  # one of Finish
    n_drawn: int  # tokens that the model drew, those included that were taken back
    n_refused: int  # of them, that the matcher refused


@torch.no_grad()
def generate(model, prompts, params, batch_size=50, until=None, watch=None):
    """Yields a Sample for each of the prompts as it is done, those with short prompts first.

    prompts: a list of (ids, texts): the document's first ids, then byte strings of which one has to
    come next, however it is split into tokens (() for none), as encode_prefix() returns them.
    batch_size: rows side by side; the samples do not depend on it. until(tokens): true if a sample
    ends here. watch(tokens) sees prompt 0 grow; what it has seen may be taken back.
    """
    waiting = new_rows(prompts, params)
    rows = list(itertools.islice(waiting, batch_size))
    longest = max(len(ids) for ids, _ in prompts) + 1 + params.max_new_tokens
    cache = model.new_cache(len(rows), min(model.config.block_size, longest))
    while rows:
        logits = read_new(model, cache, rows)
        for row in take_tokens(rows, cache, logits, params):
            row.finish = find_finish(row, until)
            if watch and row.number == 0:
                watch(row.tokens)
        for row in replace_finished(rows, cache, waiting):
            yield Sample(row.number, row.tokens, row.finish, row.n_drawn, row.n_refused)


# --------------------------------------------------------------------------------------------------
# drawing a token


def draw(logits, u, params, allowed=None):
    """Token ids (B,), drawn by the uniform numbers u, a float64 tensor (B,) on the CPU, in [0, 1).

    logits: (B, V). allowed: bool (B, V), or None for all; at least one in each row.

    Of the likely() tokens those are left that are allowed; where that is none, the likely() ones of
    those that are allowed. Drawing is by the inverse of the distribution function in the order of
    the ids, so a logit that differs in its last bit (as another batch size makes it) hardly ever
    changes the result.
    """
    if params.is_greedy():
        params = GREEDY
    kept = likely(logits, params)
    if allowed is not None:
        allowed = allowed.to(logits.device)
        both = kept & allowed
        others = likely(logits.masked_fill(~allowed, -torch.inf), params)
        kept = torch.where(both.any(-1, keepdim=True), both, others)
    logits = logits.masked_fill(~kept, -torch.inf)
    p = probabilities(logits, params.temperature)
    cdf = p.cpu().double().cumsum(-1)  # on the CPU: MPS has no float64
    total = cdf[:, -1:]
    tokens = torch.searchsorted(cdf, u[:, None] * total, right=True)
    return tokens[:, 0].clamp(max=p.size(1) - 1)


def probabilities(logits, temperature):
    # with the maximum at 0 no division overflows, however low the temperature
    logits = logits - logits.amax(-1, keepdim=True)
    return (logits / temperature).softmax(-1)


def likely(logits, params):
    """bool (B, V): the tokens that may be drawn.

    They are the top_k likeliest, of them the likeliest that make up top_p, with the first that
    reaches it (https://arxiv.org/abs/1904.09751), and of them those at least min_p times as likely
    as the likeliest (https://arxiv.org/abs/2407.01082).
    """
    kept = logits > -torch.inf
    if params.top_k:
        best = logits.topk(min(params.top_k, logits.size(-1))).indices
        kept &= torch.zeros_like(kept).scatter_(1, best, True)
    if params.top_p < 1:
        of_kept = logits.masked_fill(~kept, -torch.inf)
        p = probabilities(of_kept, params.temperature)
        ranked, order = p.sort(dim=-1, descending=True, stable=True)
        likelier = ranked.cumsum(-1) - ranked  # the share of the tokens before this one
        too_many = likelier >= params.top_p
        too_many[:, 0] = False
        kept &= torch.zeros_like(kept).scatter_(1, order, ~too_many)
    if params.min_p:
        likeliest = logits.amax(-1, keepdim=True)
        kept &= logits >= likeliest + params.temperature * math.log(params.min_p)
    return kept


# --------------------------------------------------------------------------------------------------
# what is known of tokens


@functools.lru_cache(64)
def spells(texts):
    """bool (V,): the tokens that begin with one of texts, or with which one of texts begins.

    texts: a tuple of byte strings.
    """
    mask = np.zeros(VOCAB_SIZE, bool)  # pad_token() spells nothing
    for i, token in enumerate(vocab().bytes):
        mask[i] = token.startswith(texts) or any(text.startswith(token) for text in texts)
    return mask


@functools.cache
def has_bracket():
    """bool (V,): the tokens in which an object or list begins or ends."""
    mask = np.zeros(VOCAB_SIZE, bool)  # pad_token() has none
    n_brackets = token_table().n_opened + token_table().n_closed
    mask[:PAD] = n_brackets > 0
    return mask


def bytes_of(token):
    """What the token stands for; pad_token() stands for nothing."""
    return vocab().bytes[token] if token != PAD else b""


# --------------------------------------------------------------------------------------------------
# a row


@dataclass
class Place:
    """Where a row can go back to: what it held there."""

    n_tokens: int
    start: int  # Row.start
    texts: tuple  # Row.texts
    matcher: tct.Matcher | None
    n_tries: int = 0  # how often the row went back there


class Row:
    """A sample on its way: what it holds, what the model has not read of it, what may follow."""

    def __init__(self, number, prompt, matcher, params):
        ids, texts = prompt
        self.number = number  # of its prompt
        self.tokens = list(ids)  # all ids so far, the prompt's included
        self.n_prompt = len(ids)
        self.texts = tuple(texts)  # byte strings of which one has to come next, in whatever tokens
        self.start = 0  # of the model's window: the first token in it
        self.unread = [0, *ids]  # what the model has not read yet, the position token first
        self.matcher = matcher  # None: unconstrained
        self.params = params
        self.places = [self.here()]  # to go back to, the first of them where it began
        self.n_tries = 0  # how often it went back
        self.rng = np.random.default_rng([params.seed, number])
        self.n_drawn = 0
        self.n_refused = 0
        self.closed_by_budget = False  # a token was refused for no other reason
        self.finish = None  # one of Finish, once it has

    def tokens_left(self):
        """How many tokens may still follow."""
        return self.params.max_new_tokens - (len(self.tokens) - self.n_prompt)

    def mask(self):
        """bool (V,): the ids that may follow."""
        if self.matcher is None:
            return spells(self.texts)
        mask = self.matcher.next_token_mask(tokens_left=self.tokens_left())
        return mask & spells(self.texts) if self.texts else mask

    def take(self, token):
        """Appends the token if the prompt's texts and the matcher allow it. Returns whether."""
        if self.texts and not spells(self.texts)[token]:
            return False
        if self.matcher and not self.match(token):
            return False
        self.tokens.append(token)
        self.unread = [token]
        if self.texts:
            self.texts = after_token(self.texts, bytes_of(token))
        return True

    def match(self, token):
        """The matcher takes the token, or refuses it. Returns whether it took it."""
        is_new_place = has_bracket()[token] and len(self.tokens) > self.places[-1].n_tokens
        before = self.here() if is_new_place else None
        if self.matcher.accept_token(token, self.tokens_left()):
            if before:
                self.places.append(before)
            return True
        self.n_refused += 1
        if self.matcher.fork().accept_token(token):  # without the budget it is allowed
            self.closed_by_budget = True
        return False

    def here(self):
        """The Place where it stands."""
        return Place(len(self.tokens), self.start, self.texts, fork(self.matcher))

    def can_go_back(self):
        """Whether it may try again from one of its places. Unconstrained it is left alone."""
        would_end_alike = self.params.is_greedy() or self.closed_by_budget or self.texts
        has_begun = len(self.tokens) > self.n_prompt
        may_try = self.matcher and has_begun and not would_end_alike
        return may_try and self.n_tries < MAX_TRIES

    def go_back(self, vocab_size):
        """Returns how much of its window the model has read there."""
        while len(self.places) > 1 and self.places[-1].n_tries == TRIES:
            half = (self.n_prompt + self.places[-1].n_tokens) // 2
            self.places = [place for place in self.places if place.n_tokens <= half]
        place = self.places[-1]
        place.n_tries += 1
        self.n_tries += 1
        del self.tokens[place.n_tokens :]
        self.texts = place.texts
        self.matcher = fork(place.matcher)
        is_read = place.start == self.start  # the model holds this window, not an earlier one
        self.start = place.start
        window = open_window(self.tokens, self.start, vocab_size)
        # the last token is read again: what follows it is drawn from what the model says then
        n_read = len(window) - 1 if is_read else 0
        self.unread = window[n_read:]
        return n_read

    def give_up(self, token, is_taken):
        """It finishes with this token, which was wrong."""
        if not is_taken:
            self.tokens.append(token)
        self.finish = Finish.REFUSED

    def repeats_itself(self):
        """Whether what it wrote last is the same few tokens again and again."""
        return repeats(self.tokens, self.n_prompt)

    def has_ended(self):
        """Whether its last token closed the workflow."""
        if self.matcher is None:
            return bytes_of(self.tokens[-1]).endswith(EOD.encode())
        return self.matcher.is_terminated()


def repeats(tokens, n_prompt=0):
    """Whether the last of them, after a prompt of n_prompt, are the same few again and again."""
    return len(tokens) - n_prompt >= RECENT and len(set(tokens[-RECENT:])) < DISTINCT


def fork(matcher):
    """A copy of a row's matcher, which goes its own way from here."""
    return matcher.fork() if matcher else None


def after_token(texts, token):
    """What is left of texts, of which one has to come next, after these bytes; () if one came."""
    if token.startswith(texts):
        return ()
    return tuple(text[len(token) :] for text in texts if text.startswith(token))


def new_rows(prompts, params):
    """Yields a Row for each prompt, the short ones first."""
    known_ids = known_matcher = None  # most callers repeat one prompt: its matcher is forked
    lengths = [len(ids) for ids, _ in prompts]
    for number in np.argsort(lengths, kind="stable").tolist():
        ids, _ = prompts[number]
        matcher = None
        if params.rules:
            if known_matcher is None or ids != known_ids:
                known_ids = ids
                known_matcher = tct.Matcher(ids, params.rules)
            matcher = known_matcher.fork()
        yield Row(number, prompts[number], matcher, params)


# --------------------------------------------------------------------------------------------------
# the four steps


def read_new(model, cache, rows):
    """Step 1: the model reads what is new in each row. Returns the logits (B, V) that follow."""
    make_room(model.config, cache, rows)
    logits = torch.empty(len(rows), model.config.vocab_size, device=cache.k.device)
    for batch in batches_to_read(rows):
        unread = [rows[b].unread for b in batch]
        counts = [len(ids) for ids in unread]
        idx = torch.zeros(len(batch), max(counts), dtype=torch.int64)
        for i, ids in enumerate(unread):
            idx[i, : len(ids)] = torch.tensor(ids)
        idx = idx.to(logits.device)
        logits[batch] = model.forward_cached(idx, cache, rows=batch, counts=counts)
    return logits


def batches_to_read(rows):
    """Lists of numbers of rows: those with a whole prompt or window to read, then all others."""
    long = [b for b, row in enumerate(rows) if len(row.unread) > 1]
    batches = []
    for first in range(0, len(long), PROMPTS_AT_ONCE):
        batches.append(long[first : first + PROMPTS_AT_ONCE])
    short = [b for b, row in enumerate(rows) if len(row.unread) == 1]
    if short:
        batches.append(short)
    return batches


def make_room(config, cache, rows):
    """A row whose window is full starts again with the last half of it, at a multiple of STRIDE."""
    for b, length in enumerate(cache.length.tolist()):
        row = rows[b]
        if length + len(row.unread) > config.block_size:
            row.start = next_start(len(row.tokens), config.block_size)
            row.unread = open_window(row.tokens, row.start, config.vocab_size)
            cache.length[b] = 0


def take_tokens(rows, cache, logits, params):
    """Step 2: each row takes a token, or goes back. Returns the rows that took one.

    A constrained row draws from the model first and asks its matcher then, so that only a refusal
    costs a mask. With p the model's distribution after temperature and cut, and A what is allowed,
    drawing again from A has exactly the distribution of masking every step:
    P(x) = p(x) + (1 - p(A)) p(x) / p(A) = p(x) / p(A).

    But token by token that allows what cannot end well, and then forces an end on it that the model
    has never seen. So a row that is refused first goes back to before the last token in which an
    object or list began or ended, and draws all since then again: a piece that is taken has the
    probability p(piece) / p(all pieces that are allowed), not a product of forced tokens. Where
    none of TRIES is taken, it goes back to such a place in the first half of what it has drawn, and
    so on, at last to its beginning. After MAX_TRIES the mask decides. A row that repeats itself
    goes back, too.
    """
    by_row = [row.rng.random(2) for row in rows]
    u = torch.from_numpy(np.array(by_row))  # (B, 2): for the first draw, for the second
    drawn = draw(logits, u[:, 0], params).tolist()
    grown = []
    refused = []  # numbers of the rows that draw again
    for b, row in enumerate(rows):
        row.n_drawn += 1
        is_taken = row.take(drawn[b])
        is_wrong = not is_taken or row.repeats_itself()
        if is_wrong and not params.goes_back:
            row.give_up(drawn[b], is_taken)
        elif is_wrong and row.can_go_back():
            cache.length[b] = row.go_back(vocab_size=logits.size(1))
        elif is_taken:
            grown.append(row)
        else:
            refused.append(b)
    if refused:
        refusing = [rows[b] for b in refused]
        take_allowed(refusing, logits[refused], u[refused, 1], params)
        grown += refusing
    return grown


def take_allowed(rows, logits, u, params):
    """Each row takes one of the tokens that it allows. u: as in draw()."""
    masks = [row.mask() for row in rows]
    allowed = torch.from_numpy(np.stack(masks))
    assert allowed.any(1).all(), "no token can follow within the budget"
    drawn = draw(logits, u, params, allowed).tolist()
    for row, token in zip(rows, drawn, strict=True):
        taken = row.take(token)
        assert taken, f"the mask allows {token}, the matcher refuses it"


def find_finish(row, until):
    """Step 3: how the row finishes with its last token; None: it does not."""
    if row.has_ended():
        return Finish.BUDGET if row.closed_by_budget else Finish.STOP
    if until and until(row.tokens):
        return Finish.UNTIL
    if row.tokens_left() == 0:
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
    keep = list(range(len(rows)))  # numbers of rows of the cache
    if b < len(rows):
        rows[b] = last
        keep[b] = len(rows)
    cache.keep(keep)
