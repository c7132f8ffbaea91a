"""What names change in the costs of a place before a text in which a token uses some.

Such a token brings the beginning of a text with it, and often the key before.
"""

import functools
from typing import NamedTuple

import numpy as np

from .alphabet import KEY
from .automaton import FAR
from .cache import Cache
from .expression_control import CONTEXTS as ALL_CONTEXTS
from .expressions import ExpressionText
from .frames import Frame
from .name_costs import costs_of_tokens, tokens_with_keys
from .reading import follow_names
from .reference_costs import (
    NO_CHANGES,
    changes_of_uses,
    group_uses,
    known_to,
    tokens_with_mentions,
)
from .routes import JOBS, KEYS_TO, STEP
from .rules import github_rules
from .surroundings import ways_around
from .threads import VALUE
from .token_table import token_table
from .utf8 import DEAD

_changes = Cache(1 << 12)
_before_text = Cache(1 << 12)


def with_begun_references(thread, place_costs, costs, base, key, costs_if_pending):
    """costs, with what the names change that are used in a text which a token begins.

    thread: with the keys alone on which place_costs, the costs of the place, or ways depend.
    """
    frame = frame_of_texts(thread.frame)
    known = known_to(thread, frame)
    texts = conditions = NO_CHANGES
    if leads_elsewhere(thread, place_costs):
        key = (key, known)
        to_read = tokens_with_mentions()
    else:
        make = functools.partial(changes_before_text, thread.names, frame)
        texts, conditions = _changes.get(known, make)
        if texts is conditions is NO_CHANGES:
            return costs
        key = (key, texts, conditions, ways_around(thread.frame))
        to_read = filter(functools.partial(begins_condition, thread), conditions.ids)

    def make():
        parts = list(texts.of_tokens(thread, place_costs, base, costs_if_pending))
        ids = [token for token in to_read if place_costs[token] < FAR]
        parts.append((ids, costs_of_tokens(thread, base, ids)))  # after the changes: these hold
        ids = np.concatenate([ids for ids, _ in parts]).astype(np.int64)
        values = np.concatenate([values for _, values in parts])
        if (values == place_costs[ids]).all():
            return (), ()
        return ids, values

    ids, values = _before_text.get(key, make)
    if not len(ids):
        return costs
    costs = costs.copy()
    costs[ids] = np.where(costs[ids] < FAR, values, FAR)
    return costs


def changes_before_text(names, frame):
    """-> (Changes of tokens that begin a text, of those that begin a condition without braces)."""
    in_text = uses_of_openings(names.is_clean(), is_bare=False)
    bare = uses_of_openings(names.is_clean(), is_bare=True)
    return changes_of_uses(names, frame, in_text), changes_of_uses(names, frame, bare)


def frame_of_texts(frame):
    """The frame in which the texts of the next tokens stand; it may be a step that they open."""
    if frame.is_array():
        for obj in frame.type.items.objects:
            if obj.role == STEP:
                return Frame(obj, frame)
    return frame


def leads_elsewhere(thread, place_costs):
    """Whether a token may lead to where other names are: into another job, the steps, a matrix."""
    if thread.names.job is None or thread.frame.type.role == JOBS:
        return True
    if thread.mode == VALUE and "steps" in thread.value.routes:
        return True
    return any(place_costs[token] < FAR for token in tokens_on_routes())


class Opening(NamedTuple):
    """A token whose text uses names if an expression may stand in it."""

    id: int
    in_text: tuple  # (names used, reading), in a text with braces around its expressions
    bare: tuple  # the same in a condition without; () if it is none
    has_route: bool  # it opens the field of a key that leads to names


@functools.cache
def openings(is_clean):
    """[Opening], of all tokens. is_clean: by the rules "clean"."""
    functions = {}
    for place in github_rules()["places"].values():
        functions.update(place["functions"])
    in_text = ExpressionText(ALL_CONTEXTS, functions, "text", is_clean=is_clean)
    bare = ExpressionText(ALL_CONTEXTS, functions, "bare", is_clean=is_clean)
    on_a_route = frozenset().union(*map(tokens_with_keys, KEYS_TO.values()))
    found = []
    for i in tokens_with_mentions():
        text = token_table().parts[i].text
        has_route = i in on_a_route
        found.append(Opening(i, use_of(in_text, text), use_of(bare, text), has_route))
    return found


def use_of(automaton, text):
    """(names that a text uses, one that it begins or None); () if it is none or uses none."""
    after, used, reading = follow_names(automaton, automaton.start, None, text)
    if after == DEAD or not (used or reading):
        return ()
    return used, reading


@functools.cache
def uses_of_openings(is_clean, is_bare):
    """[Uses] of openings(), in one of their readings."""
    found = {}
    for token in openings(is_clean):
        use = token.bare if is_bare else token.in_text
        if use:
            found.setdefault(use, []).append(token.id)
    return group_uses(found)


@functools.cache
def tokens_on_routes():
    return [token.id for token in openings(is_clean=False) if token.has_route]


def begins_condition(thread, token):
    """Whether the text of a token may be a condition without braces."""
    openers = token_table().parts[token].openers
    if openers or thread.mode != VALUE:
        return openers.endswith(KEY["if"])
    return any(text.kind == "bare" for text in thread.value.expressions)
