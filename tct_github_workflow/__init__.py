"""Type-constrained tokens for GitHub Actions workflows: 8192 ids whose borders follow the schema, not JSON's punctuation."""

from .codec import (
    decode,
    decode_prefix,
    encode,
    encode_batch,
    extract_window,
    pad_token,
    tokenizer_hash,
    vocab_size,
)
from .errors import DecodeError, EncodeError
from .matcher import Matcher
from .schema import schema_hash
from .yaml_io import json_to_yaml, yaml_to_json

__all__ = [
    "DecodeError",
    "EncodeError",
    "Matcher",
    "decode",
    "decode_prefix",
    "encode",
    "encode_batch",
    "extract_window",
    "json_to_yaml",
    "pad_token",
    "schema_hash",
    "tokenizer_hash",
    "vocab_size",
    "yaml_to_json",
]
