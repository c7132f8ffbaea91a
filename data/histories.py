"""The data set of workflow histories (doi.org/10.5281/zenodo.10259013): who a workflow is of.

It names each file by its hash; workflows.csv.gz, beside the files, tells the repository.
"""

import array
import csv
import glob
import io
import os
import re

import numpy as np

from data.archives import UNREADABLE, unpacked
from data.digest import digest


class Histories:
    """The table as a lookup from hash to repository. 12 bytes a row: there are millions."""

    def __init__(self, path):
        """Reads the table at path. Raises an OSError that names it for one that is damaged."""
        try:
            if not os.path.isfile(path):
                raise ValueError("not a regular file")  # opening a FIFO would wait for ever
            self._read(path)
        except (*UNREADABLE, csv.Error) as e:
            raise OSError(0, f"unreadable ({e}); move it away to do without", path) from e

    def _read(self, path):
        hashes = array.array("Q")
        owners = array.array("I")  # of each row, the number of its repository
        numbers = {}  # repository: its number
        with open(path, "rb") as raw:
            text = io.TextIOWrapper(unpacked(raw)[0], "utf-8", "replace", newline="")
            table = csv.reader(text)
            header = next(table, [])
            hash_column = header.index("file_hash")
            repository_column = header.index("repository")
            for row in table:
                if len(row) == len(header):
                    hashes.append(digest(row[hash_column]))
                    owners.append(numbers.setdefault(row[repository_column], len(numbers)))
        order = np.argsort(hashes, kind="stable")
        self.hashes = np.array(hashes, np.uint64)[order]  # ascending
        self.owners = np.array(owners, np.uint32)[order]
        self.repositories = list(numbers)

    def repository_of(self, name):
        """The repository of a file, by the last part of its name; None if the table has none."""
        wanted = np.uint64(digest(re.split("[/:]", name)[-1]))
        i = np.searchsorted(self.hashes, wanted)
        if i == len(self.hashes) or self.hashes[i] != wanted:
            return None
        return self.repositories[self.owners[i]]


def histories_beside(path):
    """The Histories whose table lies in the folder at path, or beside path; or None."""
    for folder in (path, os.path.dirname(os.path.abspath(path))):
        tables = sorted(glob.glob(os.path.join(glob.escape(folder), "workflows.csv*")))
        if tables:
            return Histories(tables[0])
    return None
