"""Keys that `exclude` names: the matrix has to have each of them as a key of its own, a *row*.

Unless anything in the matrix is computed, be it a key or a value: then GitHub asks when it runs.
Keys come in any order, so `exclude` may come first. Then the rows that the matrix lacks are wanted,
as names of known_names.py are: the matrix cannot be closed before all of them have come, or
something that is computed. That one takes always the same tokens (routes.py): they are part of
every budget as long as a row is wanted.

names, in these functions, is a names.Names.
"""

from .grammar import EMPTY
from .known_names import NO_MATRIX_KEYS, OPENING
from .routes import ANYTHING, EXCLUDED, ROWS

NO_ROW = "\1"  # no key is like that


def begin_matrix(names):
    return names._replace(rows=EMPTY)


def end_matrix(names):
    return names._replace(rows=ANYTHING)


def is_within_matrix(names):
    """Whether rows matter: a matrix is open, and nothing in it is computed so far."""
    return names.rows is not ANYTHING


def has_rows(type):
    """Whether an ObjectType is that of a matrix."""
    return ROWS in type.routes


def after_key(names, type, key):
    """The Names after a key of an object within a matrix. type: of the object."""
    if OPENING in key:
        return after_computed(names)
    if type.role == EXCLUDED:
        return after_excluded(names, key)
    if has_rows(type) and key not in NO_MATRIX_KEYS:
        return after_row(names, key.upper())
    return names


def after_row(names, row):
    names = names._replace(rows=names.rows | {row}, excluded=names.excluded - {row})
    return names if names.excluded else names._replace(pending=names.pending - {ROWS})


def after_excluded(names, key):
    """The Names after `exclude` has named a key; None is one that is not complete."""
    row = NO_ROW if key is None else key.upper()
    if row in names.rows:
        return names
    return names._replace(excluded=names.excluded | {row}, pending=names.pending | {ROWS})


def after_computed(names):
    """The Names after something in the matrix has turned out to be computed."""
    return names._replace(rows=ANYTHING, excluded=EMPTY, pending=names.pending - {ROWS})
