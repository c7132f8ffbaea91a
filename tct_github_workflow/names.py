"""Ids of jobs and steps, and GitHub's rules between them.

- An id is shorter than 100 characters. A job's id is used once in the workflow and a step's id once
  in its job, without regard to case.
- `needs` names jobs of the workflow, earlier or later ones. A later one is *promised*: `jobs`
  cannot be closed before it has come, and the tokens that it takes at least are part of every
  budget.
- No job needs itself, be it through others. So one job at least needs none.

Where expressions may use only names that there are, known_names.py follows these, too.
"""

import functools
from typing import NamedTuple, Optional

from .alphabet import CONSTANT, KEY
from .automaton import FAR
from .clean_names import CleanNames
from .grammar import EMPTY, ObjectType
from .known_names import (
    MAX_ID,
    KnownNames,
    begin_job,
    give,
    give_anything,
    wanted_of,
)
from .routes import ANYTHING, COMPUTED, CONTEXTS, NEEDS, ROW, ROWS, STEP_ID

CONTEXT_OF = {NEEDS: "needs", STEP_ID: "steps"}  # the context of names with a role
# From n names on, all of which begin alike and are of the same length, another length is taken for
# a new name: an id has 37 characters or more to continue with.
CROWD = 20
NEVER_GIVEN = "\1"  # no name is like that


class Names(NamedTuple):
    """The names so far, most of them while `jobs` is open. Immutable: a name makes a new one."""

    type: ObjectType = None  # of `jobs`; None outside of it, and any name will do
    jobs: frozenset = EMPTY  # ids so far, that of the job at hand included
    needs: frozenset = EMPTY  # pairs: a job, another that it needs
    promised: frozenset = EMPTY  # ids that a `needs` names and that are still to come
    owed: int = 0  # tokens that these jobs, and names that are wanted, take at least
    job: str = None  # the id of the job at hand
    steps: frozenset = EMPTY  # ids of its steps so far, in upper case
    has_rules: bool = True  # whether there are any of these rules in the grammar
    known_names: Optional[KnownNames] = None  # where names in expressions must resolve
    pending: frozenset = EMPTY  # contexts of which a name is wanted, and ROWS
    # keys of the matrix at hand, in upper case; ANYTHING outside of one, or if it is computed
    rows: Optional[frozenset] = ANYTHING
    excluded: frozenset = EMPTY  # those that it excludes and that are still to come
    in_row: frozenset = EMPTY  # strings so far of the row at hand, where none comes twice

    def cost_of_job(self, name):
        """Tokens of a job, the key included."""
        key = 1 if name in KEY else len(name) + 1
        return key + self.job_tokens()

    def start_job(self, name):
        """The names after the key of a job, None if it cannot have that id."""
        if self.type is None:
            return self
        if len(name) > MAX_ID or self._is_promised_in_other_case(name):
            return None
        promised, owed = self.promised, self.owed
        if name in promised:
            promised = promised - {name}
            owed -= self.cost_of_job(name)
        jobs = self.jobs | {name}
        names = self._replace(jobs=jobs, promised=promised, owed=owed, job=name)
        names = names._replace(steps=EMPTY, in_row=EMPTY)
        return begin_job(names, name)

    def _is_promised_in_other_case(self, name):
        return any(p != name and p.upper() == name.upper() for p in self.promised)

    def add_step(self, name):
        """The names after a step's id, None if it cannot have that id."""
        if self.type is None:
            return self
        if self.refuses_step(name):
            return None
        return give(self._replace(steps=self.steps | {name.upper()}), "steps", name)

    def add_need(self, name):
        """The names after one more job that the job at hand needs, None if it must not."""
        if self.type is None:
            return self
        if self.refuses_need(name):
            return None
        if name in self.jobs or name in self.promised:
            return give(self._replace(needs=self.needs | {(self.job, name)}), "needs", name)
        names = self._replace(
            needs=self.needs | {(self.job, name)},
            promised=self.promised | {name},
            owed=self.owed + self.cost_of_job(name),
        )
        return give(give(names, "needs", name), "jobs", name)

    def refuses(self, role, name):
        """Whether a string with a role must not be that one."""
        if self.type is None:
            return False
        if role == ROW:
            return name in self.in_row
        return self.refuses_need(name) if role == NEEDS else self.refuses_step(name)

    def refuses_step(self, name):
        return len(name) > MAX_ID or name.upper() in self.steps

    def refuses_need(self, name):
        if name in self.jobs or name in self.promised:
            is_twice = self.is_clean() and (self.job, name) in self.needs
            return is_twice or self.is_needed_by(name, self.job)
        return len(name) > MAX_ID or name.upper() in self.taken(NEEDS)

    def is_clean(self):
        """Whether the rules "clean" hold."""
        return bool(self.known_names and self.known_names.clean)

    def cost_of_need(self, name):
        """Tokens of the job that it takes to need `name`, in lower case; FAR if it must not."""
        for job in self.jobs | self.promised:
            if job.lower() == name:
                return FAR if self.is_needed_by(job, self.job) else 0
        return len(name) + 1 + self.job_tokens()

    def is_needed_by(self, name, job):
        """Whether `name` is `job` or needs it, be it through others: then `job` cannot need it."""
        todo = [name]
        seen = {name}
        while todo:
            waiting = todo.pop()
            for a, b in self.needs:
                if a == waiting and b not in seen:
                    seen.add(b)
                    todo.append(b)
        return job in seen

    @functools.lru_cache(1 << 10)  # noqa: B019 (few, and values themselves)
    def add(self, role, name):
        """The names after a string with a role, None if it must not be that one."""
        if role == NEEDS:
            return self.add_need(name)
        if role == COMPUTED:
            return give_anything(self)
        if role == ROW:
            return None if name in self.in_row else self._replace(in_row=self.in_row | {name})
        return self.add_step(name) if role == STEP_ID else self

    def outside_jobs(self):
        """The names after the end of `jobs`."""
        if self.known_names is None:
            return OUTSIDE
        return OUTSIDE._replace(known_names=self.known_names, pending=self.pending, owed=self.owed)

    def taken(self, role):
        """Ids, in upper case, that a new name of this role must not be."""
        if role == STEP_ID:
            return self.steps
        if role == ROW:
            return upper(self.in_row)
        return upper(self.jobs | self.promised)

    def known(self, role):
        """All that add() and tokens_for() depend on, for caches."""
        if role == STEP_ID:
            return self.steps, tuple(wanted_of(self, "steps"))
        known = self.known_names
        if known:
            clean = CleanNames() if known.clean else None
            known = KnownNames(wanted=known.wanted, clean=clean)
        return self._replace(steps=EMPTY, in_row=EMPTY, known_names=known)

    @functools.lru_cache(1 << 10)  # noqa: B019 (few, and values themselves)
    def tokens_for(self, role, text, to_more, is_last=False):
        """Tokens that complete a string of this role which begins with `text`, its END included.

        to_more: bytes until it is complete, one more at least. With the job that it promises.
        is_last: no other string of this role can come after it.
        """
        options = []
        if text and text not in CONSTANT:
            options.append(self.tokens_of_end(role, text, is_last))
        n_more = to_more + n_crowded(self.taken(role), text)
        longer = len(text) + n_more
        if longer <= MAX_ID and not (is_last and CONTEXT_OF[role] in self.pending):
            promise = longer + 1 + self.job_tokens() if role == NEEDS else 0
            options.append(n_more + 1 + promise)
        for name in self.likely(role, text):
            tokens = self.tokens_of_end(role, name, is_last)
            options.append(len(name) - len(text) + tokens)
        return min(options, default=FAR)

    def tokens_of_end(self, role, name, is_last):
        """Tokens that the END of a name takes with all that it promises; FAR if it must not end."""
        after = self.add(role, name)
        if after is None or is_last and CONTEXT_OF[role] in after.pending:
            return FAR
        return 1 + after.owed - self.owed

    def likely(self, role, text):
        """Names with which a string of this role may end, so that it promises none that is new."""
        found = []
        for name in self.jobs | self.promised if role == NEEDS else ():
            if name.startswith(text):
                found.append(name)
        for name, _ in wanted_of(self, CONTEXT_OF[role]):
            if name.startswith(text.lower()):
                rest = name[len(text) :]
                found += [text + rest, text + rest.upper()]  # one of them may have a symbol
        return [name for name in found if name not in CONSTANT]

    def job_tokens(self):
        """Tokens of a job without its key."""
        return self.type.field("a").tokens


