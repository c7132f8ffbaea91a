"""What is around a frame, as far as one token can close it: what remembered costs depend on.

Equal surroundings are one object, known by its identity: that is sooner hashed than all of it.
"""

from .cache import Cache
from .token_table import token_table

_equal = Cache(1 << 14)


def surroundings(frame, pending):
    """-> (all that the closers of one token can meet in this frame and around it, base).

    Costs in it count from `base` on, so that they are the same wherever a workflow stands.
    pending: contexts of which a name is wanted.
    """
    if frame.around is None:
        frames = frames_around(frame)
        base = frames[-1].total
        around = []
        for other in frames:
            is_document = other.depth == 1
            around += [other.closable, other.total - base, other.tail, is_document]
        frame.around = _equal.get(tuple(around), object), base
    around, base = frame.around
    if pending:
        around = (around, ways_around(frame))
    return around, base


def ways_around(frame):
    """The ways to names that are wanted, from this frame and from those around it."""
    if frame.around_ways is None:
        ways = []
        for other in frames_around(frame):
            ways += [other.ways(), other.tokens_of_step()]
        frame.around_ways = _equal.get(tuple(ways), object)
    return frame.around_ways


def frames_around(frame):
    """The frames that one token may close, from the inside, and the one around them."""
    chain = [frame]
    while frame.parent and len(chain) <= token_table().most_closed:
        frame = frame.parent
        chain.append(frame)
    return chain
