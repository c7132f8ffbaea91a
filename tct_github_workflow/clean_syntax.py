"""Expressions as people write them: what the rules "clean" leave of expression_control.Syntax.

GitHub's parser takes `always().x`, `github.shaa`, `a == b == c` and `1e99`; it finds nothing there
or nothing that is meant. So here

- == and != compare two values, not the outcome of another comparison; there is no < nor >
- only what fromJSON() returns is looked into, of all functions; no comma stands before their )
- of a whole context (a job, a step, its outputs) something is read, or toJSON() writes it out, or
  it is a side of && or ||; x.* filters needs and what has no known names
- the first argument of format(), fromJSON(), hashFiles() and those of contains(), endsWith() and
  startsWith() are no conditions and no numbers, and neither is what stands in the [ ] after a
  context
- numbers are plain ones, names are spelled in one of the common ways, those in vars without -
- .* makes a list, which contains() and join() take as their first argument, and which else is
  used as a whole context is
- no string holds }}, with which an expression seems to end
- of a context only what it holds is read: github.sha and not github.shaa or github.sha.x; of needs
  and the matrix without [ ], and without a blank in matrix.x.y after the x

What depends on the stack is in expressions.py.
"""

import functools

from .automaton import from_regex
from .expression_control import BLANKS, IN_TEXT, LETTERS, NAMED_CONTEXTS, WORD, Syntax
from .utf8 import DEAD

PLAIN_NUMBERS = from_regex(r"^-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?$")
# Names in other letters than lower-case ones
SPELLINGS = ("endsWith", "fromJSON", "fromJson", "hashFiles", "startsWith", "toJSON", "toJson")
TEXT_FUNCTIONS = ("format", "fromjson", "hashfiles", "join", "tojson")
ALONE = "fromjson alone"  # fromJSON() where all of the text is its call
# Functions of which the first argument is a text
TEXT_FIRST = ("contains", "endswith", "format", "fromjson", ALONE, "hashfiles", "startswith")
TEXT_ALONE = ("contains", "endswith", "startswith")  # of them, those of which all are
FILTERED = ("needs",)  # contexts after which .* may stand
NEEDED_JOB = "a needed job"
ITS_OUTPUTS = "its outputs"
ROW = "a row"  # of a matrix: its value is text, or some text may be read of it
LIST = "a list"
LIST_FIRST = ("contains", "join")
NO_INDEX = ("matrix", "needs", ITS_OUTPUTS, LIST)  # kinds of values of which nothing is read in [ ]
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
    "matrix": {ANY: ROW},
    "needs": {ANY: NEEDED_JOB},
    "runner": dict.fromkeys(RUNNER, TEXT),
    "secrets": {ANY: TEXT},
    "steps": {ANY: "a step"},
    "strategy": dict.fromkeys(STRATEGY, TEXT),
    "vars": {ANY: TEXT},
    "a job": {"outputs": "outputs", "result": TEXT},
    NEEDED_JOB: {"outputs": ITS_OUTPUTS, "result": TEXT},
    ITS_OUTPUTS: {ANY: TEXT},
    LIST: {ANY: LIST},
    "a step": {"conclusion": TEXT, "outcome": TEXT, "outputs": "outputs"},
    "outputs": {ANY: TEXT},
}


def plain_functions(functions):
    """{function: (least, most) arguments} as people call them."""
    plain = {**functions, "format": (2, 255), "join": (2, 2)}
    del plain["case"]  # newer than what most know
    return {name: (0, 0) if least == 0 else (least, most) for name, (least, most) in plain.items()}


