"""Open objects and arrays: what closes them, and the way from them to names that are wanted."""

from .automaton import FAR
from .grammar import EMPTY, ArrayType
from .json_text import MAX_DEPTH
from .routes import STEP, WANTED

NO_WAYS = (FAR,) * len(WANTED)
MAX_NESTING = 47  # mappings and lists that GitHub reads, one in the other


class Frame:
    """An open object or array. Immutable: a new field or item makes a new one."""

    __slots__ = (
        "type",  # ObjectType or ArrayType
        "parent",  # Frame around it, None for the document
        "keys",  # so far, folded (ObjectType.fold)
        "asked",  # keys so far on which a clause depends, or others that do the same to it
        "count",  # fields or items so far
        "depth",  # 1 for the document
        "most",  # depth that it, or what is in it, may have
        "closable",  # it may be closed now (`jobs`: if no job is promised)
        "total",  # tokens that close it and all around it
        "levels",  # of nesting that closing it needs
        "wants",  # role of a name that must still come in it
        "tail",  # all that closers can meet in it, besides closable and total
        "longer",  # what with_item() returns
        "step",  # Frame of the step that it is or stands in, or None
        "known_ways",  # what ways() returns
        "around",  # what surroundings.py remembers of it and the frames around it
        "around_ways",
    )

    def __init__(self, type, parent, keys=EMPTY, asked=EMPTY, count=0):
        self.type = type
        self.parent = parent
        self.keys = keys
        self.asked = asked
        self.count = count
        self.depth = parent.depth + 1 if parent else 1
        self.most = parent.most if parent else most_levels(type)
        self.longer = None
        self.known_ways = None
        self.around = None
        self.around_ways = None
        self.step = parent.step if parent else None
        if type.role == STEP:
            self.step = self
        tokens = self._close_array() if self.is_array() else self._close_object()
        self.closable = tokens == 1
        self.total = tokens + (parent.total if parent else 0)

    def is_array(self):
        return isinstance(self.type, ArrayType)

    def _close_array(self):
        items = self.type.items
        n_missing = max(0, self.type.least - self.count)
        self.levels = items.levels if n_missing else 0
        self.wants = items.role if n_missing else None
        self.tail = (items, min(self.count, self.type.least))
        return 1 + n_missing * items.tokens

    def _close_object(self):
        count = min(self.count, self.type.least)
        tokens, self.levels = self.type.close(self.asked, count)
        self.wants = None
        self.tail = None  # a closer in it can only be the END of the key ""
        if self.type.allows_empty_key and "" not in self.keys:
            self.tail = (self.type, self.asked, count)
        return tokens

    def ways(self):
        """Tokens of the way from here to where names of each of WANTED are given, FAR if none."""
        if self.known_ways is None:
            ways = self.parent.ways() if self.parent else NO_WAYS
            if self.type.routes:
                ways = tuple(map(min, ways, map(self.own_way, WANTED)))
            self.known_ways = ways
        return self.known_ways

    def way(self, context):
        return self.ways()[WANTED.index(context)]

    def own_way(self, context):
        """The same for the routes of this frame alone."""
        options = []
        for key, tokens in self.type.routes.get(context, ()):
            if key not in self.keys:
                options.append(tokens)
        return min(options, default=FAR)

    def workflow(self):
        """The type of the whole document."""
        frame = self
        while frame.parent:
            frame = frame.parent
        return frame.type

    def source(self, context):
        """The routes.Source of a context."""
        return self.workflow().sources[context]

    def has_id(self):
        """Whether the step around has its id."""
        return self.step.type.fold("id") in self.step.keys

    def tokens_of_step(self):
        """What a step takes at least if it is this one that may still get an id, else 0."""
        return 0 if self.step is None or self.has_id() else self.step.parent.type.items.tokens

    def can_be_completed(self):
        """Some clause is left, and nesting stays within what can be read."""
        return self.total < FAR and self.depth + self.levels <= self.most

    def has_room_for(self, value):
        return self.depth + value.levels <= self.most

    def with_item(self):
        """This array with one item more; how many there are matters up to minItems only."""
        if self.count >= self.type.least:
            return self
        if self.longer is None:
            self.longer = Frame(self.type, self.parent, count=self.count + 1)
        return self.longer

    def with_field(self, name):
        """This object with one key more."""
        type = self.type
        asked = self.asked
        if name in type.asked:
            asked = type.asked_so_far(asked | {name})
        return Frame(type, self.parent, self.keys | {type.fold(name)}, asked, self.count + 1)


def most_levels(type):
    """Levels of nesting that a document of an ObjectType may have: GitHub reads fewer of them."""
    return MAX_NESTING if type.has_rules else MAX_DEPTH
