r"""A workflow's beginning, as somebody typed it, -> token ids: sample.py's --start.

    encode_prefix("name: CI\non: pu")  ->  ([1216], [b"<on><push>", b"<on><public>", ...])

It is the inverse of decode_prefix: what is open at the end of the text stays open. Often the end
can be read in several ways (in `on:`, line break, `  pu`, the last may become an event or the key
of a mapping), and no way is left out. The ids are what all of them begin with, the byte strings
how each continues; one of them has to come next, however it is divided into tokens. <...> stands
for a symbol of alphabet.py.

How it works: a character that the text does not hold (the mark) is appended, then quotes, a colon
and brackets until YAML can be read; in the linearised string, what stands before the mark is how
far the author got. That finds every text, key or list in whose middle the author stopped. Where he
stopped after something that is finished, the last event of PyYAML's parser says what that was.
JSON is YAML, so all this serves JSON, too.
"""

import functools
import json
import os
import re

import yaml

from .alphabet import (
    ARRAY,
    CLOSE,
    CONSTANT,
    END,
    EOD,
    ESC,
    FALSE,
    KEY,
    NULL,
    NUMBER,
    OBJECT,
    TEXT_BYTES,
    TRUE,
)
from .codec import decode_prefix
from .errors import EncodeError
from .linear import escape, linearise, parse
from .matcher import Matcher
from .vocab import encode_symbols, split_pieces, vocab
from .yaml_text import LOADER, PLAIN_CONSTANTS, decode_bytes, resolve_plain, yaml_to_json

QUOTED = ("'", '"')
BLOCK = ("|", ">")
END_EVENTS = (yaml.StreamEndEvent, yaml.DocumentEndEvent, yaml.CollectionEndEvent)
# what a text may begin with, in the linearised string: not the middle of a UTF-8 character
TEXT_STARTS = [bytes([b]) for b in TEXT_BYTES if not 0x80 <= b < 0xC0] + [ESC.encode()]
ANY_TEXT = TEXT_STARTS + [symbol.encode() for symbol in (END, *CONSTANT.values())]
ANY_KEY = TEXT_STARTS + [symbol.encode() for symbol in (END, *KEY.values())]
ANY_VALUE = ANY_TEXT + [symbol.encode() for symbol in (OBJECT, ARRAY, NUMBER, TRUE, FALSE, NULL)]

# In a double-quoted text: an escape that is not complete, or the first half of a surrogate pair
INCOMPLETE_ESCAPE = re.compile(
    r"(?<!\\)((?:\\\\)*)"
    r"\\(?:|x.?|u[\da-f]{0,3}|U[\da-f]{0,7}|ud[89ab]..(?:\\(?:u[\da-f]{0,3})?)?)$",
    re.IGNORECASE,
)
SURROGATE_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)(\\ud[89ab]..\\ud[c-f]..)", re.IGNORECASE)


def encode_prefix(text):
    """(ids, texts) for the beginning of a workflow in YAML or JSON, cut anywhere.

    text: str, or bytes in UTF-8, or UTF-16 with a BOM. ids: a list of token ids; those of a whole
    workflow if the text is one that is closed, in JSON. texts: byte strings of which one has to
    come next, however it is divided into tokens; [] if anything may. Keys and values stay as they
    were given, comments are lost; a line break ends a text, except in quotes and blocks; after a
    comma or dash at the end another item must come. Raises EncodeError where no valid workflow
    begins like this.
    """
    if isinstance(text, bytes):
        text = decode_bytes(text, cut=True)
    text = text.removeprefix("\ufeff")
    if is_empty(text):
        return [], []
    if text.lstrip().startswith("{"):
        text = join_surrogates(text)
    beginnings = all_readings(text)
    valid = valid_ones(beginnings)
    if not valid:
        raise EncodeError(
            "no valid workflow begins like this; the schema allows nothing of what follows "
            f"...{longest_valid(beginnings[0])[-60:]}"
        )
    return settle(valid)


