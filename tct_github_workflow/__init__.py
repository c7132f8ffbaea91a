"""Type-constrained tokens for GitHub Actions workflows.

8192 ids whose borders follow the schema, not JSON's punctuation.
"""

from .beginning import encode_prefix
from .check import Problem, check
from .codec import decode, decode_prefix, encode, extract_window
from .errors import DecodeError, EncodeError
from .matcher import Matcher
from .schema import schema_hash
from .vocab import pad_token, tokenizer_hash, vocab_size
from .yaml_text import yaml_to_json
from .yaml_writer import json_to_yaml

__all__ = [
    "DecodeError",
    "EncodeError",
    "Matcher",
    "Problem",
    "check",
    "decode",
    "decode_prefix",
    "encode",
    "encode_prefix",
    "extract_window",
    "json_to_yaml",
    "pad_token",
    "schema_hash",
    "tokenizer_hash",
    "vocab_size",
    "yaml_to_json",
]
