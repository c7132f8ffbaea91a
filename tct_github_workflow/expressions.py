"""Strings with GitHub's expressions as text automata, for the matcher: which bytes may come next.

An expression nests, so it takes a stack: a State is a control (expression_control.py) and a Frame
for every bracket or call that is open. Most bytes change the control alone, by a table; the others
are the actions below. A state knows how many bytes complete the text at least, so a budget holds
inside an expression, too.
"""

import functools
from typing import NamedTuple, Optional

from .automaton import ANY, FAR, both, from_regex, min_length, negate
from .clean_syntax import LIST_FIRST, clean_syntax_of, plain_functions
from .expression_control import AND, COMPARED, CONTEXTS, IN_TEXT, OR, syntax_of
from .situations import HOLLOW_COST, MAX_GROUP, SITUATIONS, SIZES
from .utf8 import DEAD

MAX_DEPTH = 50  # of GitHub's parser: levels of nesting, operators and accesses that it counts
# GitHub wraps a condition: success() && (...), and in it format('...', ...) where text is around
BASE_DEPTH = {
    **dict.fromkeys(["text", "some", "traced", "group", "whole", "json"], 1),
    **{"bare": 3, "one": 3, "has": 4},
}

FUNCTIONS = {  # everywhere: the least and most arguments
    "case": (3, FAR),
    "contains": (2, 2),
    "endswith": (2, 2),
    "format": (1, 255),
    "fromjson": (1, 1),
    "join": (1, 2),
    "startswith": (2, 2),
    "tojson": (1, 1),
}
NEAR = 16  # more levels of nesting, and more arguments, than the text of one token can bring
LONG = 128  # more characters


class Frame(NamedTuple):
    """An open bracket or call, or the expression itself at the bottom of the stack."""

    kind: str  # of the text around the expression; None: a stack that is not known
    opener: Optional[str]  # "(", "[" or the function; None at the bottom
    count: int  # arguments so far, the one at hand included
    below: Optional["Frame"]
    outside: tuple  # (operators, extra) of the state in which it was opened
    depth: int  # of what is in it
    to_close: int  # bytes that close it and all below, once the operand at hand is complete
    shape: tuple  # all that costs and masks depend on, as far as nesting is not near its limit


# of each kind: a regular language around it
IN_BRACES = both(from_regex(r"^\$\{\{(?:.|[\n\r])*$"), from_regex(r"\}\}$"))
AT_LEAST = {
    "text": ANY,
    "bare": ANY,
    "some": min_length(1),
    "traced": ANY,
    "group": min_length(1),
    "has": both(from_regex(r"\$\{\{"), from_regex(r"\}\}")),
    "whole": IN_BRACES,
    "one": IN_BRACES,
    "json": IN_BRACES,
}


class State(NamedTuple):
    """Where a text stands."""

    control: int
    frame: Optional[Frame]  # None outside of expressions
    # AND, OR: whether the parser is to the right of one, which counts as depth; COMPARED: of a
    # comparison, IN_TEXT: where a text is meant, if the syntax allows no other comparison there
    operators: int = 0
    extra: int = 0  # levels that the operand at hand adds: each ! and each access
    length: int = 0  # characters of a text, or a string that is all of it, which must not be long

    def depth(self):
        operators = (self.operators & AND) + (self.operators >> 1 & 1)
        return self.frame.depth + operators + self.extra

    def is_compared(self):
        return self.operators & (COMPARED | IN_TEXT)


def bottom_frame(kind):
    to_close = 0 if kind in ("bare", None) else len("}}")
    return Frame(kind, None, 0, None, (0, 0), BASE_DEPTH.get(kind, 1), to_close, (kind,))


BOTTOM = {kind: bottom_frame(kind) for kind in BASE_DEPTH}
UNKNOWN = bottom_frame(None)  # stands for a stack of which nothing is known
ASKS = "asks"  # what step() says of a byte that an UNKNOWN stack decides about


def situation_after(kind, size):
    """The situation after an expression; size: if it is nothing but a string, one of SIZES."""
    if (kind, size) in HOLLOW_COST:
        return "hollow"
    return "within" if "within" in SITUATIONS[kind] else "new"


