"""Files that are whole or not there: a writer that is killed leaves the old one in place.

And large ones that take no memory.
"""

import contextlib
import os

import numpy as np


@contextlib.contextmanager
def write_whole(path, mode="w"):
    """Opens a file that takes path's place when the block ends well.

    It is flushed to the disk first; if the block raises, it is removed and path is as it was.
    mode: "w" (text, in UTF-8) or "wb". Raises OSError where the disk does not take it.
    """
    part = f"{path}.tmp"
    try:
        with open(part, mode, encoding=None if "b" in mode else "utf-8") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise


def map_uint16(path):
    """The array in a file of uint16, of which only what is looked at is read. Raises OSError."""
    if os.path.getsize(path) == 0:  # cannot be mapped
        return np.zeros(0, np.uint16)
    return np.memmap(path, np.uint16, "r")
