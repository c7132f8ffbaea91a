"""Matcher: which token may come next so that a valid workflow can still be completed.

Exactly those, in any order of keys: threads.py says what one token does, masks.py what all do.
"""

import contextlib
import functools
import gc

import numpy as np

from .automaton import FAR
from .begun_references import openings
from .clean_names import CleanNames
from .compiler import grammar
from .errors import DecodeError
from .known_names import KnownNames
from .masks import thread_costs
from .rules import DEFAULT_RULES, NAMES
from .text_costs import text_costs
from .threads import DONE, advance, start_document, tokens_to_end
from .vocab import PAD, VOCAB_SIZE

# Of the rules under which names in expressions must resolve
NAMES_AT_START = {"references": KnownNames(), "clean": KnownNames(clean=CleanNames())}


class Matcher:
    """Where a workflow stands after some tokens, and what may follow.

    Names follow XGrammar's GrammarMatcher. `tokens_left`, where given, is how many tokens may still
    come, the next one included: then only those are allowed after which the workflow can be
    completed within the rest, spelled in symbols and bytes if need be (a bound that min_tokens()
    gives and that a budget which starts at min_tokens() or more never breaks).
    """

    def __init__(self, prefix=(), rules=DEFAULT_RULES):
        """At the start of a workflow, or after the ids `prefix`.

        rules: one of rules.NAMES, which says what they are. Raises DecodeError where no valid
        workflow begins so.
        """
        if rules not in NAMES:
            raise ValueError(f"rules={rules!r}: one of {', '.join(map(repr, NAMES))} is needed")
        warm_up(rules)
        self.threads = start_document(grammar(rules).root, NAMES_AT_START.get(rules))
        for i, token in enumerate(prefix):
            if not self.accept_token(token):
                raise DecodeError(f"token {i}: no valid workflow continues with {token!r} here")

    def accept_token(self, token, tokens_left=None):
        """Takes the token, or returns False and stays where it was."""
        if not 0 <= token < PAD:
            return False
        threads = advance(self.threads, token)
        if tokens_left is not None:
            threads = [thread for thread in threads if tokens_to_end(thread) < tokens_left]
        if threads:
            self.threads = threads
        return bool(threads)

    def next_token_mask(self, out=None, tokens_left=None):
        """(8192,) bool array, or the row `out` filled: True for what accept_token would take."""
        out = np.zeros(VOCAB_SIZE, bool) if out is None else out
        out[:] = False
        for thread in self.threads:
            if thread.mode != DONE:
                costs, base = thread_costs(thread, tokens_left)
                limit = FAR if tokens_left is None else max(0, min(FAR, tokens_left - base))
                out |= costs < limit
        return out

    def is_terminated(self):
        """The workflow is complete: nothing may follow."""
        return self.threads[0].mode == DONE

    def min_tokens(self):
        """That many tokens are enough to complete the workflow; 0 when it is complete."""
        return min(map(tokens_to_end, self.threads))

    def fork(self):
        """An independent copy, at once: states are shared and never change."""
        copy = object.__new__(Matcher)
        copy.threads = self.threads
        return copy


@contextlib.contextmanager
def made_to_stay():
    """What is made in here stays: Python's garbage collector passes over it, now and later.

    Else a collection that goes through all of it holds up some mask by 50 ms.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@functools.cache
def warm_up(rules):
    """What the first masks of a process would spend their time on, once."""
    with made_to_stay():
        for value in grammar(rules).values.values():
            texts = list(value.texts)
            for obj in value.objects:
                texts += [other.text for other in obj.others if other.names.live[0]]
            for text in texts:
                text_costs(text, text.start)
        if rules in NAMES_AT_START:
            openings(is_clean=rules == "clean")
