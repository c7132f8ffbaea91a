"""The progress bar of the scripts that read for long."""

import sys

from config import fail


def progress_bar(unit, total=None):
    try:
        from tqdm import tqdm
    except ImportError:
        fail("the progress bar needs tqdm: pip install tqdm")
    return tqdm(
        total=total,
        unit=unit,
        unit_scale=True,
        leave=False,
        ncols=79,
        delay=1,
        mininterval=0.2 if sys.stderr.isatty() else 10,
        bar_format="{percentage:3.0f}% |{bar}| {rate_fmt}, {remaining} left{postfix}",
    )
