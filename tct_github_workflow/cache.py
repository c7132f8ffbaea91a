"""A cache with a limit, for what costs much and is wanted again by a key of its own."""

from collections import OrderedDict


class Cache:
    """At most `limit` values by key: the one that was last asked for longest ago leaves first."""

    def __init__(self, limit):
        self.limit = limit
        self.values = OrderedDict()

    def get(self, key, make):
        """The value of a key, made by make() if it is not there."""
        if key in self.values:
            self.values.move_to_end(key)
            return self.values[key]
        value = self.values[key] = make()
        if len(self.values) > self.limit:
            self.values.popitem(last=False)
        return value
