"""Ids of jobs and steps, and GitHub's rules between them.

- An id is shorter than 100 characters. A job's id is used once in the workflow and a step's id once
  in its job, without regard to case.
- `needs` names jobs of the workflow, earlier or later ones. A later one is *promised*: `jobs`
  cannot be closed before it has come, and the tokens that it takes at least are part of every
  budget.
- No job needs itself, be it through others. So one job at least needs none.
"""

from typing import NamedTuple

from .alphabet import CONSTANT, KEY
from .automaton import FAR
from .grammar import EMPTY, ObjectType

JOBS, NEEDS, STEP_ID = "jobs", "needs", "step-id"  # roles that a schema gives to its parts
MAX_ID = 99
# From n names on, all of which begin alike and are of the same length, another length is taken for
# a new name: an id has 37 characters or more to continue with.
CROWD = 20


class Names(NamedTuple):
    """The names so far, while `jobs` is open. Immutable: a new name makes a new one."""

    type: ObjectType = None  # of `jobs`; None outside of it, and any name will do
    jobs: frozenset = EMPTY  # ids so far, that of the job at hand included
    needs: frozenset = EMPTY  # pairs: a job, another that it needs
    promised: frozenset = EMPTY  # ids that a `needs` names and that are still to come
    owed: int = 0  # tokens that these jobs take at least
    job: str = None  # the id of the job at hand
    steps: frozenset = EMPTY  # ids of its steps so far, in upper case
    has_rules: bool = True  # whether there are any of these rules in the grammar

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
        return Names(self.type, jobs, self.needs, promised, owed, job=name)

    def _is_promised_in_other_case(self, name):
        return any(p != name and p.upper() == name.upper() for p in self.promised)

    def add_step(self, name):
        """The names after a step's id, None if it cannot have that id."""
        if self.type is None:
            return self
        if len(name) > MAX_ID or name.upper() in self.steps:
            return None
        return self._replace(steps=self.steps | {name.upper()})

    def add_need(self, name):
        """The names after one more job that the job at hand needs, None if it must not."""
        if self.type is None:
            return self
        if name in self.jobs or name in self.promised:
            if self.is_needed_by(name, self.job):
                return None
            return self._replace(needs=self.needs | {(self.job, name)})
        if len(name) > MAX_ID or name.upper() in self.taken(NEEDS):
            return None
        return self._replace(
            needs=self.needs | {(self.job, name)},
            promised=self.promised | {name},
            owed=self.owed + self.cost_of_job(name),
        )

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

    def add(self, role, name):
        """The names after a string with a role, None if it must not be that one."""
        if role == NEEDS:
            return self.add_need(name)
        return self.add_step(name) if role == STEP_ID else self

    def taken(self, role):
        """Ids, in upper case, that a new name of this role must not be."""
        if role == STEP_ID:
            return self.steps
        return {name.upper() for name in self.jobs | self.promised}

    def known(self, role):
        """All that add() and tokens_for() depend on, for caches."""
        if role == STEP_ID:
            return self.steps
        return self._replace(steps=EMPTY)

    def tokens_for(self, role, text, to_more):
        """Tokens that complete a string of this role which begins with `text`, its END included.

        to_more: bytes until it is complete, one more at least. With the job that it promises.
        """
        options = []
        if text and text not in CONSTANT:
            after = self.add(role, text)
            if after is not None:
                options.append(1 + after.owed - self.owed)
        n_more = to_more + n_crowded(self.taken(role), text)
        longer = len(text) + n_more
        if longer <= MAX_ID:
            promise = longer + 1 + self.job_tokens() if role == NEEDS else 0
            options.append(n_more + 1 + promise)
        if role == NEEDS:
            for name in self.jobs | self.promised:
                if name.startswith(text) and name not in CONSTANT and self.add_need(name):
                    options.append(len(name) - len(text) + 1)
        return min(options, default=FAR)

    def job_tokens(self):
        """Tokens of a job without its key."""
        return self.type.field("a").tokens


def n_crowded(taken, text):
    """How many characters more than one it takes until names that begin with a text are free.

    taken: names in upper case. Too high an answer does no harm: it stays a way to the end.
    """
    begun = text.upper()
    n = 0
    while True:
        length = len(begun) + n + 1
        if sum(len(name) == length and name.startswith(begun) for name in taken) < CROWD:
            return n
        n += 1


OUTSIDE = Names()
NO_RULES = Names(has_rules=False)
# Masks are remembered for any names at all: these ask nothing, but `jobs` cannot be closed
PROMISING = Names(promised=frozenset(["\0"]))