@functools.lru_cache(1 << 8)
def upper(names):
    return frozenset(name.upper() for name in names)


def n_crowded(taken, text):
    """How many characters more than one it takes until names that begin with a text are free.

    taken: names in upper case. Too high an answer does no harm: it stays a way to the end.
    """
    if len(taken) < CROWD:
        return 0
    begun = text.upper()
    n = 0
    while True:
        length = len(begun) + n + 1
        if sum(len(name) == length and name.startswith(begun) for name in taken) < CROWD:
            return n
        n += 1


OUTSIDE = Names()
NO_RULES = Names(has_rules=False)


@functools.cache
def any_names(is_promising, pending):
    """Names that ask nothing: masks are remembered for any names at all.

    is_promising: some job is promised, which does not come, so that `jobs` cannot be closed.
    pending: contexts of which a name is wanted that does not come.
    """
    promised = frozenset(["\0"]) if is_promising else EMPTY
    is_excluding = ROWS in pending
    wanted = frozenset((context, NEVER_GIVEN, 0) for context in pending if context != ROWS)
    known_names = KnownNames(*[ANYTHING] * len(CONTEXTS), wanted=wanted)
    return Names(
        promised=promised,
        known_names=known_names,
        pending=pending,
        rows=EMPTY if is_excluding else ANYTHING,
        excluded=frozenset([NEVER_GIVEN]) if is_excluding else EMPTY,
    )
