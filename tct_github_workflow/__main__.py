"""Show a workflow's tokens, so that a person sees what a token is:

    python -m tct_github_workflow ci.yml    # or .json, or - for standard input

or, with --check and any number of files, what GitHub would refuse in them, and
names in expressions that do not exist (see lint.py):

    python -m tct_github_workflow --check .github/workflows/*.yml

Each line is one token with its id. Merges stay within a piece (symbols that
open, text up to the end of its line, symbols that close); the number in front
says how many tokens a piece took. ‹steps› is the symbol of a key or constant,
{ [ ] } open and close, # starts a number, ·end· ends a text; a space that could
be missed is shown as ␣, a line break as ⏎.
"""

import json
import re
import signal
import sys
import textwrap

from . import alphabet, codec, json_text, linear, lint, vocab
from .errors import EncodeError
from .yaml_text import yaml_to_json

sys.stdout.reconfigure(encoding="utf-8")
if sys.argv[1:] in (["-h"], ["--help"]):
    print(__doc__.strip())
    raise SystemExit
if sys.argv[1:2] == ["--check"]:
    raise SystemExit(lint.main(sys.argv[2:]))
if len(sys.argv) != 2:
    raise SystemExit(
        "usage: python -m tct_github_workflow <workflow.yml, .json or - for standard input>"
    )
if hasattr(signal, "SIGPIPE"):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends us quietly

path = sys.argv[1]
try:
    if path == "-":
        source = sys.stdin.buffer.read()
    else:
        with open(path, "rb") as f:
            source = f.read()
    as_json = path.endswith(".json") or path == "-" and source.lstrip().startswith(b"{")
    workflow = codec.load_workflow(source.decode("utf-8-sig") if as_json else yaml_to_json(source))
except (EncodeError, OSError, UnicodeDecodeError) as e:
    raise SystemExit(f"{path}: {getattr(e, 'strerror', None) or e}")
except KeyboardInterrupt:
    raise SystemExit("interrupted")

names = {c: f"‹{name}›" for c, name in alphabet.KEY_NAME.items()}
names |= {
    c: f"‹{value if isinstance(value, str) else json.dumps(value)}›"
    for c, value in alphabet.LITERAL.items()
}
names |= {
    alphabet.OBJECT: "{",
    alphabet.ARRAY: "[",
    alphabet.NUMBER: "#",
    alphabet.END: "·end·",
    alphabet.EOD: "·end of workflow·",
    alphabet.ESC: "‹escape›",
    "\n": "⏎",
}
brackets = []  # what closes the open objects and arrays, innermost last


def shown(token_bytes):
    """One token as readable text; advances `brackets`."""
    out = []
    text = token_bytes.decode(errors="backslashreplace")  # bytes of half a character: \xf0\x9f
    for c in re.sub(
        "^ +| +$| {2,}", lambda m: "␣" * len(m[0]) if len(m[0]) < 9 else f"␣×{len(m[0])} ", text
    ):
        if c in (alphabet.OBJECT, alphabet.ARRAY):
            brackets.append("}" if c == alphabet.OBJECT else "]")
        out.append(
            brackets.pop()
            if c == alphabet.CLOSE
            else names.get(c) or (c if c.isprintable() else ascii(c)[1:-1])
        )
    return "".join(out)


print("tokens    id  token")
pieces = vocab.split_pieces(linear.linearise(linear.escape(workflow)))
n_tokens = 0
for piece in pieces:
    ids = vocab.encode_symbols(piece)
    n_tokens += len(ids)
    for i, token in enumerate(ids):
        lines = textwrap.wrap(shown(vocab.vocab().bytes[token]), 64, drop_whitespace=False) or [""]
        print(f"{len(ids) if i == 0 else '':>6} {token:5}  " + f"\n{'':14}".join(lines))
n_bytes = len(json_text.dump_json(workflow).encode())
print(
    f"{n_tokens:,} tokens in {len(pieces):,} pieces for {n_bytes:,} bytes of JSON: "
    f"{n_bytes / n_tokens:.1f} bytes per token"
)
