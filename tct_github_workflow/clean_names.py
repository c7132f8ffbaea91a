"""What the rules "clean" ask of names besides known_names.py, and of what is written before alone.

Of needs.x.outputs.y the job x has to declare it, or to call a workflow; of matrix.x.y some mapping
in the row x has to have it. So of each job its outputs are remembered, and of the job at hand what
the rows of its matrix hold.

names, in these functions, is a names.Names under these rules.
"""

from typing import NamedTuple, Optional

from .grammar import EMPTY
from .routes import ANYTHING

STAR = "*"  # instead of a name: all of them


class CleanNames(NamedTuple):
    """Names in lower case. Immutable."""

    row: Optional[str] = None  # key of the row of the matrix at hand
    members: frozenset = EMPTY  # (key of a row with mappings, a key in these or STAR)
    outputs: Optional[frozenset] = EMPTY  # of the job at hand, or ANYTHING
    done: frozenset = EMPTY  # (a job that is complete, its outputs or ANYTHING)

    def members_of(self, row):
        """The keys in the mappings of a row that has begun, or ANYTHING."""
        members = frozenset(name for other, name in self.members if other == row)
        return ANYTHING if STAR in members else members

    def outputs_of(self, job):
        """The outputs of a job that may be read, or ANYTHING: none, if it is not complete."""
        return dict(self.done).get(job, EMPTY)


def begin_row(names, key, kinds):
    """The Names when a row of the matrix of some kinds begins, by its key."""
    names = replace_clean(names, row=key.lower())
    is_computed = len(kinds) > 1
    return give_member(names, STAR) if is_computed else names


def give_member(names, key):
    """The Names after a key of a mapping in the row at hand; STAR stands for any."""
    clean = names.known_names.clean
    return replace_clean(names, members=clean.members | {(clean.row, key.lower())})


def give_output(names, name):
    """The Names after the job at hand has declared an output."""
    outputs = names.known_names.clean.outputs
    if outputs is ANYTHING:
        return names
    return replace_clean(names, outputs=outputs | {name.lower()})


def give_any_outputs(names):
    """The Names when the job at hand has the outputs of another workflow."""
    return replace_clean(names, outputs=ANYTHING)


def end_job(names):
    """The Names when the job at hand is complete."""
    clean = names.known_names.clean
    done = clean.done | {(names.job.lower(), clean.outputs)}
    return replace_clean(names, row=None, members=EMPTY, outputs=EMPTY, done=done)


def replace_clean(names, **fields):
    """The Names with other values of some fields of its CleanNames."""
    clean = names.known_names.clean._replace(**fields)
    return names._replace(known_names=names.known_names._replace(clean=clean))