class Rows(dict):
    """The rows of a table as lists, each made when it is first looked up: {number: list}."""

    def __init__(self, table):
        self.table = table

    def __missing__(self, number):
        row = self[number] = self.table[number].tolist()
        return row


class Expressions:
    """The pushdown automaton of one place.

    contexts, functions  names that may be used there, in lower case
    """

    def __init__(self, syntax, contexts, functions):
        self.syntax = syntax
        self.functions = syntax.functions
        self.names = syntax.names_allowed(contexts, functions)
        self.rows = Rows(self.names.table)
        self.left = self.names.left.tolist()
        self.moves = []  # of each action: (method, argument)
        for action, argument in syntax.actions:
            self.moves.append((getattr(self, "_" + action), argument))
        number = syntax.number
        self.operand = number["operand"]
        self.index = number["index"]
        self.argument = number["argument"]
        self.no_argument = number["no argument"]
        self.first = number["first"]
        self.after = {}  # (kind, size of a string that is all): the control after the first }
        for kind in SITUATIONS:
            for size in (None, *SIZES):
                self.after[kind, size] = number.get(("}", kind, situation_after(kind, size)))

    def step(self, state, byte):
        """The state after a byte, None where none may come, ASKS where the stack would tell."""
        move = self.rows[state.control][byte]
        if move >= 0:
            return state._replace(control=move)
        if move == -1:
            return None
        action, argument = self.moves[-2 - move]
        return action(state, argument)

    def run(self, state, text):
        """The state after some bytes, or None."""
        control = state.control
        for byte in text:
            move = self.rows[control][byte]
            if move >= 0:
                control = move
                continue
            if move == -1:
                return None
            action, argument = self.moves[-2 - move]
            state = action(State(control, *state[1:]), argument)
            if state is None:
                return None
            control = state.control
        return State(control, *state[1:])

    def bytes_to_end(self, state):
        """Bytes of the shortest rest; 0: the text may end here."""
        control, frame, *_ = state
        left = self.left[control]
        if frame is None:
            return left
        if control == self.argument:
            if self._may_close_early(frame):
                return frame.below.to_close + 1
        elif control in self.syntax.hollow:
            left += HOLLOW_COST.get((frame.kind, self.syntax.hollow[control]), 0)
        elif control in self.syntax.objects and frame.opener == "tojson":
            left -= self.syntax.object_cost
        elif state.depth() >= MAX_DEPTH:
            left = int(self.names.left_at_limit[control])
        return left + frame.to_close

    def outer_detour(self, state):
        """Bytes of the shortest rest of at least one byte, outside of expressions."""
        byte_of = {move: byte for byte, move in enumerate(self.rows[state.control])}
        targets = [self.step(state, byte) for byte in byte_of.values()]
        return min((1 + self.bytes_to_end(target) for target in targets if target), default=FAR)

    # --- arguments --------------------------------------------------------------------------------
    def _has_enough(self, frame, count):
        """Whether a call may end with so many arguments."""
        if frame.opener not in self.functions:
            return False
        least, _ = self.functions[frame.opener]
        return count >= least and (frame.opener != "case" or count % 2 == 1)

    def _may_close_early(self, frame):
        """Whether a call may end where its next argument might begin."""
        if self.syntax.is_strict and frame.count > 1:
            return False
        return self._has_enough(frame, frame.count - 1)

    def _with_count(self, frame, count):
        """A call's frame at its count-th argument."""
        least, most = self.functions[frame.opener]
        n_missing = max(0, least - count)
        if frame.opener == "case" and not n_missing:
            n_missing = 1 - count % 2
        cost = self.syntax.argument_cost(frame.opener)
        to_close = cost * n_missing + 1 + frame.below.to_close
        seen = count
        if count > least + 1 and most - count > NEAR:
            seen = least + (count - least) % 2  # only whether it is odd matters from here on
        return frame._replace(
            count=count, to_close=to_close, shape=(frame.opener, seen, frame.below.shape)
        )

    # --- actions: (state, argument) -> State, None or ASKS ----------------------------------------
    def _count(self, state, control):
        """One character more."""
        if state.frame and state.frame.kind != "group":
            return state._replace(control=control)  # no string but that of a group is limited
        if state.length == MAX_GROUP:
            return State(self.syntax.too_long[control], state.frame)
        return state._replace(control=control, length=state.length + 1)

    def _deeper(self, state, control):
        if state.depth() >= MAX_DEPTH:
            return None
        return State(control, state.frame, state.operators, state.extra + 1)

    def _compare(self, state, control):
        operators = state.operators
        if self.syntax.is_strict:
            if state.is_compared():
                return None
            operators |= COMPARED
        return State(control, state.frame, operators, 0)

    def _and(self, state, control):
        operators = (state.operators & (OR | IN_TEXT)) | AND
        after = State(control, state.frame, operators, 0)
        return after if after.depth() <= MAX_DEPTH else None

    def _or(self, state, control):
        after = State(control, state.frame, (state.operators & IN_TEXT) | OR, 0)
        return after if after.depth() <= MAX_DEPTH else None

    def _open(self, state, opener):
        depth = state.depth() + 1
        if depth > MAX_DEPTH:
            return None
        below = state.frame
        frame = Frame(
            below.kind,
            opener,
            1,
            below,
            (state.operators, state.extra),
            depth,
            to_close=1 + below.to_close,
            shape=(opener, 1, below.shape),
        )
        return State(self.index if opener == "[" else self.operand, frame)

    def _open_index(self, state, control):
        """A bracket in which the name of what is read stands, a text."""
        after = self._open(state, "[")
        return after and State(control, after.frame, IN_TEXT)

    def _call(self, state, function):
        least, most = self.functions[function]
        depth = state.depth() + 1
        if least and depth > MAX_DEPTH:
            return None
        below = state.frame
        outside = (state.operators, state.extra)
        frame = Frame(below.kind, function, 1, below, outside, depth, 0, ())
        control, operators = self.syntax.begin_argument(function, 1)
        if most == 0 or depth > MAX_DEPTH:
            control = self.no_argument
        return State(control, self._with_count(frame, 1), operators)

    def _close(self, state, bracket):
        frame = state.frame
        if frame is UNKNOWN:
            return ASKS
        if frame.opener != bracket:
            if bracket == "[" or not self._has_enough(frame, frame.count):
                return None
        operators, extra = frame.outside
        after = self.syntax.after_bracket(frame.opener)
        return State(after, frame.below, operators, extra + (bracket == "["))

    def _close_object(self, state, bracket):
        """After a value that must be looked into, but in toJSON()."""
        if state.frame is UNKNOWN:
            return ASKS
        return self._close(state, bracket) if state.frame.opener == "tojson" else None

    def _close_early(self, state, _):
        frame = state.frame
        if frame is UNKNOWN:
            return ASKS
        if not self._may_close_early(frame):
            return None
        return State(self.syntax.after_bracket(frame.opener), frame.below, *frame.outside)

    def _comma(self, state, _):
        frame = state.frame
        if frame is UNKNOWN:
            return ASKS
        if frame.opener not in self.functions:
            return None
        _, most = self.functions[frame.opener]
        if frame.count > most - self.syntax.is_strict:
            return None
        count = frame.count + 1
        control, operators = self.syntax.begin_argument(frame.opener, count)
        if count > most:
            control = self.no_argument
        return State(control, self._with_count(frame, count), operators)

    def _comma_after_list(self, state, control):
        """Only the first argument of some functions may be a list."""
        if state.frame is UNKNOWN:
            return ASKS
        takes_list = state.frame.opener in LIST_FIRST and state.frame.count == 1
        return self._comma(state, control) if takes_list else None

    def _start(self, _, argument):
        kind, first = argument
        if kind == "json":
            return State(self.syntax.number["json"], BOTTOM[kind])
        return State(self.first if first else self.operand, BOTTOM[kind])

    def _end(self, state, size):
        """At the first of the closing braces; size: of a string that is the whole expression."""
        frame = state.frame
        if frame is UNKNOWN:
            return ASKS
        if frame.opener is not None or frame.kind == "bare":
            return None
        after = self.after[frame.kind, size]
        return None if after is None else State(after, None)

    def _open_in_literal(self, state, control):
        """${{ in a string: not where there are no braces around the expression."""
        if state.frame.kind is None:
            return ASKS
        return None if state.frame.kind == "bare" else state._replace(control=control)


