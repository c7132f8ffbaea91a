"""Hashes of texts: equal texts share one, and near duplicates share the other."""

import hashlib
import re

# What near duplicates differ in, apart from digits: names, ...
NAME = re.compile(r'name":"[^"\\]*(?:\\.[^"\\]*)*"')
# ... what follows an @ (a version, a branch, a hash), ...
REF = re.compile(r"@[\w./:-]+")
# ... and other hashes. In JSON a line break is \n, so a word may begin after an n.
HASH = re.compile(r"(?:\b|(?<=\\n))(?=[a-f]*[0-9])[0-9a-f]{7,64}\b")
# A part of any such hash that is found faster; hardly any text has one.
PART_OF_HASH = re.compile(r"[0-9][0-9a-f]{4}")


def digest(text):
    """64 bits of a hash of a str or bytes, as an int."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def masked_digest(text):
    """The digest of a workflow in minified JSON without its names, versions and hashes."""
    text = REF.sub("", NAME.sub("", text))
    if PART_OF_HASH.search(text):
        text = HASH.sub("", text)
    without_digits = text.encode().translate(None, b".0123456789")
    return digest(without_digits)