def is_empty(text):
    """Whether the text holds nothing yet: blanks, comments, directives, a `---` or part of one."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and line[0] not in "#%"]
    is_marker = bool(lines) and re.fullmatch(r"-{1,3}|---\s+#.*", lines[0])
    return not lines or (len(lines) == 1 and bool(is_marker))


def join_surrogates(text):
    """JSON writes a character outside of the BMP as two escapes, which YAML does not know."""
    return SURROGATE_PAIR.sub(lambda match: match[1] + json.loads(f'"{match[2]}"'), text)


# --- reading: text -> the beginnings of a linearised string that it may stand for


def all_readings(text):
    """A list of byte strings. Raises EncodeError if the text can be read in no way."""
    found = read_inside(text) + read_after(text)
    if not found and text.endswith("&"):  # an anchor without its name, which is lost anyway
        found = read_inside(text[:-1]) + read_after(text[:-1])
    without_escape = INCOMPLETE_ESCAPE.sub(r"\1", text)
    if not found and without_escape != text:  # a character has begun: the string must continue
        for inside in read_inside(without_escape):
            found += [inside + c for c in TEXT_STARTS]
    if found:
        return found
    # it cannot be read: say why, as of the text with its brackets closed
    document = json.loads(yaml_to_json(text + open_brackets(text)))
    if isinstance(document, dict):
        raise EncodeError("the end of this beginning cannot be read as YAML")
    raise EncodeError("a workflow is a mapping, with keys such as on and jobs")


def read_inside(text):
    """Readings in which the text stops inside a key or value, or just before one."""
    mark = next(c for c in map(chr, range(0xF8FF, 0xF000, -1)) if c not in text)
    found = []
    for start in [*completions(text, mark), *block_completions(text, mark)]:
        completed = start + open_brackets(start)
        string = linear_form(completed)
        before, marked, _ = string.partition(mark) if string else ("", "", "")
        if not marked:
            continue
        style = style_at(completed, mark)
        # a line break ends a plain text, although YAML would let it continue on the next line
        if style or not parse(before).rest or not starts_line(start, mark):
            found += continue_at(before, style)
    return found


def completions(text, mark):
    """The text and the mark, with what may be missing before and after the mark."""
    leads = ["", "\n"]  # a new line, where the text stops in a comment or between lines of a text
    if text.endswith("'"):
        leads.append("'")  # which may be half of the two that stand for one
    for lead in leads:
        for quote in ("", '"', "'"):
            for colon in ("", ": "):
                yield text + lead + mark + quote + colon
    yield f"{text}: {mark}"  # the text stops after a key in quotes


def block_completions(text, mark):
    """The text and the mark on the line of a `run: |` block that is to come, if one is open."""
    last_line = (text.rstrip().splitlines() or [""])[-1]
    deepest = len(re.match(r"[ -]*", last_line)[0]) + 1
    for line_break in ("", "\n"):
        for n_blanks in range(deepest + 1):
            completed = text + line_break + " " * n_blanks + mark
            if style_at(completed, mark) in BLOCK:
                yield completed
                break


def open_brackets(text):
    """What closes the brackets that are open at the end of the text."""
    closers = []
    try:
        for token in yaml.scan(text, LOADER):
            if isinstance(token, yaml.FlowSequenceStartToken):
                closers.append("]")
            elif isinstance(token, yaml.FlowMappingStartToken):
                closers.append("}")
            elif isinstance(token, (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)):
                closers.pop()
    except (yaml.YAMLError, IndexError):
        return ""
    return "".join(reversed(closers))


def linear_form(text):
    """The linearised string of a YAML document that is a mapping; None for all else."""
    try:
        workflow = json.loads(yaml_to_json(text))
    except EncodeError:
        return None
    return linearise(escape(workflow)) if isinstance(workflow, dict) else None


def style_at(text, mark):
    """The style of the scalar that holds the mark: None (plain), or one of QUOTED or BLOCK."""
    try:
        for event in yaml.parse(text, LOADER):
            if isinstance(event, yaml.ScalarEvent) and mark in event.value:
                return event.style
    except yaml.YAMLError:
        pass
    return None


def starts_line(text, mark):
    """Whether the mark is the first on its line."""
    return not text[: text.index(mark)].rpartition("\n")[2].strip()


def continue_at(before, style):
    """Readings for a text that stops after the linearised string `before`, in this style."""
    parsed = parse(before)
    said = parsed.rest  # of the key or value in which the text stops
    core = before.removesuffix(said)
    container = parsed.containers[-1]
    if container.wants_key():
        return continue_key(core, said)
    if said or style:
        return continue_text(core, said, style)
    if isinstance(container.value, list):
        return continue_item(core)
    return [core.encode()]  # a key is waiting for its value, which may be any


def continue_key(core, said):
    if not said:
        return with_ends(core, ANY_KEY)
    return with_ends(core, [said, *symbols_of_names(KEY, said)])


def continue_item(core):
    """After a dash or a comma one more item must come."""
    return with_ends(core, ANY_VALUE)


def continue_text(core, said, style):
    """A string; in the plain style it may become a number, true, false or null as well."""
    if not said:
        return with_ends(core, ANY_TEXT)
    ends = [said, *symbols_of_names(CONSTANT, said)]
    if not style:
        for word, (_, json_text) in PLAIN_CONSTANTS.items():
            if word.startswith(said):
                ends.append(scalar_form(json.loads(json_text)))
        ends.append(NUMBER + said)  # if it is the beginning of none, the matcher will refuse it
        kind, json_text = resolve_plain(said)
        if kind in ("int", "float") and json_text:
            ends.append(scalar_form(json.loads(json_text)))  # 3.10 is the number 3.1
    return with_ends(core, ends)


def symbols_of_names(table, said):
    return [symbol for name, symbol in table.items() if name.startswith(said)]


def scalar_form(value):
    """The linearised form of a value by itself."""
    return linearise({"": value}).removeprefix(END).removesuffix(EOD)


def with_ends(core, ends):
    """The core with each of the ends, which are str or bytes, as bytes."""
    texts = []
    for end in ends:
        if isinstance(end, str):
            end = end.encode()
        texts.append(core.encode() + end)
    return texts


def read_after(text):
    """Readings in which the text stops after something that is finished."""
    found = []
    for whole in [text, *with_whole_alias(text)]:
        for line_break in ("", "\n"):  # a new line, where the text stops in a comment
            completed = whole + line_break + open_brackets(whole)
            string = linear_form(completed)
            if string:
                found += finished(whole, string, list(yaml.parse(completed, LOADER)))
                break
    return found


def with_whole_alias(text):
    """The texts that a text may become which stops in the middle of an alias."""
    alias = re.search(r"\*([\w-]*)$", text)
    if not alias:
        return []
    anchors = dict.fromkeys(re.findall(r"&([\w-]+)", text))
    return [text + name[len(alias[1]) :] for name in anchors if name.startswith(alias[1])]


def finished(text, string, events):
    """read_after of the linearised string and the events of the text with its brackets closed."""
    n_closed = 0  # collections after the last value that the author closed, by brackets
    end = 0  # where the last thing that the author wrote ends
    while isinstance(events[-1], END_EVENTS):
        event = events.pop()
        if event.start_mark.index < event.end_mark.index <= len(text):
            n_closed += isinstance(event, yaml.CollectionEndEvent)
            end = max(end, event.end_mark.index)
    last = events[-1]
    end = max(end, last.end_mark.index)
    closed = string.removesuffix(EOD)
    core = closed.rstrip(CLOSE)

    if text[end:].lstrip().startswith(","):
        return []  # not finished: read_inside finds that an item is to come
    if n_closed:
        is_whole = n_closed > len(closed) - len(core)  # the root was closed, too
        return [(string if is_whole else core + CLOSE * n_closed).encode()]
    if isinstance(last, yaml.ScalarEvent):
        if is_missing(last):
            core = core.removesuffix(NULL)
            in_list = isinstance(parse(core).containers[-1].value, list)
            return continue_item(core) if in_list else [core.encode()]
        if is_open(last, text):
            return []
    return [core.encode()]


def is_missing(scalar):
    """Whether the author has written nothing yet of this value."""
    return not scalar.style and scalar.start_mark.index == scalar.end_mark.index


def is_open(scalar, text):
    """Whether the text stops inside this scalar, its last, so that more of it may come."""
    if scalar.end_mark.index < len(text):
        return False
    if scalar.style in BLOCK:
        return not text.rstrip(" ").endswith(("\n", "\r"))
    return scalar.style not in QUOTED


# --- choosing: the beginnings that the schema allows -> ids and texts


@functools.cache
def unit_ids():
    """{a symbol or byte: the token that is nothing else}."""
    ids = {}
    for i, token in enumerate(vocab().bytes):
        if len(token) == 1 or is_symbol(token):
            ids[token] = i
    return ids


def is_symbol(token):
    return len(token) == 3 and token[0] == 0xEE


def units(raw):
    """The single symbols and bytes of a linearised string, as ids."""
    return [unit_ids()[unit] for unit in re.findall(rb"\xee..|.", raw, re.DOTALL)]


def shared_pieces(beginnings):
    """What all beginnings share, in pieces that are the same however they continue, joined."""
    shared = os.path.commonprefix(beginnings).decode(errors="ignore")
    pieces = split_pieces(shared)
    if not shared.endswith(EOD):
        pieces = pieces[:-1]
    return "".join(pieces)


def valid_ones(beginnings):
    """Those that the schema allows, without those that begin with another of them."""
    shared = shared_pieces(beginnings)
    matcher = Matcher(rules="schema")
    if not all(matcher.accept_token(token) for token in encode_symbols(shared)):
        return []
    n_shared = len(shared.encode())
    valid = []
    for beginning in sorted(set(beginnings)):
        if valid and beginning.startswith(valid[-1]):
            continue
        fork = matcher.fork()
        if all(fork.accept_token(unit) for unit in units(beginning[n_shared:])):
            valid.append(beginning)
    return valid


def settle(beginnings):
    """-> (ids, texts), as encode_prefix returns them.

    The last piece that all share may be divided otherwise once more text follows: it is given as
    text, what stands before it as ids.
    """
    shared = shared_pieces(beginnings)
    n_shared = len(shared.encode())
    texts = [beginning[n_shared:] for beginning in beginnings]
    return encode_symbols(shared), [] if b"" in texts else texts


def longest_valid(beginning):
    """JSON of the longest part of a linearised string that the schema allows."""
    matcher = Matcher(rules="schema")
    accepted = []
    for token in encode_symbols(beginning.decode(errors="ignore")):
        if not matcher.accept_token(token):
            break
        accepted.append(token)
    return decode_prefix(accepted)[0]
