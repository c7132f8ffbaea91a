"""The finite part of an automaton for GitHub's expressions: lexer and parser, without the stack.

A *control* is a number: between which bytes of which token of the expression the text stands, and
what the parser expects. Every byte leads from a control to a *move*: another control, DEAD, or an
action on the stack of brackets and calls (see expressions.py, which performs it).

The language is the one of the lexer and the parser in the npm package @actions/expressions.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from .automaton import FAR, OTHER, from_regex
from .situations import OPENING, SITUATIONS, SIZES, longer_than_allowed
from .utf8 import AFTER_E2, AFTER_E2_80, BYTES_LEFT, DEAD, LEAD_PHASE, NEXT_PHASE

BLANKS = b" \t\r\n"
LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
WORD = LETTERS + b"0123456789-"
ASCII = bytes(range(128))
KEYWORDS = ("true", "false", "null", "NaN", "Infinity")  # in exactly these letters
# what JavaScript's Number() reads of what the lexer takes for a number
NUMBERS = from_regex(
    r"^(?:[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
    r"|[+-]Infinity|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)$"
)
CONTEXTS = (
    "env",
    "github",
    "inputs",
    "job",
    "jobs",
    "matrix",
    "needs",
    "runner",
    "secrets",
    "steps",
    "strategy",
    "vars",
)
# contexts of which the first name after the dot is somebody's choice
NAMED_CONTEXTS = ("inputs", "jobs", "matrix", "needs", "steps")

AND, OR, COMPARED, IN_TEXT = 1, 2, 4, 8  # bits of expressions.State.operators


class Syntax:
    """The controls of expressions that may use any of some names.

    contexts   lower-case names
    functions  {lower-case name: (least, most) arguments}
    """

    numbers = NUMBERS
    keywords = KEYWORDS
    is_strict = False  # no comparison of a comparison, no comma before a bracket that closes
    filtered = (None, *NAMED_CONTEXTS)  # after these and a dot may stand a *
    after_star = ("access", None)  # name of the control after .*
    object_cost = 0  # bytes that must follow a context, outside of toJSON()

    def __init__(self, contexts, functions):
        self.contexts = contexts
        self.functions = functions
        self.number = {}  # name of a control -> the control
        self.rows = []  # (256,) moves of each control, filled one after the other
        # bytes from each control to where an operand, or the text, is complete; of the controls
        # inside a name see names_allowed()
        self.left = []
        self.actions = []  # (name of a method, its argument): move -2 - i means actions[i]
        self._action_number = {}
        self._add_operands()
        self._add_after_operands()
        self._add_names()
        for kind, situations in SITUATIONS.items():
            for situation in situations:
                self._add_situation(kind, situation)
        self.too_long = {}  # controls where a character has come -> where it was one too many
        self._count_characters()
        self.table = np.array(self.rows, np.int32)  # (controls, 256)
        names = (*contexts, *functions)
        self.bit = {name: 1 << i for i, name in enumerate(names)}
        self.used = np.zeros(len(self.rows), np.int64)  # the bit of the name that ends at a control
        self.hollow = {}  # controls at a string that is all so far -> one of SIZES
        self.outside = set()  # controls outside of expressions
        self.computed = set()  # of these those after one
        self.literals = set()  # controls inside a string
        # controls after a value that must be looked into, or stand beside && or ||, or in toJSON()
        self.objects = set()
        for name, control in self.number.items():
            self._classify(name, control)
        # controls at which the stack decides what is left
        self.loose = {self.number["argument"], *self.hollow, *self.objects}

    def _classify(self, name, control):
        if name[0] == "character":  # stands where the control after it stands
            _, phase, name = name
            after = self.to(name)
            self.left[control] = int(BYTES_LEFT[phase]) + self.left[after]
        move = self.rows[control][ord(")")]
        if move == self.act("close_object", "("):
            self.objects.add(control)
        if name[0] in SITUATIONS or name[0] == "}":
            self.outside.add(control)
            if name[1] == "within":
                self.computed.add(control)
        elif name[0] == "hollow":
            self.hollow[control] = name[-1]
        elif name[0] == "name":
            _, begun, exact, _ = name
            is_keyword = exact and begun in self.keywords
            if not is_keyword:
                name = begun.lower()
                self.used[control] = self.bit.get(name, 0)
        elif name in ("literal", "literal $", "literal ${", "literal }"):
            self.literals.add(control)

    def names_allowed(self, contexts, functions):
        """The same where only these names are: -> Names."""
        names = (*contexts, *functions)
        left = np.array(self.left)
        left_at_limit = left.copy()
        left_at_limit[list(self.dead_at_limit)] = FAR
        table = self.table.copy()
        for name, control in self.number.items():
            if name[0] != "name":
                continue
            _, begun, exact, slot = name
            costs = self._name_costs(begun, exact, slot, names)
            left[control], left_at_limit[control] = costs
            is_forbidden = self.used[control] and begun.lower() not in names
            if is_forbidden:
                leave_only(table[control], list(WORD))  # a longer name may be allowed
        controls = np.where(table >= 0, table, len(left))  # other moves: the place after the last
        never = np.append(left >= FAR, False)
        table[never[controls]] = DEAD
        allowed = sum(self.bit[name] for name in names)
        return Names(allowed, table, left, left_at_limit)

    def to(self, *name):
        """The control of that name, to be filled by add()."""
        if len(name) == 1:
            name = name[0]
        if name not in self.number:
            self.number[name] = len(self.rows)
            row = np.full(256, DEAD, np.int32)
            self.rows.append(row)
            self.left.append(FAR)
        return self.number[name]

    def act(self, action, argument=None):
        """The move that performs an action."""
        if (action, argument) not in self._action_number:
            self._action_number[action, argument] = len(self.actions)
            self.actions.append((action, argument))
        return -2 - self._action_number[action, argument]

    def add(self, name, left, *moves):
        """Fills a control: moves are (bytes, move) pairs, of which the last one counts."""
        control = self.to(name)
        self.left[control] = left
        row = self.rows[control]
        for chars, move in moves:
            row[list(chars)] = move

    def add_text(self, name, left, then, *moves):
        """A control in a text: any character leads to the control `then`, but for the moves."""
        any_character = (ASCII, self.to(then))
        self.add(name, left, any_character, *moves)
        row = self.rows[self.to(name)]
        for lead, phase in LEAD_PHASE.items():
            row[lead] = self._rest_of_character(phase, then)

    def _rest_of_character(self, phase, then):
        """The control within a character of UTF-8, after which comes the control `then`."""
        if phase == 0:
            return self.to(then)
        name = ("character", phase, then)
        if name not in self.number:
            low, high, after = NEXT_PHASE[phase]
            rest = self._rest_of_character(after, then)
            moves = [(range(low, high), rest)]
            if phase == AFTER_E2:  # E2 80 A8 and A9 are U+2028 and U+2029
                rest = self._rest_of_character(AFTER_E2_80, then)
                moves.append((b"\x80", rest))
            if phase == AFTER_E2_80 and self.is_in_expression(then):
                moves.append((b"\xa8\xa9", DEAD))
            self.add(name, FAR, *moves)
        return self.to(name)

    def is_in_expression(self, name):
        """Strings there hold no U+2028 or U+2029: in a regular expression these end a line."""
        return name[0] not in SITUATIONS

    # --- where an operand begins ------------------------------------------------------------------
    @functools.cached_property
    def _numbers(self):
        """Moves to the first character of a number."""
        return self._number_moves(0)

    def _number_moves(self, state):
        """Moves to one character more, from a state of the automaton of numbers."""
        after = self.numbers.next[state, :OTHER]
        is_live = self.numbers.live[after]
        moves = []
        for char in np.flatnonzero(is_live).tolist():
            control = self.to("number", int(after[char]))
            moves.append(([char], control))
        return moves

    def _operand(self, blank):
        """Moves where an operand may begin: blanks lead to the control `blank`."""
        negation = self.act("deeper", self.to("operand"))
        moves = [
            (BLANKS, self.to(blank)),
            (b"!", negation),
            (b"(", self.act("open", "(")),
            (b"'", self.to("literal")),
        ]
        return moves + self._first_letters("any") + self._numbers

    def _first_letters(self, slot):
        """Moves to the names with which an operand may begin in a slot (see _words_of())."""
        moves = []
        for char, name in self._longer_names("", True, slot).items():
            control = self.to("name", *name, slot)
            moves.append((char.encode(), control))
        return moves

    def _add_operands(self):
        star = (b"*", self.to("star"))
        early = (b")", self.act("close_early"))
        blank = (BLANKS, self.to("no argument"))
        self.add("operand", 1, *self._operand("operand"))
        self.add("bare", 0, *self._operand("bare"))
        self.add("index", 1, *self._operand("index"), star)
        self.add("argument", 1, *self._operand("argument"), early)
        self.add("no argument", 0, blank, early)
        self._add_literals()
        self._add_numbers()

    def _add_literals(self):
        quote = (b"'", self.to("quote"))
        dollar = (b"$", self.to("literal $"))
        brace = (b"{", self.to("literal ${"))
        opened = self.act("open_in_literal", self.to("literal"))
        opening = (b"{", opened)
        self.add_text("literal", 1, "literal", quote, dollar)
        self.add_text("literal $", 1, "literal", quote, dollar, brace)
        self.add_text("literal ${", 1, "literal", quote, dollar, opening)
        escaped = (b"'", self.to("literal"))
        self.add("quote", 0, *self._after_operand("done"), escaped)
        start = (b"'", self.to("hollow", "literal", "empty"))
        self.add("first", 1, *self._operand("first"), start)
        for size in SIZES:
            self._add_hollow_literals(size)

    def _add_hollow_literals(self, size):
        """The same for a string that begins a text; the costs do not say what is missing then."""
        quote = ("hollow", "quote", size)
        done = ("hollow", "done", size)
        full = ("hollow", "literal", "long" if size == "long" else "full")
        closing = (b"}", self.act("end", size))
        after = [*self._after_operand(done), closing]
        closing_quote = (b"'", self.to(*quote))
        escaped = (b"'", self.to(*full))
        self.add_text(("hollow", "literal", size), 1, full, closing_quote)
        self.add(quote, 0, *after, escaped)
        self.add(done, 0, *after)

    def _add_numbers(self):
        numbers = self.numbers
        for state in np.flatnonzero(numbers.live).tolist():
            moves = self._number_moves(state)
            if numbers.accept[state]:
                moves = self._after_operand("done") + moves
            left = int(numbers.distance[state])
            self.add(("number", state), left, *moves)

    # --- after an operand -------------------------------------------------------------------------
    def _after_operand(self, blank):
        equal = self.act("compare", self.to("equal"))
        less = self.act("compare", self.to("less"))
        both = self.act("and", self.to("and"))
        either = self.act("or", self.to("or"))
        return [
            (BLANKS, self.to(blank)),
            (b"=!", equal),
            (b"<>", less),
            (b"&", both),
            (b"|", either),
            (b")", self.act("close", "(")),
            (b"]", self.act("close", "[")),
            (b",", self.act("comma")),
            (b"}", self.act("end")),
        ]

    def _after_access(self, context):
        """The same after what can be looked into; context: one of NAMED_CONTEXTS, or none."""
        dot = self.act("deeper", self.to("dot", context))
        return [
            *self._after_operand(("access", context)),
            (b".", dot),
            (b"[", self.act("open", "[")),
        ]

    def _after_context(self, context):
        """Moves after the whole name of a context."""
        return self._after_access(context if context in NAMED_CONTEXTS else None)

    def _after_property(self, context):
        """Moves after context.name, or after a further name, context None."""
        return self._after_access(None)

    def after_bracket(self, opener):
        """The control after the bracket that closes "(", "[" or the call of a function."""
        return self.number["access", None]

    def _add_after_operands(self):
        self.add("done", 0, *self._after_operand("done"))
        for context in (None, *NAMED_CONTEXTS):
            self._add_access(context)
        blank = (BLANKS, self.to("star"))
        close = (b"]", self.act("close", "["))
        operand = self.to("operand")
        self.add("star", 0, blank, close)
        self.add("equal", 2, (b"=", operand))
        self.add("and", 2, (b"&", operand))
        self.add("or", 2, (b"|", operand))
        self.add("less", 1, *self._after_less())

    def _add_access(self, context):
        dot = ("dot", context)
        part = ("property", context)
        after_dot = [
            (BLANKS, self.to(*dot)),
            (LETTERS, self.to(*part)),
        ]
        if context in self.filtered:
            star = (b"*", self.to(*self.after_star))
            after_dot.append(star)
        longer = (WORD, self.to(*part))
        self.add(("access", context), 0, *self._after_access(context))
        self.add(dot, 1, *after_dot)
        self.add(part, 0, *self._after_property(context), longer)

    def _after_less(self):
        or_equal = (b"=", self.to("operand"))
        return [*self._operand("operand"), or_equal]

    # --- names ------------------------------------------------------------------------------------
    def _words_of(self, slot):
        """-> (keywords, contexts, functions) with which an operand may begin in some slot.

        slot: "any" here; see clean_syntax.py for others.
        """
        return self.keywords, self.contexts, self.functions

    def _longer_name(self, begun, exact, char, slot):
        """-> (begun + char, exact) if a name begins so, in lower case unless exact.

        exact: in just these letters a keyword begins so.
        """
        begun += char
        keywords, contexts, functions = self._words_of(slot)
        if exact and any(word.startswith(begun) for word in keywords):
            return begun, True
        begun = begun.lower()
        names = (*contexts, *functions)
        if any(name.startswith(begun) for name in names):
            return begun, False
        return None

    def _longer_names(self, begun, exact, slot):
        """{a letter: what _longer_name() says of it} for those that continue some name."""
        chars = set()
        for name in itertools.chain(*self._words_of(slot)):
            is_begun = name.lower().startswith(begun.lower())
            if is_begun and len(name) > len(begun):
                char = name[len(begun)]
                chars.update((char, char.lower(), char.upper()))
        longer = {}
        for char in sorted(chars):
            name = self._longer_name(begun, exact, char, slot)
            if name:
                longer[char] = name
        return longer

    def _add_names(self):
        todo = [name for name in self.number if name[0] == "name"]
        for name in todo:
            _, begun, exact, slot = name
            moves = self._after_name(begun, exact, slot)
            for char, longer in self._longer_names(begun, exact, slot).items():
                control = ("name", *longer, slot)
                if control not in self.number:
                    todo.append(control)
                move = self.to(*control)
                moves.append((char.encode(), move))
            self.add(name, FAR, *moves)
        for name in self.functions:
            cost = self._call_cost(name)
            self.add(("call", name), cost, *self._call(name))

    def _after_name(self, name, exact, slot):
        """Moves after a whole name."""
        keywords, contexts, functions = self._words_of(slot)
        if exact and name in keywords:
            return self._after_operand("done")
        name = name.lower()
        if name in contexts:
            return self._after_context(name)
        if name in functions:
            return self._call(name)
        return []

    def _call(self, function):
        return [
            (BLANKS, self.to("call", function)),
            (b"(", self.act("call", function)),
        ]

    @property
    def dead_at_limit(self):
        """Controls from which no operand can be completed without deeper nesting."""
        return self.objects

    def begin_argument(self, function, count):
        """-> (control, operators of a State) where the count-th argument of a call begins."""
        return self.number["argument"], 0

    def argument_cost(self, function):
        """Bytes of the shortest argument but the first, and its comma."""
        return 2

    def _call_cost(self, function):
        """Bytes of brackets and shortest arguments."""
        least, _ = self.functions[function]
        return 2 + min(1, least) + max(0, least - 1) * self.argument_cost(function)

    def _name_costs(self, begun, exact, slot, allowed):
        """Bytes to a whole name, with its call; the same where no argument may be nested."""
        keywords, contexts, functions = self._words_of(slot)
        words = keywords if exact else ()
        names = [name for name in (*contexts, *functions) if name in allowed]
        begun_words = [name for name in words if name.startswith(begun)]
        begun_names = [name for name in names if name.startswith(begun.lower())]
        costs = [FAR]
        costs_at_limit = [FAR]
        for name in begun_words + begun_names:
            cost = len(name) - len(begun)
            is_free = True  # of deeper nesting
            if name in functions:
                cost += self._call_cost(name)
                least, _ = self.functions[name]
                is_free = least == 0
            elif name in contexts:
                cost += self.object_cost
                is_free = self.object_cost == 0
            costs.append(cost)
            if is_free:
                costs_at_limit.append(cost)
        return min(costs), min(costs_at_limit)

    # --- outside of expressions -------------------------------------------------------------------
    def _add_situation(self, kind, name):
        """A situation, the same after $ and after ${, and after the first } of an expression."""
        situation = SITUATIONS[kind][name]
        self._add_outside(kind, name, "", situation.left)
        for typed in ("$", "${"):
            left = situation.shortest - len(typed)
            if situation.then:
                then = SITUATIONS[kind][situation.then]
                left = min(left, then.left)
            self._add_outside(kind, name, typed, left)
        closing = (b"}", self.to(kind, name, ""))
        self.add(("}", kind, name), 1 + situation.left, closing)

    def _add_outside(self, kind, name, typed, left):
        """The control in a situation after some of an opening."""
        control = (kind, name, typed)
        moves = self._opening_moves(*control)
        then = SITUATIONS[kind][name].then
        if then is None:
            self.add(control, left, *moves)
            return
        if typed:  # it was text, and the next opening begins
            dollar = self.to(kind, then, "$")
            moves.append((b"$", dollar))
        self.add_text(control, left, (kind, then, ""), *moves)

    def _count_characters(self):
        """Makes actions of the moves that add a character to a text of limited length."""
        counted = []
        for name, control in self.number.items():
            longer = longer_than_allowed(name)
            if longer:
                self.too_long[control] = self.number[longer]
            if name[0] in ("group", "hollow"):
                counted.append(self.rows[control])
        for row in counted:
            for control in self.too_long.keys() & set(row.tolist()):
                row[row == control] = self.act("count", control)

    def _opening_moves(self, kind, name, typed):
        """The move that continues an opening, of which some is typed."""
        situation = SITUATIONS[kind][name]
        if not situation.opens:
            return []
        longer = OPENING[: len(typed) + 1]
        if longer == OPENING:
            move = self.act("start", (kind, situation.first))
        else:
            move = self.to(kind, name, longer)
        return [(longer[-1:].encode(), move)]


def leave_only(row, chars):
    """Makes all moves of a row DEAD but those of some bytes."""
    kept = row[chars]
    row[:] = DEAD
    row[chars] = kept


@dataclass(frozen=True, eq=False)
class Names:
    """What of a Syntax is left where only some names are allowed."""

    allowed: int  # their bits
    table: np.ndarray  # (controls, 256) moves
    left: np.ndarray  # (controls,) bytes to where an operand, or the text, is complete
    left_at_limit: np.ndarray  # (controls,) the same where no deeper nesting is allowed


@functools.cache
def syntax_of(contexts, functions):
    """The Syntax of a tuple of contexts and a tuple of (name, range)."""
    return Syntax(contexts, dict(functions))
