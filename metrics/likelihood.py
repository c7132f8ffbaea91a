"""How well a model predicts documents. The one definition of bits per byte.

Nats of all tokens of all documents, the end of each included, divided by ln 2 and by the bytes of
the documents' minified JSON: it compares across tokenizers, as a loss per token does not. Each
token is predicted once. A document longer than block_size is read through windows half a block
apart, each of which scores only what the one before did not reach, just as generate() moves its
window on. So a token of a long document has from half a block to a block of context.

A window every 32 tokens would give almost a whole block to each. For the models published here that
was no better, and took twice the time: 0.479 for tiny both ways, 0.647 against 0.645 for small.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from data.windows import document_windows, fill_window, next_start
from metrics.known import NEW, RUN
from metrics.report import table

LENGTHS = [0, 64, 128, 256, 512, 1024, 2048, math.inf]  # borders of the groups by length, tokens


class Window(NamedTuple):
    """A piece of a document, to be scored."""

    length: int  # tokens
    document: int  # its number
    start: int  # the first token
    first_scored: int  # the first token that no window before it has scored


@torch.no_grad()
def token_nats(model, documents, batch_tokens=16384, progress=None):
    """Nats that the model needs for each token: (all tokens,) float64, document after document.

    documents: sequences of ids. The result is the same for any batch_tokens but for float noise.
    progress(done, total) is called after each batch, with numbers of tokens.
    """
    if not len(documents):
        return np.zeros(0)
    config = model.config
    device = model.wte.weight.device
    lengths = np.array([len(document) for document in documents])
    begins = np.cumsum(lengths) - lengths
    nats = np.full(lengths.sum(), np.nan)  # what nothing scored would spoil every sum
    n_scored = 0
    for batch in make_batches(lengths.tolist(), config.block_size, batch_tokens):
        idx, targets = fill_batch(batch, documents, config.vocab_size)
        losses = model(idx.to(device), targets.to(device), reduction="none")[1].cpu().numpy()
        for window, row in zip(batch, losses, strict=True):
            begin = begins[window.document] + window.start
            first = window.first_scored - window.start
            nats[begin + first : begin + window.length] = row[first : window.length]
            n_scored += window.length - first
        if progress:
            progress(n_scored, len(nats))
    return nats


def make_batches(lengths, block_size, batch_tokens):
    """Yields lists of Windows that cover documents of these lengths, each of batch_tokens at most.

    The longest come first: neighbours need little padding, and memory runs out at once or never.
    """
    windows = []
    hop = next_start(block_size, block_size)
    for number, length in enumerate(lengths):
        for start, end, first_scored in document_windows(length, block_size, hop):
            windows.append(Window(end - start, number, start, first_scored))
    windows.sort(reverse=True)
    first = 0
    while first < len(windows):
        size = max(1, batch_tokens // windows[first].length)
        yield windows[first : first + size]
        first += size


def fill_batch(windows, documents, vocab_size):
    """idx, targets of these windows, (B, T) int64 each, targets -1 where nothing is scored."""
    longest = max(window.length for window in windows)
    idx = np.zeros((len(windows), longest), np.int64)
    targets = np.full_like(idx, -1)
    for b, (length, number, start, first_scored) in enumerate(windows):
        content = documents[number][start : start + length]
        fill_window(idx[b, :length], targets[b, :length], content, start, vocab_size)
        targets[b, : first_scored - start] = -1
    return torch.from_numpy(idx), torch.from_numpy(targets)


def bits_per_byte(nats, n_bytes):
    return nats / math.log(2) / n_bytes


def measure_likelihood(model, documents, sizes, known, batch_tokens=16384, progress=None):
    """Likelihood of all documents, of the new ones, by length, by what the tokens hold: numbers.

    documents, batch_tokens, progress: as for token_nats(). sizes: the documents' bytes of minified
    JSON. known: their known_shares().
    """
    nats = token_nats(model, documents, batch_tokens, progress)
    lengths = np.array([len(document) for document in documents])
    document_nats = np.add.reduceat(nats, np.cumsum(lengths) - lengths)
    sizes = np.array(sizes)
    by_length = {}
    for low, high in zip(LENGTHS[:-1], LENGTHS[1:], strict=True):
        chosen = (lengths >= low) & (lengths < high)
        if chosen.any():
            name = f"{low:,} to {high - 1:,}" if high < math.inf else f"{low:,} and more"
            by_length[name] = summary(document_nats[chosen], lengths[chosen], sizes[chosen])
    figures = {
        **summary(document_nats, lengths, sizes),
        "by_length": by_length,
        "by_content": measure_by_content(nats, np.concatenate(documents)),
    }
    is_new = np.array(known) < NEW
    if is_new.any():
        figures["new"] = summary(document_nats[is_new], lengths[is_new], sizes[is_new])
    return figures


def summary(nats, lengths, sizes):
    """nats, lengths, sizes: arrays, an entry for each document."""
    n_tokens = int(lengths.sum())
    n_nats = float(nats.sum())
    n_bytes = int(sizes.sum())
    return {
        "documents": len(nats),
        "tokens": n_tokens,
        "bytes": n_bytes,
        "nats_per_token": n_nats / n_tokens,
        "perplexity": math.exp(n_nats / n_tokens),
        "bits_per_byte": bits_per_byte(n_nats, n_bytes),
    }


def measure_by_content(nats, ids):
    """nats, ids: arrays, an entry for each token."""
    result = {}
    for name, is_kind in kinds_of_token().items():
        chosen = is_kind[ids]
        n_tokens = int(chosen.sum())
        n_nats = float(nats[chosen].sum())
        result[name] = {
            "tokens": n_tokens,
            "nats_per_token": n_nats / max(n_tokens, 1),
            "share_of_nats": n_nats / float(nats.sum()),
        }
    return result


def kinds_of_token():
    """{kind: bool (V,)}: the ids that hold structure (symbols), string content, both."""
    from tct_github_workflow.alphabet import ESC  # here: training needs no tokenizer
    from tct_github_workflow.vocab import vocab

    lead = ESC.encode()[:1]  # the byte that begins the three of a symbol, and nothing else
    tokens = [*vocab().bytes, b""]  # pad_token() stands for nothing
    n_symbols = np.array([token.count(lead) for token in tokens])
    has_text = np.array([len(token) for token in tokens]) > 3 * n_symbols
    return {
        "structure only": ~has_text,
        "both": has_text & (n_symbols > 0),
        "string content only": has_text & (n_symbols == 0),
    }


def likelihood_page(figures):
    """The section of results.md: a list of paragraphs."""
    groups = {**figures["by_length"], "all": figures}
    if "new" in figures:
        groups["all that are new"] = figures["new"]
    by_length = []
    for name, group in groups.items():
        by_length.append(
            [
                name,
                f"{group['documents']:,}",
                f"{group['tokens']:,}",
                f"{group['nats_per_token']:.3f}",
                f"{group['perplexity']:.1f}",
                f"{group['bits_per_byte']:.3f}",
            ]
        )
    by_content = []
    for content, group in figures["by_content"].items():
        by_content.append(
            [
                content,
                f"{group['tokens']:,}",
                f"{group['nats_per_token']:.3f}",
                f"{group['share_of_nats']:.1%}",
            ]
        )
    head = ["tokens in the workflow", "workflows", "tokens"]
    return [
        "## Likelihood\n",
        f"All {figures['documents']:,} validation workflows, {figures['bytes']:,} bytes of "
        "minified JSON; each token is predicted once, from half a block to a block of context "
        "before it. Only bits per byte compare across tokenizers. Those are new of whose tokens "
        f"less than {NEW:.0%} stand in runs of {RUN} that the training set has, too: there little "
        "helps that was learned by heart.\n",
        table([*head, "nats/token", "perplexity", "bits/byte"], *by_length),
        table(["tokens that hold", "tokens", "nats/token", "share of all nats"], *by_content),
    ]