class CleanSyntax(Syntax):
    """The controls of such expressions."""

    numbers = PLAIN_NUMBERS
    keywords = ("true", "false", "null")
    is_strict = True
    filtered = (None, *FILTERED)
    after_star = ("value", LIST)
    object_cost = len("||1")

    def _words_of(self, slot):
        """slot: "any"; "text" where no condition may stand; "json" where all is fromJSON(...)."""
        if slot == "json":
            return (), (), ("fromjson",)
        if slot == "text":
            return (), self.contexts, TEXT_FUNCTIONS
        functions = tuple(name for name in self.functions if name != ALONE)
        return self.keywords, self.contexts, functions

    def _longer_name(self, begun, exact, char, slot):
        begun += char
        keywords, contexts, functions = self._words_of(slot)
        spellings = [name for name in SPELLINGS if name.lower() in functions]
        words = (*keywords, *contexts, *functions, *spellings)
        if not any(name.startswith(begun) for name in words):
            return None
        return begun, any(word.startswith(begun) for word in keywords)

    # --- operands ---------------------------------------------------------------------------------
    def _add_operands(self):
        super()._add_operands()
        literal = (b"'", self.to("literal"))
        begun = (BLANKS, self.to("text"))
        self.add("text", len("''"), begun, literal, *self._first_letters("text"))
        begun = (BLANKS, self.to("json"))
        self.add("json", len("fromJSON('')"), begun, *self._first_letters("json"))
        alone = (BLANKS, self.to("alone")), (b"}", self.act("end"))
        self.add("alone", 0, *alone)
        self.add("index", 1, (b"*", DEAD))

    def begin_argument(self, function, count):
        if function in (TEXT_FIRST if count == 1 else TEXT_ALONE):
            return self.number["text"], IN_TEXT
        return super().begin_argument(function, count)

    def argument_cost(self, function):
        return super().argument_cost(function) + (function in TEXT_ALONE)

    def _call_cost(self, function):
        return super()._call_cost(function) + (function in TEXT_FIRST)

    def _after_name(self, name, exact, slot):
        if slot == "json" and name.lower() == "fromjson":
            return self._call(ALONE)
        return super()._after_name(name, exact, slot)

    def _after_operand(self, blank):
        return [(chars, move) for chars, move in super()._after_operand(blank) if chars != b"<>"]

    def after_bracket(self, opener):
        if opener == ALONE:
            return self.number["alone"]
        return self.number["access", None] if opener in LOOKED_INTO else self.number["done"]

    # --- what contexts hold -----------------------------------------------------------------------
    def _after_object(self, kind, blank, dot):
        """Moves after a value of a kind in READ. blank, dot: controls after these."""
        moves = [
            (BLANKS, self.to(*blank)),
            (b"&", self.act("and", self.to("and"))),
            (b"|", self.act("or", self.to("or"))),
            (b")", self.act("close_object", "(")),
            (b".", self.act("deeper", self.to(*dot))),
        ]
        if kind == LIST:
            moves.append((b",", self.act("comma_after_list")))
        if has_index(kind):
            moves.append((b"[", self.act("open_index", self.to("text"))))
        return moves

    def _after_context(self, context):
        if context in READ and context not in NAMED_CONTEXTS:
            return self._after_value(context)
        return super()._after_context(context)

    def _after_access(self, context):
        if context is None:
            return super()._after_access(None)
        return self._after_object(context, ("access", context), ("dot", context))

    def _add_after_operands(self):
        super()._add_after_operands()
        member = self.to("member")
        self.add("row dot", 1, (BLANKS, self.to("row dot")), (LETTERS, member))
        self.add("member", 0, *self._after_operand("done"), (WORD, member))

    def _after_property(self, context):
        if context == "matrix":
            dot = self.act("deeper", self.to("row dot"))
            return [*self._after_operand("done"), (b".", dot)]
        return self._after_value(READ.get(context, {}).get(ANY))

    def _after_value(self, kind):
        """Moves after a value of a kind that READ knows, TEXT or None."""
        if kind is None:
            return self._after_access(None)
        if kind == TEXT:
            return self._after_operand("done")
        self._kinds.add(kind)
        return self._after_object(kind, ("value", kind), ("value dot", kind))

    @functools.cached_property
    def _kinds(self):
        """Those that a value dot stands for so far."""
        return {LIST}

    def _add_literals(self):
        super()._add_literals()
        after_brace = self.to("literal }")
        for literal in ("literal", "literal $", "literal ${"):
            self.add(literal, 1, (b"}", after_brace))
        quote = (b"'", self.to("quote"))
        dollar = (b"$", self.to("literal $"))
        self.add_text("literal }", 1, "literal", quote, dollar, (b"}", DEAD))

    def _add_hollow_literals(self, size):
        super()._add_hollow_literals(size)
        brace = ("hollow", "literal }", "full")
        quote = (b"'", self.to("hollow", "quote", "full"))
        self.add(("hollow", "literal", size), 1, (b"}", self.to(*brace)))
        self.add_text(brace, 1, ("hollow", "literal", "full"), quote, (b"}", DEAD))

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
        self.add(("value", kind), self.object_cost, *self._after_value(kind))
        dot = ("value dot", kind)
        blank = (BLANKS, self.to(*dot))
        if ANY in names:
            part = ("value name", kind, ANY)
            left = self.object_cost if names[ANY] in READ else 0
            word = WORD.replace(b"-", b"") if kind == "vars" else WORD
            self.add(part, left, *self._after_value(names[ANY]), (word, self.to(*part)))
            letters = (LETTERS, self.to(*part))
            self.add(dot, 1 + left, blank, letters)
        else:
            self.add(dot, self._left_of(kind, ""), blank, *self._add_known(kind, ""))

    def _left_of(self, kind, begun):
        """Bytes that complete an operand which has begun the name of what a kind holds."""
        options = []
        for name, inner in READ[kind].items():
            if name.startswith(begun):
                options.append(len(name) - len(begun) + self.object_cost * (inner in READ))
        return min(options)

    def _add_known(self, kind, begun):
        """Adds the controls within the names that begin so; returns the moves to them."""
        moves = []
        for char in sorted({name[len(begun)] for name in longer_names(kind, begun)}):
            control = ("value name", kind, begun + char)
            moves.append(((char + char.upper()).encode(), self.to(*control)))
            after = self._add_known(kind, begun + char)
            if begun + char in READ[kind]:
                after += self._after_value(READ[kind][begun + char])
            self.add(control, self._left_of(kind, begun + char), *after)
        return moves

    def _classify(self, name, control):
        super()._classify(name, control)
        if control in self.objects and name[0] in ("access", "property"):
            self.left[control] = self.object_cost
        if name[0] == "dot" and name[1] and holds_objects(name[1]):
            self.left[control] = 1 + self.object_cost

    @property
    def dead_at_limit(self):
        """Objects cannot be looked into there: what leads to nothing else is dead, too."""
        found = set(self.objects)
        for name, control in self.number.items():
            if name[0] == "dot" and name[1] and holds_objects(name[1]):
                found.add(control)
            if name == ("value dot", LIST):
                found.add(control)
            if name[0] == "value name" and name[2] != ANY:
                names = [name[2], *longer_names(*name[1:])]
                if all(READ[name[1]].get(longer, TEXT) in READ for longer in names):
                    found.add(control)
        return found


def has_index(kind):
    """Whether something may be read in [ ] of a value of a kind in READ."""
    return ANY in READ[kind] and kind not in NO_INDEX


def holds_objects(context):
    """Whether what has a chosen name in a context has to be looked into, too."""
    return READ[context][ANY] in READ


def longer_names(kind, begun):
    """The names in what a kind holds that begin so, and go on."""
    return [name for name in READ[kind] if name.startswith(begun) and name != begun]


@functools.cache
def clean_syntax_of(contexts, functions):
    """The CleanSyntax of a tuple of contexts and a tuple of (name, range)."""
    return CleanSyntax(contexts, {**dict(functions), ALONE: (1, 1)})
