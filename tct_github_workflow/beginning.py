"""The beginning of a workflow, as somebody typed it, as tokens to go on from: sample.py's --start.

    encode_prefix('on: pu')  ->  ([], [b'<on>pu', b'<on><push>', b'<on><pull_request>', ...])    <...> standing for a symbol

What is open at the end of the text stays open, and where its last string, key or number could still become something else (a constant
or key of the schema, which is one symbol) all ways are kept. The text is read by PyYAML, JSON being YAML, after what is cut off in
the middle was made whole by quotes, a colon and brackets; its events tell which ends the author wrote and which are ours.
"""

import json
import re

import yaml

from . import alphabet, linear, vocab
from .codec import decode_prefix
from .errors import EncodeError
from .matcher import Matcher
from .yaml_text import yaml_to_json


def encode_prefix(text):
    """(ids, texts) to begin with, as generate() takes them, for a workflow's beginning. Raises EncodeError where it is none."""
    if (
        text.lstrip()[:1] == "{"
    ):  # JSON: whole surrogate pairs, which YAML does not know, and no half escape at the end
        text = re.sub(
            r"\\u(d[89ab]..)\\u(d[c-f]..)", lambda m: json.loads(f'"{m[0]}"'), text, flags=re.I
        )
        text = re.sub(
            r"(?<!\\)((?:\\\\)*)\\(?:u[\da-f]{0,3}|u(?:d[89ab]..)(?:\\(?:u[\da-f]{0,3})?)?)?$",
            r"\1",
            text,
            flags=re.I,
        )
    problem = None
    for core, texts in readings(text):
        matcher, ids = Matcher(), vocab.encode_symbols(core)
        n = next((n for n, id in enumerate(ids) if not matcher.accept_token(id)), len(ids))
        forks = [(t, matcher.fork()) for t in texts if n == len(ids)]
        texts = [
            t
            for t, fork in forks
            if all(fork.accept_token(id) for c in t for id in vocab.encode_symbols(c))
        ]
        if texts:
            if len(texts) == 1:
                core, texts = core + texts[0], [""]
            # only the last piece can be split otherwise once more text follows: it is given as text, the rest as ids
            *pieces, last = vocab.split_pieces(core) or [""]
            return vocab.encode_symbols("".join(pieces)), [
                (last + t).encode() for t in texts if last + t
            ]
        problem = (
            problem
            or f"no valid workflow begins like this; the schema allows nothing of what follows ...{decode_prefix(ids[:n])[0][-60:]}"
        )
    raise EncodeError(problem)


def readings(text):
    """Yields (core, texts): ways to read the beginning of a workflow. core: its linearised string up to the open end; texts: what may come
    next, as strings of which one has to. Raises EncodeError if the text cannot be read at all."""
    if not text.strip():
        yield "", [""]
        return

    def closers(text):
        stack = []
        for mark in re.findall(r'"(?:[^"\\]|\\.)*"?|[][{}]', text, re.S):
            if mark in "[{":
                stack.append("]" if mark == "[" else "}")
            elif mark in "]}" and stack:
                stack.pop()
        return "".join(reversed(stack))

    failure, n_read = None, 0
    for repair in dict.fromkeys(
        quote + tail + close
        for close in ("", closers(text.rsplit("\n", 1)[-1]), closers(text))
        for tail in ("", ": ")
        for quote in ("", '"', "'")
    ):
        try:  # JSON is YAML, so one reader serves: what is cut is made whole by quotes, a colon and brackets
            workflow = json.loads(yaml_to_json(text + repair))
            events = list(yaml.parse(text + repair, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except (ValueError, yaml.YAMLError) as e:
            failure = failure or e
            continue
        if not isinstance(workflow, dict):
            failure = failure or EncodeError(
                "a workflow is a mapping, with keys such as on and jobs"
            )
            continue
        ends = at = 0  # brackets behind the last value that the author wrote, and where they end
        while isinstance(
            events[-1], (yaml.StreamEndEvent, yaml.DocumentEndEvent, yaml.CollectionEndEvent)
        ):
            event = events.pop()
            if isinstance(
                event, yaml.CollectionEndEvent
            ) and event.start_mark.index < event.end_mark.index <= len(text):
                ends, at = ends + 1, max(at, event.end_mark.index)
        last, before, workflow = events[-1], events[-2], linear.escape(workflow)
        whole = linear.linearise(workflow)[:-1]
        core = whole.rstrip(alphabet.CLOSE)
        key, leaf = None, workflow
        while isinstance(leaf, (dict, list)) and leaf:
            key, leaf = list(leaf.items())[-1] if isinstance(leaf, dict) else (None, leaf[-1])
        rest = text[max(at, last.end_mark.index) :]
        is_scalar = isinstance(last, yaml.ScalarEvent) and not ends
        more = [
            s for s in alphabet.SYMBOLS if s not in (alphabet.CLOSE, alphabet.EOD, alphabet.END)
        ] + list(map(chr, range(32, 127)))
        core += alphabet.CLOSE * min(ends, len(whole) - len(core))
        texts = [""]
        if rest.lstrip()[:1] == ",":
            texts = more
        elif (
            is_scalar and leaf is None and last.value == ""
        ):  # a key without its value, or a dash without its item
            core = core.removesuffix(alphabet.NULL)
            if (
                key is not None
                and not text[before.end_mark.index :].strip()
                and (before.end_mark.index > len(text) if before.style else text[-1:] != "\n")
            ):  # inside a key
                name = alphabet.KEY.get(key) or key + alphabet.END
                core, texts = (
                    core.removesuffix(name),
                    [key]
                    + [symbol for name, symbol in alphabet.KEY.items() if name.startswith(key)],
                )
            elif key is None:
                texts = more
        elif (
            is_scalar
            and "\n" not in rest
            and "#" not in rest
            and (
                not last.style
                or last.style in "'\""
                and last.end_mark.index > len(text)
                or last.style in "|>"
                and (text[-1] != "\n" or not last.value)
            )
        ):  # inside a string, number or constant
            core = core.removesuffix(linear.linearise({"": leaf})[1:-1])
            said = linear.escape(last.value) + (rest if not last.style else "")
            names = (
                alphabet.CONSTANT
                if last.style
                else {
                    **alphabet.CONSTANT,
                    "true": alphabet.TRUE,
                    "false": alphabet.FALSE,
                    "null": alphabet.NULL,
                }
            )
            texts = [said] + [symbol for name, symbol in names.items() if name.startswith(said)]
            if not last.style and re.fullmatch(r"-?\d*\.?\d*", said):
                texts.append(alphabet.NUMBER + said)
        n_read += 1
        yield core, texts
    if not n_read:
        raise EncodeError(str(failure))
