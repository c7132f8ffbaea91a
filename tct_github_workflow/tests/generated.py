"""Workflows made up by hypothesis: WORKFLOW covers the schema; generated(n) is n JSON texts."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tct_github_workflow import alphabet
from tct_github_workflow.schema import SCHEMA

# texts that look like parts of the linearised string
FORGERIES = [
    alphabet.ESC,
    alphabet.ESC * 3,
    alphabet.ESC + "\uf000",
    alphabet.ESC * 2 + "\uf000\uf000",
    alphabet.ESC + "x",
    "x" + alphabet.END,
    alphabet.EOD + "x",
    alphabet.OBJECT + alphabet.KEY["steps"] + alphabet.END,
    "\uf000\ue000\uefff\uf8ff",
    alphabet.LAST + chr(ord(alphabet.LAST) + 1),
]


def obj(required, optional=None, at_most=4):
    """Objects with all required and some optional fields (name -> strategy), in any order."""
    optional = optional or {}
    names = (
        st.lists(st.sampled_from([*optional]), unique=True, max_size=at_most)
        if optional
        else st.just([])
    )
    orders = names.flatmap(lambda chosen: st.permutations([*required, *chosen]))
    return orders.flatmap(
        lambda order: st.fixed_dictionaries({k: (required | optional)[k] for k in order})
    )


def some(item, least=1):
    return st.lists(item, min_size=least, max_size=3)


JOB_NAMES = st.from_regex(r"[_a-zA-Z][a-zA-Z0-9_-]{0,5}", fullmatch=True)


def named(item, names=JOB_NAMES, least=0):
    return st.dictionaries(names, item, min_size=least, max_size=2)


TEXT = (
    st.text(max_size=10)
    | st.text("\0\n \ue000\ue004\uf000${}é😀", max_size=4)
    | st.sampled_from([*alphabet.KEYS, *alphabet.CONSTANTS, *FORGERIES, "3.10"])
)
NUMBER = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**399), 10**399)
)
BOOL, EXPR = st.booleans(), st.text("ab}{$ \n", max_size=5).map("${{%s}}".__mod__)
SCALAR, FLAG, MINUTES, GLOBS = (
    TEXT | NUMBER | BOOL,
    BOOL | EXPR,
    NUMBER | EXPR,
    some(TEXT.filter(len)),
)
ANY = st.recursive(SCALAR | st.none(), lambda x: some(x, 0) | named(x, TEXT), max_leaves=6)
CONFIGURATION = st.recursive(SCALAR, lambda x: some(x, 0) | named(x, TEXT), max_leaves=6)
ENV = named(SCALAR, TEXT) | EXPR.map("a{}b".format)
PERMISSIONS = st.sampled_from(["read-all", "write-all"]) | obj(
    {}, {"pages": st.sampled_from(["read", "write", "none"]), "id-token": st.just("write")}
)
CONCURRENCY = TEXT | obj({"group": TEXT}, {"cancel-in-progress": FLAG, "queue": st.just("max")})
DEFAULTS = obj({"run": obj({"shell": TEXT}, {"working-directory": TEXT})})
PUSH = [
    {"branches": GLOBS, "tags-ignore": GLOBS, "paths": GLOBS},
    {"branches-ignore": GLOBS, "tags": GLOBS, "paths-ignore": GLOBS},
]
PULL = st.one_of(st.none(), *(obj({}, filters | {"types": some(ANY) | TEXT}) for filters in PUSH))
INPUT = obj(
    {"type": st.sampled_from(["boolean", "number", "string"])},
    {"required": BOOL, "default": SCALAR, "description": TEXT},
)
CALL = st.none() | obj(
    {},
    {
        "inputs": named(INPUT),
        "outputs": named(obj({"value": TEXT}, {"description": TEXT})),
        "secrets": named(obj({}, {"required": BOOL})),
        "anything": ANY,
    },
)
NAMES = SCHEMA["definitions"]["event"]["enum"]
EVENTS = {name: st.none() | named(ANY, TEXT) for name in NAMES} | {
    "push": st.one_of(st.none(), *(obj({}, filters) for filters in PUSH)),
    "pull_request": PULL,
    "pull_request_target": PULL,
    "workflow_call": CALL,
    "schedule": some(obj({"cron": TEXT}, {"timezone": TEXT})),
}
COMMON = {
    "id": TEXT,
    "if": SCALAR,
    "name": TEXT,
    "with": ENV,
    "env": ENV,
    "continue-on-error": FLAG,
    "timeout-minutes": MINUTES,
    "background": BOOL,
}
STEPS = st.deferred(
    lambda: st.one_of(
        obj({"run": TEXT}, COMMON | {"working-directory": TEXT, "shell": TEXT}),
        obj({"uses": TEXT}, COMMON),
        obj({"wait": TEXT | some(TEXT)}, COMMON),
        obj({"wait-all": BOOL | st.none()}, COMMON),
        obj({"cancel": TEXT}, COMMON),
        obj({"parallel": some(STEPS)}, COMMON, 1),
    )
)
INCLUDE = EXPR | some(named(CONFIGURATION, TEXT))
MATRIX = EXPR | obj(
    {"os": EXPR | some(CONFIGURATION)},
    {"include": INCLUDE, "exclude": INCLUDE, "": some(CONFIGURATION), "\ue003": EXPR},
)
CONTAINER = {
    "credentials": obj({}, {"username": TEXT, "password": TEXT, "more": ANY}),
    "env": ENV,
    "ports": some(NUMBER | TEXT),
    "volumes": some(TEXT),
}
SHARED = {
    "name": TEXT,
    "needs": TEXT.map(lambda _: "a-1") | some(st.just("_b")),
    "permissions": PERMISSIONS,
    "if": SCALAR,
    "concurrency": CONCURRENCY,
    "cache-mode": st.just("read"),
    "strategy": obj({"matrix": MATRIX}, {"fail-fast": BOOL | TEXT, "max-parallel": NUMBER | TEXT}),
}
JOB = obj(
    {
        "runs-on": TEXT
        | some(TEXT)
        | obj({}, {"group": TEXT, "labels": TEXT | some(TEXT, 0), "more": ANY})
    },
    SHARED
    | {
        "steps": some(STEPS),
        "env": ENV,
        "outputs": named(TEXT, TEXT, 1),
        "defaults": DEFAULTS,
        "timeout-minutes": MINUTES,
        "continue-on-error": FLAG,
        "environment": TEXT | obj({"name": TEXT}, {"url": TEXT, "deployment": FLAG}),
        "container": TEXT | obj({"image": TEXT}, CONTAINER),
        "services": named(
            obj({"image": TEXT}, CONTAINER | {"command": TEXT, "entrypoint": TEXT}), TEXT
        ),
        "snapshot": TEXT
        | obj({"image-name": TEXT}, {"version": st.sampled_from(["1", "1.2", "3*"])}),
    },
    7,
)
CALLED = obj(
    {"uses": st.sampled_from(["./a.yml", "o/r/.github/workflows/x.yaml@v1"])},
    SHARED | {"with": ENV, "secrets": ENV | st.just("inherit")},
)
WORKFLOW = obj(
    {
        "on": st.sampled_from(NAMES) | some(st.sampled_from(NAMES)) | obj({}, EVENTS),
        "jobs": named(JOB | CALLED, least=1),
    },
    {
        "name": TEXT,
        "run-name": TEXT,
        "env": ENV,
        "defaults": DEFAULTS,
        "concurrency": CONCURRENCY,
        "permissions": PERMISSIONS,
    },
)


def generated(n):
    """n workflows as JSON texts, the same in every run."""
    texts = []

    @settings(
        max_examples=n, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(WORKFLOW)
    def collect(workflow):
        texts.append(json.dumps(workflow))

    collect()
    return texts
