"""How much workflows are like others: copies of training workflows, and of one another."""

from typing import NamedTuple

import numpy as np

import tct_github_workflow as tct
from metrics.report import progress, rate, table
from tct_github_workflow.json_text import dump_json
from tct_github_workflow.vocab import PAD

RUN = 3  # tokens, some 22 bytes of text
ID_BITS = 13  # of a token
VERY_ALIKE = 0.8


class Index(NamedTuple):
    """The shingles of many documents, for nearest()."""

    shingles: np.ndarray  # of all documents, sorted
    owners: np.ndarray  # the document that each is of
    sizes: np.ndarray  # how many each document has


class Pair(NamedTuple):
    """A sample and a training document."""

    likeness: float
    sample: int
    document: int


def shingle(ids):
    """The distinct runs of 3 tokens, each packed into an integer.

    https://en.wikipedia.org/wiki/W-shingling
    """
    ids = np.asarray(ids, np.int64)
    n_missing = max(0, RUN - len(ids))
    ids = np.pad(ids, (0, n_missing), constant_values=PAD)
    pairs = ids[:-2] << ID_BITS | ids[1:-1]
    packed = pairs << ID_BITS | ids[2:]
    return np.unique(packed)


def make_index(documents):
    each = [shingle(d) for d in documents]
    sizes = np.array([len(shingles) for shingles in each])
    shingles = np.concatenate(each)
    order = np.argsort(shingles, kind="stable")
    owners = np.repeat(np.arange(len(each)), sizes)
    return Index(shingles[order], owners[order], sizes)


def nearest(ids, index, but=None):
    """(likeness, number) of the document most like ids, other than number `but`.

    likeness: the Jaccard similarity of the sets of shingles, 0 to 1.
    """
    mine = shingle(ids)
    begins = np.searchsorted(index.shingles, mine)
    ends = np.searchsorted(index.shingles, mine, side="right")
    owners = [index.owners[a:b] for a, b in zip(begins, ends, strict=True)]
    shared = np.bincount(np.concatenate(owners), minlength=len(index.sizes))
    likeness = shared / (len(mine) + index.sizes - shared)
    if but is not None:
        likeness[but] = -1
    return float(likeness.max()), int(likeness.argmax())


# --------------------------------------------------------------------------------------------------
# measuring


def measure_likeness(samples, real, train):
    """({"samples": figures, "real": figures}, Pair or None) of workflows that fit the schema.

    samples, real: dicts; train: the ids of each training document. The pair: the sample most like a
    training document without being a copy. As many samples as real ones are compared with one
    another, since the nearest among many is nearer than the nearest among few.
    """
    index = make_index(train)
    few = min(len(samples), len(real))
    figures, closest = measure_originality(samples, train, index, few)
    figures_of_real, _ = measure_originality(real, train, index, few)
    return {"samples": figures, "real": figures_of_real}, closest


def measure_originality(workflows, train, index, few):
    """(figures, Pair or None) of one group. few: so many of them are compared with one another."""
    ids = []
    nearest_in_train = []
    for workflow in progress(workflows, "likeness"):
        ids.append(tct.encode(dump_json(workflow)))
        nearest_in_train.append(nearest(ids[-1], index))
    known = {packed_ids(d) for d in train}
    is_copy = [packed_ids(d) in known for d in ids]
    likenesses = [likeness for likeness, _ in nearest_in_train]
    drawn = np.random.default_rng(0).permutation(len(ids))[:few]
    figures = {
        "n": len(ids),
        "exact": sum(is_copy),
        "over_0.8": sum(likeness > VERY_ALIKE for likeness in likenesses),
        "distinct": len({tuple(d) for d in ids}),
        "nearest": float(np.median(likenesses)),
        "self": median_likeness_among([ids[i] for i in drawn]),
        "sizes": measure_sizes(workflows, ids),
    }
    closest = None
    for i, (likeness, document) in enumerate(nearest_in_train):
        is_closer = closest is None or likeness > closest.likeness
        if is_closer and not is_copy[i]:
            closest = Pair(likeness, sample=i, document=document)
    return figures, closest


def packed_ids(document):
    return np.asarray(document, np.uint16).tobytes()


def median_likeness_among(documents):
    """Of each one to the nearest of the others; None where there are no others."""
    if len(documents) < 2:
        return None
    index = make_index(documents)
    likenesses = []
    for i, document in enumerate(documents):
        likeness, _ = nearest(document, index, but=i)
        likenesses.append(likeness)
    return float(np.median(likenesses))


def measure_sizes(workflows, ids):
    """{what: [10% have less, half have less, 90% have less, mean]}"""
    n_steps = []
    for workflow in workflows:
        jobs = workflow["jobs"].values()
        n_steps.append(sum(len(job.get("steps", [])) for job in jobs))
    sizes = {
        "tokens": [len(d) for d in ids],
        "jobs": [len(workflow["jobs"]) for workflow in workflows],
        "steps": n_steps,
    }
    return {what: spread(values) for what, values in sizes.items()}


def spread(values):
    percentiles = np.percentile(values, (10, 50, 90)).tolist()
    return [*percentiles, float(np.mean(values))]


# --------------------------------------------------------------------------------------------------
# wording

COUNTS = [  # figure, label
    ("exact", "copies of a training workflow"),
    ("over_0.8", "likeness to one over 0.8"),
    ("distinct", "distinct"),
]


def likeness_page(figures, closest, apart):
    """The section of results.md: a list of paragraphs.

    figures, closest: what measure_likeness() returned. apart: the file that shows the closest pair.
    """
    groups = [figures["samples"], figures["real"]]
    few = min(group["n"] for group in groups)
    rows = []
    for figure, label in COUNTS:
        rows.append([label, *(rate(group[figure], group["n"]) for group in groups)])
    medians = [
        ("nearest", "likeness to the nearest training workflow, median"),
        ("self", f"likeness to the nearest of {few} of their own, median"),
    ]
    for figure, label in medians:
        rows.append([label, *(median_cell(group[figure]) for group in groups)])
    for what in groups[0]["sizes"]:
        cells = ["{:.0f}, {:.0f}, {:.0f}; {:.1f}".format(*group["sizes"][what]) for group in groups]
        rows.append([f"{what}: 10%, median, 90%; mean", *cells])
    page = [
        "## Not copied, not collapsed\n",
        "Of what fits the schema. Likeness: Jaccard similarity of the sets of runs of 3 tokens. "
        "The real workflows are of other projects than the training set.\n",
        table(["", "samples", "real"], *rows),
    ]
    if closest:
        page.append(
            f"The most alike pair that is no copy (likeness {closest.likeness:.2f}) is shown in "
            f"{apart}, apart: the training workflow is its author's, not for publishing.\n"
        )
    return page


def median_cell(value):
    return "-" if value is None else f"{value:.2f}"


def closest_page(sample, document):
    """The file that shows the closest pair, both as dicts."""
    page = "# The sample most like a training workflow without being a copy, and that workflow\n"
    for workflow in (sample, document):
        page += f"\n```yaml\n{tct.json_to_yaml(dump_json(workflow))}```\n"
    return page
