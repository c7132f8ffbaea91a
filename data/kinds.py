"""What kind a file is, by its name and its first bytes, and how to call those we cannot read."""

import os

READABLE = (
    "a folder, a tree of git clones, .yml, .json, .jsonl, .tar or .zip, each also as .gz, .xz, .bz2"
)

# Suffix, below those of compression: the kind that sources.py has a reader for.
KINDS = {
    ".tar": "tar",
    ".tgz": "tar",
    ".zip": "zip",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "file",
    ".yml": "file",
    ".yaml": "file",
    "": "file",
}
COMPRESSIONS = (".gz", ".xz", ".bz2")

# Kinds that nothing here reads, by their first bytes ...
FOREIGN_BYTES = {
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\x1f\x9d": "compress (.Z)",
    b"LZIP": "lzip",
    b"%PDF": "PDF",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"\x7fELF": "ELF",
    b"\x89HDF": "HDF5",
    b"SQLite format 3": "SQLite",
    b"\x93NUMPY": "NumPy",
    b"\x80\x04\x95": "pickle",
    b"\xd0\xcf\x11\xe0": "Microsoft Office",
}
# ... or by their suffix, where the content is text or does not tell.
FOREIGN_SUFFIXES = {
    ".zst": "Zstandard",
    ".zstd": "Zstandard",
    ".parquet": "Parquet",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".xlsx": "Excel",
    ".xls": "Excel",
    ".feather": "Arrow",
    ".arrow": "Arrow",
    ".7z": "7-Zip",
    ".rar": "RAR",
    ".lz4": "LZ4",
    ".br": "Brotli",
    ".db": "a database",
    ".sqlite": "SQLite",
    ".pkl": "pickle",
    ".docx": "Word",
    ".html": "HTML",
}
# Kinds that are read, but under a suffix that says so.
PACKED_BYTES = {
    b"\x1f\x8b": "gzip, without the suffix .gz",
    b"\xfd7zXZ": "xz, without the suffix .xz",
    b"BZh": "bzip2, without the suffix .bz2",
    b"PK\x03\x04": "a zip archive, without the suffix .zip",
}
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def kind_of(name):
    """'tar', 'zip', 'jsonl', 'file' (of one workflow), or None: not for us."""
    return KINDS.get(suffix_of(name))


def suffix_of(name):
    """The suffix in lower case, below those of compression: '.tar' of x.tar.gz."""
    stem, suffix = os.path.splitext(name)
    while suffix.lower() in COMPRESSIONS:
        stem, suffix = os.path.splitext(stem)
    return suffix.lower()


def is_compressed(name):
    return os.path.splitext(name)[1].lower() in COMPRESSIONS


def lookup(table, head):
    """The value of the key that head begins with, or None."""
    if not head.startswith(tuple(table)):  # nearly always, and fast
        return None
    return next(what for magic, what in table.items() if head.startswith(magic))


def misfit(kind, head):
    """What a file that should be of this kind is by its first bytes, unpacked; None: no other."""
    if kind == "file":
        return lookup(FOREIGN_BYTES, head) or lookup(PACKED_BYTES, head)
    if kind == "jsonl" and head.startswith(UTF_16):
        return "UTF-16 text; convert it to UTF-8"
    if kind == "tar" and head[257:262] == b"ustar":  # what it begins with is the name of a file
        return None
    return lookup(FOREIGN_BYTES, head)


def foreign_kind(name, head):
    """How to call a file that nothing here can read; None: it may hold workflows."""
    suffix = suffix_of(name)
    by_name = None if suffix in KINDS else FOREIGN_SUFFIXES.get(suffix)
    return lookup(FOREIGN_BYTES, head) or by_name
