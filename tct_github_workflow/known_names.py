"""Names that expressions use: steps.x, needs.x, matrix.x, inputs.x, jobs.x.

Keys come in any order, so a name may be used before it is given. Then it is *wanted*: the workflow
cannot be completed before it has come, and the tokens that it takes at least are part of every
budget. A name can be wanted as long as some route is left to where it would be given (routes.py).
Only within the steps a name has to be there already: that of a step before.
"""

import re
from typing import NamedTuple, Optional

from .automaton import FAR
from .clean_syntax import FILTERED
from .expression_control import NAMED_CONTEXTS
from .grammar import EMPTY
from .token_table import spelled

ANYTHING = None  # instead of names: a matrix that is computed
MAX_ID = 99
NO_MATRIX_KEYS = ("include", "exclude")
FREE_KEYS = ("inputs", "matrix")  # contexts of which a name is no id
OPENING = "${{"
PROPERTY = re.compile(r"[a-z0-9_-]*")  # a name, or the rest of one, after a dot
INDEX = re.compile(rb"\[[ \t\r\n]*'(?P<name>(?:[^']|'')*)'?[ \t\r\n]*\]?")  # or a beginning of it
ESCAPE = len("<1")  # with it an index is no name any more


class KnownNames(NamedTuple):
    """Names in lower case, as GitHub compares them. Immutable."""

    steps: frozenset = EMPTY  # ids of the steps of the job at hand
    needs: frozenset = EMPTY  # jobs that it needs
    matrix: Optional[frozenset] = EMPTY  # its keys, or ANYTHING
    inputs: frozenset = EMPTY
    jobs: frozenset = EMPTY
    last_step: frozenset = EMPTY  # the last id of a step, alone
    wanted: frozenset = EMPTY  # (context, name, tokens that it takes besides the way there)
    is_clean: bool = False  # by the rules "clean"

    def filtered(self):
        """Contexts after which .* may stand."""
        return FILTERED if self.is_clean else NAMED_CONTEXTS

    def of(self, context, frame):
        """Names of a context that an expression in a frame may use, or ANYTHING."""
        given = getattr(self, context)
        if given is ANYTHING:
            return ANYTHING
        if context == "steps" and frame.step:
            return given - self.last_step if frame.has_id() else given
        if not self.wanted:
            return given
        return given | {name for other, name, _ in self.wanted if other == context}


def give(names, context, name):
    """The Names after one that a context has from now on. names: Names."""
    known = names.known_names
    if known is None or getattr(known, context) is ANYTHING:
        return names
    name = name.lower()
    given = getattr(known, context) | {name}
    if context == "steps":
        known = known._replace(steps=given, last_step=frozenset([name]))
    else:
        known = known._replace(**{context: given})
    come = [item for item in known.wanted if item[:2] == (context, name)]
    return without(names._replace(known_names=known), come)


def give_anything(names):
    """The Names after the matrix of the job at hand has turned out to be computed."""
    known = names.known_names
    if known is None:
        return names
    come = [item for item in known.wanted if item[0] == "matrix"]
    return without(names._replace(known_names=known._replace(matrix=ANYTHING)), come)


def give_matrix_key(names, key):
    if OPENING in key:
        return give_anything(names)
    return names if key.lower() in NO_MATRIX_KEYS else give(names, "matrix", key)


def without(names, come):
    """The Names when some of those that were wanted have come."""
    if not come:
        return names
    wanted = names.known_names.wanted.difference(come)
    still_wanted = {context for context, _, _ in wanted}
    done = {context for context, _, _ in come} - still_wanted
    return names._replace(
        known_names=names.known_names._replace(wanted=wanted),
        pending=names.pending - done,
        owed=names.owed - sum(tokens for _, _, tokens in come),
    )


def use(names, context, name, frame):
    """The Names after an expression in a frame has used one, None if it cannot exist."""
    known = names.known_names.of(context, frame)
    if known is ANYTHING or name in known:
        return names
    tokens = cost_of_name(names, context, name, frame)
    if tokens >= FAR:
        return None
    wanted = names.known_names.wanted | {(context, name, tokens)}
    return names._replace(
        known_names=names.known_names._replace(wanted=wanted),
        pending=names.pending | {context},
        owed=names.owed + tokens,
    )


def cost_of_name(names, context, name, frame):
    """Tokens that it takes to give a name later, besides the way there; FAR if it cannot be."""
    if frame.way(context) >= FAR or context == "steps" and frame.step:
        return FAR
    source = frame.source(context)
    if source is None:
        return 0  # of a matrix that may be computed
    is_too_long = context not in FREE_KEYS and len(name) > MAX_ID
    is_no_key = context == "matrix" and name in NO_MATRIX_KEYS
    if is_too_long or is_no_key or not any(obj.field(name) for obj in source.types):
        return FAR
    tokens = len(name) + source.tokens
    return tokens + names.cost_of_need(name) if context == "needs" else tokens


def tokens_to_finish(names, reading, frame):
    """Tokens that complete the name that an expression has begun, besides what the text takes."""
    context, begun = reading
    known = names.known_names.of(context, frame)
    if known is ANYTHING:
        return 0
    if not begun and context in names.known_names.filtered():
        return 0  # a *
    if begun.startswith(b"["):
        name = name_in_index(begun)
        return ESCAPE if name is not None and name not in known else 0
    return tokens_to_property(names, context, begun.decode().lower(), frame, known)


def tokens_to_property(names, context, begun, frame, known):
    """The same of a name after a dot. known: the names that there are."""
    options = []
    n_there = max(1, len(begun))  # the text takes one letter after a dot
    for name in known:
        if name.startswith(begun) and PROPERTY.fullmatch(name, len(begun)):
            options.append(len(name) - n_there)
    way = 0 if context in names.pending else frame.way(context)
    if way < FAR:
        for n_more in range(1 + len(names.jobs)):  # the job itself, for example, is none it needs
            name = begun + "a" * (n_there - len(begun) + n_more)
            tokens = cost_of_name(names, context, name, frame)
            if tokens < FAR:
                options.append(n_more + tokens + way)
                break
    return min(options, default=FAR)


def name_in_index(begun):
    """The name in lower case that an index such as ['x'] holds or begins; None if none yet."""
    match = INDEX.fullmatch(begun)
    if match is None:
        return None
    name = spelled(match["name"].replace(b"''", b"'"))
    return "\0" if name is None else name.lower()  # within a character: no name is like that


def begin_job(names, job):
    """The Names when a job begins, by its key."""
    known = names.known_names
    if known is None:
        return names
    known = known._replace(steps=EMPTY, needs=EMPTY, matrix=EMPTY, last_step=EMPTY)
    return give(names._replace(known_names=known), "jobs", job)


def wanted_of(names, context):
    """[(name, tokens)] of those that are wanted."""
    if context not in names.pending:
        return []
    return [(name, tokens) for other, name, tokens in names.known_names.wanted if other == context]
