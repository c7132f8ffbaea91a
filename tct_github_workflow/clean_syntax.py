"""Expressions as people write them: what the rules "clean" leave of expression_control.Syntax.

GitHub's parser takes `always().x`, `github.shaa`, `a == b == c` and `1e99`; it finds nothing there
or nothing that is meant. So here

- a comparison compares two values, not the outcome of another comparison nor a whole context;
  < and > are followed by a number or a string
- only what fromJSON() returns is looked into, of all functions; no comma stands before their )
- numbers are plain ones, names are spelled in one of the common ways
- of a context only what it holds is read: github.sha and not github.shaa or github.sha.x

What depends on the stack is in expressions.py.
"""

import functools

from .automaton import from_regex
from .expression_control import BLANKS, LETTERS, NAMED_CONTEXTS, WORD, Syntax

PLAIN_NUMBERS = from_regex(r"^-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?$")
# Names in other letters than lower-case ones
SPELLINGS = ("endsWith", "fromJSON", "fromJson", "hashFiles", "startsWith", "toJSON", "toJson")
LOOKED_INTO = ("[", "fromjson")  # brackets and functions after which .x may stand

# What is read of a value: {name: kind of value there}, ANY for any name. None: there is no telling
ANY = "*"
TEXT = "text"  # or a number: nothing can be read of it
GITHUB = (
    *("action", "action_path", "action_ref", "action_repository", "action_status", "actor"),
    *("actor_id", "api_url", "base_ref", "env", "event_name", "event_path", "graphql_url"),
    *("head_ref", "job", "path", "ref", "ref_name", "ref_protected", "ref_type", "repository"),
    *("repository_id", "repository_owner", "repository_owner_id", "repositoryurl"),
    *("retention_days", "run_attempt", "run_id", "run_number", "secret_source", "server_url"),
    *("sha", "token", "triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace"),
)
RUNNER = ("arch", "debug", "environment", "name", "os", "temp", "tool_cache", "workspace")
STRATEGY = ("fail-fast", "job-index", "job-total", "max-parallel")
READ = {
    "env": {ANY: TEXT},
    "github": {**dict.fromkeys(GITHUB, TEXT), "event": None},
    "inputs": {ANY: TEXT},
    "job": {"container": None, "services": None, "status": TEXT},
    "jobs": {ANY: "a job"},
    "matrix": {ANY: None},
    "needs": {ANY: "a job"},
    "runner": dict.fromkeys(RUNNER, TEXT),
    "secrets": {ANY: TEXT},
    "steps": {ANY: "a step"},
    "strategy": dict.fromkeys(STRATEGY, TEXT),
    "vars": {ANY: TEXT},
    "a job": {"outputs": "outputs", "result": TEXT},
    "a step": {"conclusion": TEXT, "outcome": TEXT, "outputs": "outputs"},
    "outputs": {ANY: TEXT},
}


def plain_functions(functions):
    """{function: (least, most) arguments} as people call them."""
    plain = {**functions, "format": (2, 255), "join": (2, 2)}
    del plain["case"]  # newer than what most know
    return {name: (0, 0) if least == 0 else (least, most) for name, (least, most) in plain.items()}


def not_compared(moves):
    """Moves after an operand, less those to a comparison."""
    return [(chars, move) for chars, move in moves if not set(chars) & set(b"=!<>")]


class CleanSyntax(Syntax):
    """The controls of such expressions."""

    numbers = PLAIN_NUMBERS
    keywords = ("true", "false", "null")
    is_strict = True

    def _longer_name(self, begun, exact, char):
        begun += char
        if not any(name.startswith(begun) for name in self._spellings):
            return None
        return begun, any(word.startswith(begun) for word in self.keywords)

    @functools.cached_property
    def _spellings(self):
        return (*self.keywords, *self.contexts, *self.functions, *SPELLINGS)

    def _after_less(self):
        bound = [(BLANKS, self.to("bound")), (b"'", self.to("literal")), *self._numbers]
        self.add("bound", 1, *bound)
        return [*bound, (b"=", self.to("bound"))]

    def after_bracket(self, opener):
        return self.number["access", None] if opener in LOOKED_INTO else self.number["done"]

    def _after_context(self, context):
        if context in READ and context not in NAMED_CONTEXTS:
            return self._after_value(context)
        return super()._after_context(context)

    def _after_access(self, context):
        moves = super()._after_access(context)
        return not_compared(moves) if context else moves

    def _after_property(self, context):
        return self._after_value(READ.get(context, {}).get(ANY))

    def _after_value(self, kind):
        """Moves after a value of a kind that READ knows, TEXT or None."""
        if kind is None:
            return self._after_access(None)
        if kind == TEXT:
            return self._after_operand("done")
        self._kinds.add(kind)
        return [
            *not_compared(self._after_operand(("value", kind))),
            (b".", self.act("deeper", self.to("value dot", kind))),
            (b"[", self.act("open", "[")),
        ]

    @functools.cached_property
    def _kinds(self):
        """Those that a value dot stands for so far."""
        return set()

    def _add_names(self):
        super()._add_names()
        done = set()
        while self._kinds - done:
            kind = min(self._kinds - done)
            done.add(kind)
            self._add_kind(kind)

    def _add_kind(self, kind):
        """The controls after a value of a kind: blanks, a dot, the names that may be read."""
        names = READ[kind]
        self.add(("value", kind), 0, *self._after_value(kind))
        dot = ("value dot", kind)
        moves = [(BLANKS, self.to(*dot)), (b"*", self.to("access", None))]
        if ANY in names:
            part = ("value name", kind, ANY)
            moves.append((LETTERS, self.to(*part)))
            self.add(part, 0, *self._after_value(names[ANY]), (WORD, self.to(*part)))
            self.add(dot, 1, *moves)
        else:
            self.add(dot, min(map(len, names)), *moves, *self._add_known(kind, ""))

    def _add_known(self, kind, begun):
        """Adds the controls within the names that begin so; returns the moves to them."""
        longer = {}  # character -> names that continue with it
        for name in READ[kind]:
            if name.startswith(begun) and name != begun:
                longer.setdefault(name[len(begun)], []).append(name)
        moves = []
        for char, names in longer.items():
            control = ("value name", kind, begun + char)
            moves.append(((char + char.upper()).encode(), self.to(*control)))
            left = min(map(len, names)) - len(begun) - 1
            after = self._add_known(kind, begun + char)
            if begun + char in READ[kind]:
                after += self._after_value(READ[kind][begun + char])
            self.add(control, left, *after)
        return moves


@functools.cache
def clean_syntax_of(contexts, functions):
    """The CleanSyntax of a tuple of contexts and a tuple of (name, range)."""
    return CleanSyntax(contexts, dict(functions))
