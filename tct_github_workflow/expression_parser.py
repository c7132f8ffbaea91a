"""GitHub's expressions, as its own parser reads them: lexer, recursive descent, the names used.

parse("steps.build.outcome == 'success' && always()")
    -> Expression(names=(Name("steps", ("build", "outcome")),), calls=(Call("always", 0),))

The language is the one of the npm package @actions/expressions 0.3.61 (lexer.js, parser.js). Which
contexts and functions a place offers is not its business: see definitions.Scope.
"""

import functools
import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_DEPTH = 50  # of brackets, operators and accesses, as GitHub's parser counts them
MAX_LENGTH = 21_000  # UTF-16 units
STATUS_FUNCTIONS = frozenset(["always", "cancelled", "failure", "success"])
ANY = None  # a part of a path that is computed: x[github.ref], x.*

# What JavaScript's trim() takes away
BLANKS = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)

TOKEN_FORM = re.compile(
    r"""
    (?P<blank>    [ \t\r\n]+ )
  | (?P<string>   '(?:[^']|'')*'(?!') )
  | (?P<operator> && | \|\| | [=!<>]= | [!<>] )
  | (?P<mark>     [()\[\],*] )
  | (?P<name>     [A-Za-z_][A-Za-z0-9_-]* )
  | (?P<dot>      \. (?![0-9]) )
  | (?P<number>   0[xX][0-9a-fA-F]+ | 0[oO][0-7]+ | 0[bB][01]+ | [+-]Infinity
                | [+-]? (?: [0-9]+\.?[0-9]* | \.[0-9]+ ) (?:[eE][+-]?[0-9]+)? )
    """,
    re.VERBOSE,
)
KEYWORDS = frozenset(["true", "false", "null", "NaN", "Infinity"])
# A dot after one of these reads a property; elsewhere it begins a number.
BEFORE_PROPERTY = frozenset(["name", ")", "]", "*"])
COMPARISONS = ("<", "<=", ">", ">=")


class ExpressionError(ValueError):
    """The text is no expression; the message says why."""


class Token(NamedTuple):
    kind: str  # "name", "literal" or the punctuation itself, "end" at the end
    text: str


@dataclass(frozen=True)
class Name:
    """A context and what is read of it, in lower case (GitHub compares names so)."""

    context: str
    path: tuple  # of str or ANY


@dataclass(frozen=True)
class Call:
    """A function's name, in lower case, and how many arguments it is given."""

    function: str
    n_args: int


@dataclass(frozen=True)
class Expression:
    """What an expression uses."""

    names: tuple = ()
    calls: tuple = ()

    def asks_status(self):
        """Whether always(), failure(), ... is called: if not, GitHub adds success() to an `if`."""
        return any(call.function in STATUS_FUNCTIONS for call in self.calls)


@functools.lru_cache(maxsize=1 << 14)
def parse(text):
    """The Expression of a text without its ${{ and }}. Raises ExpressionError."""
    if len(text.encode("utf-16-le")) > 2 * MAX_LENGTH:
        raise ExpressionError(f"an expression of more than {MAX_LENGTH:,} characters")
    parser = Parser(read_tokens(text))
    if parser.kind != "end":
        parser.expression()
        if parser.kind != "end":
            raise parser.unexpected("an operator or the end")
    return Expression(tuple(parser.names), tuple(parser.calls))


def read_tokens(text):
    """[Token] of an expression. Raises ExpressionError for what is none."""
    tokens = []
    before = None  # kind of the last token
    position = 0
    while position < len(text):
        match = TOKEN_FORM.match(text, position)
        if match is None:
            rest = text[position:]
            what = "a string that is not closed" if rest.startswith("'") else "unexpected"
            raise ExpressionError(f"{what}: {rest:.40}")
        kind = match.lastgroup
        word = match[0]
        if word.startswith(".") and before in BEFORE_PROPERTY:
            kind = word = "."
        elif kind == "dot":
            raise ExpressionError(f"unexpected: {text[position:]:.40}")
        elif kind in ("operator", "mark"):
            kind = word
        elif kind in ("string", "number") or (word in KEYWORDS and before != "."):
            kind = "literal"
        position += len(word)
        if kind != "blank":
            tokens.append(Token(kind, word))
            before = kind
    tokens.append(Token("end", ""))
    return tokens