@functools.cache
def expressions_of(syntax, contexts, functions):
    """The Expressions of a place; contexts and functions: tuples of names."""
    return Expressions(syntax, contexts, functions)


class ByState:
    """What a function says of a state, in brackets like the arrays of a ByteAutomaton."""

    def __init__(self, function):
        self.function = function

    def __getitem__(self, state):
        return self.function(state)


class ExpressionText:
    """Texts of one kind in one place, as a text automaton (see utf8.py). Known by its identity.

    kind       one of situations.KINDS
    """

    is_expression = True

    def __init__(self, contexts, functions, kind, more_functions=(), is_clean=False):
        """contexts: names. functions: {name: (least, most) arguments}, besides FUNCTIONS.

        more_functions: the same of other places, to share with them what does not depend on names.
        is_clean: see clean_syntax.py.
        """
        contexts = tuple(name.lower() for name in contexts)
        functions = {name.lower(): tuple(n) for name, n in functions.items()} | FUNCTIONS
        more = {name.lower(): tuple(n) for name, n in dict(more_functions).items()} | functions
        if is_clean:
            functions, more = plain_functions(functions), plain_functions(more)
        all_contexts = tuple(dict.fromkeys((*CONTEXTS, *contexts)))
        make = clean_syntax_of if is_clean else syntax_of
        syntax = make(all_contexts, tuple(sorted(more.items())))
        self.expressions = expressions_of(syntax, contexts, tuple(functions))
        self.kind = kind
        self.bytes_to_end = ByState(self.expressions.bytes_to_end)
        self.accepting = ByState(self._is_accepting)
        self.detour = ByState(self._detour)
        # whether GitHub computes each of these texts, so that nothing is known of it
        self.is_computed = kind in ("has", "whole", "one", "json")
        number = syntax.number
        if kind == "bare":
            self.start = State(number["bare"], BOTTOM[kind])
        else:
            self.start = State(number[kind, "new", ""], None)

    def run(self, state, text):
        after = self.expressions.run(state, text)
        if after is None or self.expressions.bytes_to_end(after) >= FAR:
            return DEAD
        return after

    def computes(self, state):
        """Whether GitHub computes a text that ends here; not known of the kind "some"."""
        return state.control in self.expressions.syntax.computed

    def implies(self, dfa):
        """Whether every such text is surely one that a Dfa accepts."""
        return not both(AT_LEAST[self.kind], negate(dfa)).live[0]

    def _is_accepting(self, state):
        return self.expressions.bytes_to_end(state) == 0

    def accepts(self, text):
        state = self.run(self.start, text.encode())
        return state != DEAD and self._is_accepting(state)

    def _detour(self, state):
        left = self.expressions.bytes_to_end(state)
        if left:
            return left
        if state.frame:
            return 1  # a blank
        return self.expressions.outer_detour(state)

    def words_left(self, state):
        """None: these are never just a few words."""
        return None

    def shape(self, state):
        """What all of this depends on, for caches: less than the state."""
        if self.is_deep(state):
            return state
        if state.frame is None:
            return state.control
        return state.control, state.frame.shape, state.is_compared()

    def is_literal(self, state):
        """Whether the text stands inside a string of an expression."""
        return state.control in self.expressions.syntax.literals

    def is_deep(self, state):
        """Whether the text of one token may reach the limit of nesting, or of length."""
        if state.length + LONG > MAX_GROUP:
            return True
        return state.frame is not None and state.depth() + NEAR > MAX_DEPTH

    def room(self, state):
        """So many characters are free of limits that a state which is_deep() may reach."""
        return MAX_GROUP - state.length if state.length else 0
