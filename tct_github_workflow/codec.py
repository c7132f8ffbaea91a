"""The public calls: a workflow, as JSON text, <-> token ids.

    encode('{"on":"push","jobs":{"t":{"runs-on":"x"}}}')   ->  [5896, 626, 778, 1387, 1661, 129]
    decode([5896, 626, 778, 1387, 1661, 129])              ->  (the same text, 6, 6)
    decode_prefix([5896, 626])                             ->  ('{"on":"push","jobs":{}}', 1, False)

Each way is the steps of the files before this one, in order: json_text, schema, linear, vocab.
"""

import itertools

from .alphabet import EOD
from .errors import DecodeError
from .json_text import dump_json, parse_json
from .linear import PRIVATE, Parse, escape, linearise
from .schema import validator, why_invalid
from .vocab import encode_symbols, token_bytes


def load_workflow(json_str):
    """A valid workflow as a dict. Raises EncodeError: the JSON path and what the schema wants."""
    workflow = parse_json(json_str)
    if not validator.is_valid(workflow):
        raise why_invalid(workflow)
    return workflow


def encode(json_str):
    """Token ids of one workflow given as JSON text; the last id closes it.

    Raises EncodeError (a ValueError) that names the JSON path and what the schema wants there;
    every schema-valid workflow within MAX_DEPTH and MAX_DIGITS encodes, nothing else does.
    """
    return encode_parsed(parse_json(json_str), json_str)


def encode_parsed(workflow, json_str):
    """encode() of a text, given what parse_json() makes of it."""
    if not validator.is_valid(workflow):
        raise why_invalid(workflow)
    has_private = not json_str.isascii() and PRIVATE.search(json_str)  # most are: at no cost
    if has_private or "\\u" in json_str:
        workflow = escape(workflow)
    return encode_symbols(linearise(workflow))


EOD_BYTES = EOD.encode()


def bytes_to_end(tokens):
    """(the bytes of each token up to the one that closes the workflow, whether one does)."""
    pieces = token_bytes(tokens)
    end = b"".join(pieces).find(EOD_BYTES)
    if end < 0:
        return pieces, False
    return pieces[: token_at(end + len(EOD_BYTES), pieces) + 1], True


def parse_pieces(pieces, cut=False):
    """The bytes of tokens -> linear.Parse. cut: the last character may be incomplete.

    Raises DecodeError, which names the token.
    """
    raw = b"".join(pieces)
    try:
        string = raw.decode()
    except UnicodeDecodeError as e:
        if not cut or e.reason != "unexpected end of data":
            raise DecodeError(f"invalid UTF-8 in a string, at byte {e.start}") from None
        string = raw[: e.start].decode()
    parsed = Parse()
    try:
        parsed.read(string)
    except DecodeError as e:
        n_bytes = len(string[: parsed.n_read].encode())
        raise DecodeError(str(e), token=token_at(n_bytes, pieces)) from None
    return parsed


def token_at(n_bytes, pieces):
    """The number of the token in which the first n_bytes of these bytes end."""
    for i, end in enumerate(itertools.accumulate(map(len, pieces))):
        if end >= n_bytes:
            return i
    return 0


def decode(tokens):
    """-> (json_str, consumed, total): the workflow that the ids begin with, how many of them it
    took, how many there are.

    consumed < total means surplus ids after the workflow. Whatever is returned validates. Raises
    DecodeError for every other list.
    """
    tokens = list(tokens)
    pieces, is_closed = bytes_to_end(tokens)
    if not is_closed:
        raise DecodeError(
            f"incomplete: {len(tokens)} tokens and none of them closes the workflow "
            "(decode_prefix reads such a beginning)"
        )
    parsed = parse_pieces(pieces)
    assert parsed.complete, "a document ends at its EOD"
    if not validator.is_valid(parsed.workflow):
        raise DecodeError(f"not a valid workflow: {why_invalid(parsed.workflow)}")
    return dump_json(parsed.workflow), len(pieces), len(tokens)


def decode_prefix(tokens):
    """-> (json_str, fields_decoded, is_complete) for the beginning of a sequence, cut anywhere.

    json_str is always JSON: an unfinished string or number ends where the tokens do, open brackets
    are closed, a key without a value is left out. fields_decoded counts finished values. Raises
    DecodeError for what no beginning can be.
    """
    pieces, _ = bytes_to_end(list(tokens))
    parsed = parse_pieces(pieces, cut=True)
    parsed.add_unfinished()
    return dump_json(parsed.workflow), parsed.n_values, parsed.complete


def extract_window(tokens, start, end):
    """[start, *tokens[start:end]]: a slice after its own position, as the model's windows are laid
    out. 0 <= start <= end."""
    if not 0 <= start <= end:
        raise ValueError(f"a window needs 0 <= start <= end, got start={start}, end={end}")
    return [start, *tokens[start:end]]
