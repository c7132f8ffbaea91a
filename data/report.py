"""How results are shown, for eval.py: progress on the terminal, rates with their intervals, tables and pictures for its pages."""

import os
import sys
import time

import numpy as np

from data.judge import distance, shares, wilson


def progress(what, done, total, began={}, shown=[time.perf_counter()]):
    """One line with rate and time left, rewritten on a terminal; elsewhere one every 20 s. began: when each work began; shown: the last line."""
    tty, now = sys.stderr.isatty(), time.perf_counter()
    spent = now - began.setdefault(what, shown[0])
    if tty or done == total or now - shown[0] > 20:
        shown[0] = now
        text = f"{what}: {done:,} of {total:,}, {done / spent:,.1f}/s, {spent * (total - done) / max(done, 1):.0f} s left"
        print(
            "\r" + text.ljust(78) if tty else text,
            end="" if tty and done < total else "\n",
            file=sys.stderr,
            flush=True,
        )


def rate(k, n):
    low, high = wilson(k, n)
    return f"{k / n:.1%} [{100 * low:.1f}, {100 * high:.1f}]" if n else "-"


def table(head, *rows):
    lines = [
        " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row)
        for row in [head, ["---"] * len(head), *rows]
    ]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def write(path, text):
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(path + ".tmp", path)


def code(text, width):
    """text as code in a cell of a table, so that nothing in it is markup."""
    return f"`{text[:width].replace('`', chr(39))}{'...' * (len(text) > width)}`"


def picture(path, ours, real):
    """The most frequent values of each feature in real validation workflows and the sum of all others, and beside them ours."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 2, figsize=(10, 12))
    for ax, feature in zip(axes.flat, real[0]):
        p, q = shares(real, feature), shares(ours, feature)
        values = list(p)[:8]
        names = [v if len(v) < 28 else v[:25] + "..." for v in values] + ["all others"]
        for label, share, offset, color in (
            ("real (validation)", p, -0.2, "0.6"),
            ("samples", q, 0.2, "tab:blue"),
        ):
            bars = [share.get(v, 0) for v in values]
            ax.barh(
                np.arange(len(names)) + offset,
                [100 * b for b in [*bars, sum(share.values()) - sum(bars)]],
                0.4,
                label=label,
                color=color,
            )
        ax.set_yticks(
            range(len(names)), [n.replace("$", r"\$") for n in names], fontsize=9
        )  # a $ would begin a formula
        ax.invert_yaxis()
        ax.set(title=f"{feature}: distance {distance(p, q):.2f}", xlabel="share (%)")
    figure.legend(*ax.get_legend_handles_labels(), loc="upper center", ncols=2)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(path, dpi=110)
    plt.close(figure)
