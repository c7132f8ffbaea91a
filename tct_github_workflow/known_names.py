"""Names that expressions use: steps.x, needs.x, matrix.x, inputs.x, jobs.x, needs.x.outputs.y.

Keys come in any order, so a name may be used before it is given. Then it is *wanted*: the workflow
cannot be completed before it has come, and the tokens that it takes at least are part of every
budget. A name can be wanted as long as some route is left to where it would be given (routes.py).
Only within the steps a name has to be there already: that of a step before.

The rules "clean" ask more: see clean_names.py.
"""

import re
from typing import NamedTuple, Optional

from .automaton import FAR
from .clean_names import STAR, CleanNames
from .clean_syntax import FILTERED
from .expression_control import NAMED_CONTEXTS
from .grammar import EMPTY
from .routes import ANYTHING, MEMBERS, TEXTS
from .token_table import spelled

MAX_ID = 99
NO_MATRIX_KEYS = ("include", "exclude")
FREE_KEYS = ("inputs", "matrix")  # contexts of which a name is no id
OPENING = "${{"
PROPERTY = re.compile(r"[a-z_][a-z0-9_-]*")  # a name that may stand after a dot
INDEX = re.compile(rb"\[[ \t\r\n]*'(?P<name>(?:[^']|'')*)'?[ \t\r\n]*\]?")  # or a beginning of it
PATH = "path"  # context of a reading: what follows needs.x, by the rules "clean"
READ_OF = ("members", "outputs")  # the same: names that are read of a row, or of a job
ESCAPE = len("<1")  # with it an index is no name any more


class Reading(NamedTuple):
    """A name that an expression has begun."""

    context: str  # one of routes.CONTEXTS or READ_OF, or PATH
    begun: bytes  # of it, after the dot, or from the [ on
    of: str = None  # the job or the row that it is read of, where the context is no other


class KnownNames(NamedTuple):
    """Names in lower case, as GitHub compares them. Immutable."""

    steps: frozenset = EMPTY  # ids of the steps of the job at hand
    needs: frozenset = EMPTY  # jobs that it needs
    matrix: Optional[frozenset] = EMPTY  # its keys, or ANYTHING
    inputs: frozenset = EMPTY
    jobs: frozenset = EMPTY
    last_step: frozenset = EMPTY  # the last id of a step, alone
    wanted: frozenset = EMPTY  # (context, name, tokens that it takes besides the way there)
    clean: Optional[CleanNames] = None  # where the rules "clean" hold

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

    def read_of(self, context, of):
        """Names of one of READ_OF that an expression may read of a job or row, or ANYTHING."""
        if context == "outputs":
            return self.clean.outputs_of(of)
        is_begun = self.matrix is not ANYTHING and of + MEMBERS in self.matrix
        return self.clean.members_of(of) if is_begun else ANYTHING


def give(names, context, name):
    """The Names after one that a context has from now on. names: Names."""
    return give_folded(names, context, name.lower())


def give_folded(names, context, name):
    """The same of a name in lower case, or of a row with its kind: see routes.py."""
    known = names.known_names
    if known is None or getattr(known, context) is ANYTHING:
        return names
    given = getattr(known, context) | {name}
    if context == "steps":
        known = known._replace(steps=given, last_step=frozenset([name]))
    else:
        known = known._replace(**{context: given})
    come = [item for item in known.wanted if item[:2] == (context, name)]
    return without(names._replace(known_names=known), come)


def give_anything(names):
    """The Names when the matrix of the job at hand is computed."""
    known = names.known_names
    if known is None:
        return names
    come = [item for item in known.wanted if item[0] == "matrix"]
    known = known._replace(matrix=ANYTHING)
    return without(names._replace(known_names=known), come)


def give_matrix_key(names, key, kinds=(TEXTS,)):
    """The Names after a key of a matrix, None if it must be of another kind: see routes.py."""
    if OPENING in key:
        return give_anything(names)
    key = key.lower()
    known = names.known_names
    if known is None or known.matrix is ANYTHING or key in NO_MATRIX_KEYS:
        return names
    given = [key + kind for kind in kinds]
    given = [name for name in given if not is_of_other_kind(names, name)]
    after = names
    for name in given:
        after = give_folded(after, "matrix", name)
    return after if given else None


