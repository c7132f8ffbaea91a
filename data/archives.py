"""Streams of what compressed files and archives hold, with limits.

Nothing is unpacked to disk, and no bomb goes off. The entries of an archive are Members: a name and
a function that reads it, as most of them are not wanted.
"""

import bz2
import functools
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

MAX_KB = 1024  # a workflow file larger than this many KiB is skipped; GitHub has the same limit
# An archive may unpack to this many MiB, or to 200 times its own size; past both it is a bomb.
BOMB_MB = 256
HEADER_BYTES = 4 << 20  # what the header of one entry of a .tar may take

# What a damaged file makes its reader raise.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)
OPENERS = {
    b"\x1f\x8b": lambda f: gzip.GzipFile(fileobj=f),
    b"\xfd7zXZ": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}


class Content(NamedTuple):
    """The bytes of a file, or why there are none."""

    data: bytes | None
    problem: str | None = None


class Member(NamedTuple):
    """An entry of an archive."""

    name: str  # as it stands in the archive
    read: Callable[[], Content]  # to be called before the next entry is asked for, or not at all


def too_large(n_bytes):
    """The problem with a workflow file of so many bytes, or None."""
    return f"larger than {MAX_KB} KiB" if n_bytes > MAX_KB << 10 else None


def unpacked_limit(raw):
    """How many bytes the open file may unpack to."""
    return max(BOMB_MB << 20, 200 * os.fstat(raw.fileno()).st_size)


class Limited(io.RawIOBase):
    """f as a stream that breaks off, by OSError, once it has given more than limit bytes."""

    def __init__(self, f, limit):
        self.f = f
        self.limit = limit
        self.n = 0  # bytes given so far

    def readable(self):
        return True

    def readinto(self, buffer):
        n_read = self.f.readinto(buffer)
        self.n += n_read
        if self.n > self.limit:
            raise OSError("unpacks to too much, like a bomb")
        return n_read


def unpacked(raw):
    """(a buffered stream of what raw holds below its compression, the Limited that feeds it)."""
    limited = Limited(raw, unpacked_limit(raw))
    for _ in range(4):
        f = io.BufferedReader(limited, 1 << 16)
        head = f.peek(8)
        opener = next((OPENERS[magic] for magic in OPENERS if head.startswith(magic)), None)
        if opener is None:
            return f, limited
        limited = Limited(opener(f), limited.limit)
    raise OSError("compressed more than three times")


class CheckedHeader(tarfile.TarInfo):
    """A header of a .tar that is damaged raises ReadError; tarfile would take it for the end."""

    @classmethod
    def fromtarfile(cls, tar):
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # the end, as it should be
            raise
        except tarfile.HeaderError as e:
            raise tarfile.ReadError(f"the archive breaks off: {e}") from None


def tar_members(f, limited):
    """Yields the Members of a .tar, a stream and the Limited below it."""
    total = limited.limit
    limited.limit = min(total, HEADER_BYTES)
    with tarfile.open(fileobj=f, mode="r|", tarinfo=CheckedHeader) as tar:
        while (entry := tar.next()) is not None:
            # this file and one header, which may be a bomb, too
            limited.limit = min(total, limited.n + entry.size + HEADER_BYTES)
            tar.members.clear()  # tarfile remembers every header that it saw
            if not entry.isdir():
                yield Member(entry.name, functools.partial(_read_tar_entry, tar, entry))


def _read_tar_entry(tar, entry):
    if not entry.isreg():
        return Content(None, "not a regular file")
    if problem := too_large(entry.size):
        return Content(None, problem)
    return Content(tar.extractfile(entry).read())


def zip_members(raw):
    """Yields the Members of a .zip, an open file. A damaged one does not hide the others."""
    left = unpacked_limit(raw)
    with zipfile.ZipFile(raw) as archive:
        for entry in archive.infolist():
            left -= min(entry.file_size, MAX_KB << 10)
            if left < 0:
                raise OSError("unpacks to too much, like a bomb")
            if not entry.is_dir():
                yield Member(entry.filename, functools.partial(_read_zip_entry, archive, entry))


def _read_zip_entry(archive, entry):
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        return Content(None, "not a regular file")
    if problem := too_large(entry.file_size):
        return Content(None, problem)
    try:
        with archive.open(entry) as f:
            return Content(f.read((MAX_KB << 10) + 1))
    except UNREADABLE as e:
        return Content(None, f"unreadable: {e}")
