"""Names that expressions use: steps.x, needs.x, matrix.x, inputs.x, jobs.x, needs.x.outputs.y.

Keys come in any order, so a name may be used before it is given. Then it is *wanted*: the workflow
cannot be completed before it has come, and the tokens that it takes at least are part of every
budget. A name can be wanted as long as some route is left to where it would be given (routes.py).
Only within the steps a name has to be there already: that of a step before.

The rules "clean" ask more, and for what is written before alone: of needs.x.outputs.y that the job
x declares it, or calls a workflow; of needs.* that the job needs some; of matrix.x.y that some
mapping in the row x has it.
"""

import re
from typing import NamedTuple, Optional

from .automaton import FAR
from .clean_syntax import FILTERED
from .expression_control import NAMED_CONTEXTS
from .grammar import EMPTY
from .routes import MEMBERS, TEXT
from .token_table import spelled

ANYTHING = None  # instead of names: a matrix that is computed
MAX_ID = 99
NO_MATRIX_KEYS = ("include", "exclude")
FREE_KEYS = ("inputs", "matrix")  # contexts of which a name is no id
OPENING = "${{"
PROPERTY = re.compile(r"[a-z_][a-z0-9_-]*")  # a name that may stand after a dot
INDEX = re.compile(rb"\[[ \t\r\n]*'(?P<name>(?:[^']|'')*)'?[ \t\r\n]*\]?")  # or a beginning of it
PATH = "path"  # context of a reading: what follows needs.x
STAR = "*"  # instead of a name: all of them
ESCAPE = len("<1")  # with it an index is no name any more


class Reading(NamedTuple):
    """A name that an expression has begun."""

    context: str  # one of routes.CONTEXTS, "outputs", "members" or PATH
    begun: bytes  # of it, after the dot, or from the [ on
    of: str = None  # the job or the key of the matrix that it is read of


class KnownNames(NamedTuple):
    """Names in lower case, as GitHub compares them. Immutable."""

    steps: frozenset = EMPTY  # ids of the steps of the job at hand
    needs: frozenset = EMPTY  # jobs that it needs
    matrix: Optional[frozenset] = EMPTY  # its keys, or ANYTHING
    inputs: frozenset = EMPTY
    jobs: frozenset = EMPTY
    last_step: frozenset = EMPTY  # the last id of a step, alone
    wanted: frozenset = EMPTY  # (context, name, tokens that it takes besides the way there)
    is_clean: bool = False  # by the rules "clean", to which alone the others are of use
    row: Optional[str] = None  # key of the row of the matrix at hand
    members: frozenset = EMPTY  # (key of a row with mappings, a key in these)
    outputs: Optional[frozenset] = EMPTY  # of the job at hand, or ANYTHING
    done: Optional[frozenset] = EMPTY  # (a job that is written, its outputs or ANYTHING)

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


def give_anything(names, context="matrix"):
    """The Names when the matrix of the job at hand is computed, or its outputs are another's."""
    known = names.known_names
    if known is None:
        return names
    come = [item for item in known.wanted if item[0] == context]
    known = known._replace(**{context: ANYTHING})
    return without(names._replace(known_names=known), come)


def give_matrix_key(names, key, kinds=(TEXT,)):
    """The Names after a key of a matrix, None if it must be of another kind: see routes.py."""
    if OPENING in key:
        return give_anything(names)
    key = key.lower()
    known = names.known_names
    if known is None or known.matrix is ANYTHING or key in NO_MATRIX_KEYS:
        return names
    given = [key + kind for kind in kinds]
    if known.is_clean:
        given = [name for name in given if not is_of_other_kind(names, name)]
    after = names
    for name in given:
        after = give_folded(after, "matrix", name)
    return after if given else None


def begin_row(names, key, kinds):
    """The Names when a row of the matrix of some kinds begins, by its key."""
    known = names.known_names._replace(row=key.lower())
    names = names._replace(known_names=known)
    is_computed = len(kinds) > 1
    return give_member(names, STAR) if is_computed else names


def give_member(names, key):
    """The Names after a key of a mapping in the row at hand; STAR stands for any."""
    known = names.known_names
    members = known.members | {(known.row, key.lower())}
    return names._replace(known_names=known._replace(members=members))


def is_of_other_kind(names, name):
    """Whether matrix.x must be of another kind than the name of this one says: see routes.py."""
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

    name: of "outputs" and "members" a pair, what is read of and the name.
    """
    if context in READ_OF:
        of, name = name
        known = READ_OF[context](names, of)
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
    if not is_key or names.known_names.is_clean and is_of_other_kind(names, name):
        return FAR
    return len(key) + source.tokens + (source.more if name != key else 0)


def tokens_to_finish(names, reading, frame):
    """Tokens that complete the name that an expression has begun, besides what the text takes."""
    context, begun, of = reading
    if context == PATH:
        return 0
    if context in READ_OF:
        known = READ_OF[context](names, of)
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
    if names.known_names.is_clean and not names.known_names.needs:
        return False
    return context in names.known_names.filtered()


def letters_left(known, begun):
    """[letters that are left of a name] of those that begin so, besides what the text takes."""
    begun = begun.decode().lower()
    n_there = max(1, len(begun))  # the text takes one letter after a dot
    options = []
    for name in known:
        if not name.startswith(begun):
            continue
        if PROPERTY.fullmatch(name):
            options.append(len(name) - n_there)
        elif PROPERTY.fullmatch(name.removesuffix(MEMBERS)):
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
    if known.is_clean:
        known = known._replace(row=None, members=EMPTY, outputs=EMPTY)
    return give(names._replace(known_names=known), "jobs", job)


def end_job(names):
    """The Names when the job at hand is complete."""
    known = names.known_names
    if names.job is None or known is None or not known.is_clean:
        return names
    done = known.done | {(names.job.lower(), known.outputs)}
    return names._replace(known_names=known._replace(done=done))


def outputs_of(names, job):
    """The outputs of a job that may be read, or ANYTHING: none, if it is not written yet."""
    done = names.known_names.done
    return ANYTHING if done is ANYTHING else dict(done).get(job, EMPTY)


def wanted_of(names, context):
    """[(name, tokens)] of those that are wanted."""
    if context not in names.pending:
        return []
    return [(name, tokens) for other, name, tokens in names.known_names.wanted if other == context]


def members_of(names, key):
    """What may be read of matrix.x, by its key, or ANYTHING: the row is to come, or computed."""
    matrix = names.known_names.matrix
    members = frozenset(name for row, name in names.known_names.members if row == key)
    is_to_come = matrix is not ANYTHING and key + MEMBERS not in matrix
    return ANYTHING if matrix is ANYTHING or is_to_come or STAR in members else members


READ_OF = {"members": members_of, "outputs": outputs_of}
