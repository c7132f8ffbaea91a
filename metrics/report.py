"""How results are shown: rates with their intervals, tables, code in a cell, progress."""

import math
import sys

from tqdm import tqdm

Z = 1.959964  # standard deviations to either side that hold 95% of a normal distribution


def wilson(k, n):
    """95% interval (low, high) of a rate k / n.

    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
    """
    variance = k * (n - k) / max(n, 1)  # of k
    denominator = n + Z**2
    middle = (k + Z**2 / 2) / denominator
    half = Z * math.sqrt(variance + Z**2 / 4) / denominator
    low = max(0.0, middle - half)
    high = min(1.0, middle + half)
    return low, high


def rate(k, n):
    """ "52.5% [37.5, 67.1]" for 21 of 40; "-" of none."""
    if not n:
        return "-"
    low, high = wilson(k, n)
    return f"{k / n:.1%} [{100 * low:.1f}, {100 * high:.1f}]"


def table(head, *rows):
    """A table in Markdown. head and rows: lists of cells, of anything that str() takes."""
    rule = ["---"] * len(head)
    lines = []
    for row in [head, rule, *rows]:
        cells = [in_a_cell(value) for value in row]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def in_a_cell(value):
    return str(value).replace("|", "\\|").replace("\n", " ")


def code(text, width):
    """The first width characters of text as code in a cell, so that nothing in it is markup."""
    dots = "..." if len(text) > width else ""
    text = text[:width].replace("`", "'")
    return f"`{text}{dots}`"


def progress(items, what, total=None):
    """The items, with a bar on a terminal, elsewhere with a line every 20 seconds."""
    interval = 0.1 if sys.stderr.isatty() else 20
    return tqdm(items, what, total, mininterval=interval, maxinterval=max(interval, 10))