class Parser:
    """Recursive descent over the tokens, a method for each level of precedence."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.position = 0
        self.kind = tokens[0].kind  # of the token at hand
        self.depth = 0
        self.names = []
        self.calls = []

    def advance(self):
        """Steps over the token at hand; returns its text."""
        word = self.tokens[self.position].text
        self.position += 1
        self.kind = self.tokens[self.position].kind
        return word

    def take(self, *kinds):
        """Whether the token at hand is of one of the kinds; if so, steps over it."""
        if self.kind not in kinds:
            return False
        self.advance()
        return True

    def expect(self, kind):
        if not self.take(kind):
            raise self.unexpected(kind)

    def unexpected(self, wanted):
        word = self.tokens[self.position].text
        seen = f"unexpected {word:.40}" if word else "the expression ends early"
        return ExpressionError(f"{seen}: {wanted} was expected")

    def enter(self):
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"an expression nested deeper than {MAX_DEPTH} levels")

    def expression(self):
        self.enter()
        self.disjunction()
        self.depth -= 1

    def disjunction(self):
        """a || b || c: one level deeper for the parser, however many."""
        self.conjunction()
        if self.kind == "||":
            self.enter()
            while self.take("||"):
                self.conjunction()
            self.depth -= 1

    def conjunction(self):
        self.equality()
        if self.kind == "&&":
            self.enter()
            while self.take("&&"):
                self.equality()
            self.depth -= 1

    def equality(self):
        self.comparison()
        while self.take("==", "!="):
            self.comparison()

    def comparison(self):
        self.negation()
        while self.take(*COMPARISONS):
            self.negation()

    def negation(self):
        depth = self.depth
        while self.take("!"):
            self.enter()
        self.access()
        self.depth = depth

    def access(self):
        """An operand and what is read of it: github.event['x'].*"""
        depth = self.depth
        context = None
        if self.kind == "literal":
            self.advance()
            return
        if self.kind == "name":
            context = self.context_or_call()
        elif self.take("("):
            self.expression()
            self.expect(")")
        else:
            raise self.unexpected("a value")
        path = []
        while self.kind in ("[", "."):
            path.append(self.index() if self.take("[") else self.property())
            self.enter()
        self.depth = depth
        if context is not None:
            self.names.append(Name(context, tuple(path)))

    def context_or_call(self):
        """Steps over a context, whose name is returned, or a whole call: None."""
        name = self.advance().lower()
        if not self.take("("):
            return name
        n_args = 0
        while not self.take(")"):
            self.expression()
            n_args += 1
            # GitHub lets a comma stand before the bracket that closes
            if self.kind != ")":
                self.expect(",")
        self.calls.append(Call(name, n_args))
        return None

    def index(self):
        """What stands in [ ] as a part of a path."""
        start = self.position
        part = ANY
        if not self.take("*"):
            self.expression()
            word = self.tokens[start].text
            if self.position == start + 1 and word.startswith("'"):
                part = word[1:-1].replace("''", "'").lower()
        self.expect("]")
        return part

    def property(self):
        """What follows a dot as a part of a path."""
        self.expect(".")
        if self.take("*"):
            return ANY
        if self.kind != "name":
            raise self.unexpected("a name")
        return self.advance().lower()


# --- texts with expressions -----------------------------------------------------------------------

OPEN = "${{"
CLOSE = "}}"
STRING_OR_CLOSE = re.compile(r"'[^']*'|'|\}\}")
LITERAL = re.compile(r"'((?:[^']|'')*)'")
DIRECTIVE = re.compile(rf"insert(?:[{BLANKS}]|\Z)")  # ${{ insert }}, in the place of a key


class Literal(str):
    """What ${{ 'a string' }} stands for: text, even if it has a ${{ in it."""


def split(text):
    """Texts and expressions in turn, the first and last always a text; None if one is not closed.

    "a ${{ b }} c" -> ["a ", "b", " c"]
    """
    segments = []
    end = 0
    while (start := text.find(OPEN, end)) >= 0:
        segments.append(text[end:start])
        end = start + len(OPEN)
        match = STRING_OR_CLOSE.search(text, end)
        while match and match[0] not in ("'", CLOSE):
            match = STRING_OR_CLOSE.search(text, match.end())
        if match is None or match[0] == "'":
            return None
        segments.append(text[end : match.start()].strip(BLANKS))
        end = match.end()
    return [*segments, text[end:]]


def literal_of(segments):
    """The string that a split text stands for if it is nothing but ${{ 'a string' }}, else None."""
    if not is_whole(segments):
        return None
    literal = LITERAL.fullmatch(segments[1])
    return literal and literal[1].replace("''", "'")


def fold_literals(value):
    """A document with the strings themselves where ${{ 'a string' }} stands."""
    if isinstance(value, dict):
        return {fold_literals(key): fold_literals(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fold_literals(item) for item in value]
    segments = split(value) if isinstance(value, str) and OPEN in value else None
    literal = literal_of(segments) if segments else None
    return value if literal is None else Literal(literal)


def is_expression(value):
    """Whether a value, after fold_literals(), is text that GitHub computes."""
    return type(value) is str and OPEN in value


def is_whole(segments):
    """Whether a text is one expression and nothing around it."""
    return len(segments) == 3 and not segments[0] and not segments[2]


def as_one_expression(segments):
    """The expression that GitHub makes of a text with expressions: format('a {0} c', b)."""
    if is_whole(segments):
        return segments[1]
    template = ""
    for i, segment in enumerate(segments):
        if i % 2:
            template += f"{{{i // 2}}}"
        else:
            template += segment.replace("'", "''").replace("{", "{{").replace("}", "}}")
    return f"format('{template}', {', '.join(segments[1::2])})"