def is_of_other_kind(names, name):
    """Whether matrix.x must be of another kind than this name says: by the rules "clean" alone."""
    key = name.removesuffix(MEMBERS)
    other = key if name != key else key + MEMBERS
    known = names.known_names.matrix.union(name for name, _ in wanted_of(names, "matrix"))
    return other in known and name not in known


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
    """The Names after an expression in a frame has used one, None if it cannot exist.

    name: of a context in READ_OF a pair, what is read of and the name.
    """
    if context in READ_OF:
        of, name = name
        known = names.known_names.read_of(context, of)
        return names if known is ANYTHING or name in known else None
    known = names.known_names.of(context, frame)
    if known is ANYTHING or name in known:
        return names
    if name == STAR:
        return names if names.known_names.needs else None
    tokens = cost_of_name(names, context, name, frame)
    if tokens >= FAR:
        return None
    wanted = names.known_names.wanted | {(context, name, tokens)}
    return names._replace(
        known_names=names.known_names._replace(wanted=wanted),
        pending=names.pending | {context},
        owed=names.owed + tokens,
    )


def use_all(names, used, frame):
    """The Names after expressions have used some: [(context, name)]; None if one cannot exist."""
    for context, name in used:
        names = use(names, context, name, frame)
        if names is None:
            return None
    return names


def cost_of_name(names, context, name, frame):
    """Tokens that it takes to give a name later, besides the way there; FAR if it cannot be."""
    if frame.way(context) >= FAR or context == "steps" and frame.step:
        return FAR
    source = frame.source(context)
    if source is None:
        return 0  # of a matrix that may be computed
    if context == "matrix":
        return cost_of_row(names, name, source)
    is_too_long = context not in FREE_KEYS and len(name) > MAX_ID
    if is_too_long or not any(obj.field(name) for obj in source.types):
        return FAR
    tokens = len(name) + source.tokens
    return tokens + names.cost_of_need(name) if context == "needs" else tokens


def cost_of_row(names, name, source):
    """The same of a name of the matrix."""
    key = name.removesuffix(MEMBERS)
    is_key = key not in NO_MATRIX_KEYS and any(obj.field(key) for obj in source.types)
    if not is_key or is_of_other_kind(names, name):
        return FAR
    return len(key) + source.tokens + (source.more if name != key else 0)


def tokens_to_finish(names, reading, frame):
    """Tokens that complete the name that an expression has begun, besides what the text takes."""
    context, begun, of = reading
    if context == PATH:
        return 0
    if context in READ_OF:
        known = names.known_names.read_of(context, of)
        return 0 if known is ANYTHING else min(letters_left(known, begun), default=FAR)
    known = names.known_names.of(context, frame)
    if known is ANYTHING:
        return 0
    if not begun and may_be_filtered(names, context):
        return 0
    if begun.startswith(b"["):
        name = name_in_index(begun)
        return ESCAPE if name is not None and name not in known else 0
    return tokens_to_property(names, context, begun.decode().lower(), frame, known)


def tokens_to_property(names, context, begun, frame, known):
    """The same of a name after a dot. known: the names that there are."""
    options = letters_left(known, begun.encode())
    n_there = max(1, len(begun))
    way = 0 if context in names.pending else frame.way(context)
    if way < FAR:
        # the job itself, for example, is none it needs
        for n_more in range(1 + len(names.jobs) + len(known)):
            name = begun + "a" * (n_there - len(begun) + n_more)
            tokens = cost_of_name(names, context, name, frame)
            if tokens < FAR:
                options.append(n_more + tokens + way)
                break
    return min(options, default=FAR)


def may_be_filtered(names, context):
    """Whether a * may stand after a context and a dot."""
    if not names.is_clean():
        return context in NAMED_CONTEXTS
    return context in FILTERED and bool(names.known_names.needs)


def letters_left(known, begun):
    """[letters that are left of a name] of those that begin so, besides what the text takes."""
    begun = begun.decode().lower()
    n_there = max(1, len(begun))  # the text takes one letter after a dot
    options = []
    for name in known:
        if name.startswith(begun) and PROPERTY.fullmatch(name.removesuffix(MEMBERS)):
            options.append(len(name) - n_there)
    return options


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
