"""The most telling figures of a run's results, and those of several runs side by side."""

from metrics.report import rate, table
from metrics.validity import GITHUB_RUNG, REFERENCES_RUNG, SCHEMA_RUNG

HEADLINE_HEAD = ["measure", "value", "real workflows, or the better baseline"]
BASELINE = "most frequent after the same step"
NEXT_STEP = [  # measure, counted among, label
    ("exact", "cuts", "next step exactly right"),
    ("action", "uses", "next step, the right action"),
    ("job", "cuts", "rest of the job exactly right"),
]
FACTS = ("step", "val_sha256", "tokenizer_hash", "temperature", "seed")  # that runs are compared by


def headline(results):
    """[(measure, its value, that of real workflows or the better baseline)] of what was measured.

    results: what results.json holds. Raises LookupError or TypeError if it does not.
    """
    rows = []
    if "likelihood" in results:
        rows += likelihood_rows(results["likelihood"])
    rows += validity_rows(results)
    if "copies" in results:
        rows += likeness_rows(results["copies"], results["looks"]["actions"])
    if "completion" in results:
        rows += completion_rows(results["completion"])
    return rows


def likelihood_rows(figures):
    return [
        ("bits per byte of minified JSON", f"{figures['bits_per_byte']:.3f}", ""),
        ("loss, nats per token", f"{figures['nats_per_token']:.3f}", ""),
        ("perplexity per token", f"{figures['perplexity']:.1f}", ""),
    ]


def validity_rows(results):
    def rung(group, number):
        return rate(results[group]["rungs"][number], results[group]["n"])

    real = rung("real", SCHEMA_RUNG)
    rows = [
        ("fit the schema", rung("samples", SCHEMA_RUNG), real),
        ("and keep GitHub's rules", rung("samples", GITHUB_RUNG), rung("real", GITHUB_RUNG)),
        (
            "and have names that resolve",
            rung("samples", REFERENCES_RUNG),
            rung("real", REFERENCES_RUNG),
        ),
    ]
    if "unconstrained" in results:
        samples = results["samples"]
        stopped = rate(samples["finish"].get("stop", 0), samples["n"])
        rows.append(
            ("fit the schema, sampled unconstrained", rung("unconstrained", SCHEMA_RUNG), real)
        )
        rows.append(
            (
                "and keep GitHub's rules, sampled unconstrained",
                rung("unconstrained", GITHUB_RUNG),
                rung("real", GITHUB_RUNG),
            )
        )
        rows.append(("finished by themselves, constrained", stopped, ""))
    return rows


def likeness_rows(copies, distances):
    groups = copies.values()
    rows = []
    for figure, label in (("exact", "copies of a training workflow"), ("distinct", "distinct")):
        rates = [rate(group[figure], group["n"]) for group in groups]
        rows.append((f"of those that fit: {label}", *rates))
    medians = [f"{group['nearest']:.2f}" for group in groups]
    rows.append(("likeness to the nearest training workflow (1: the same), median", *medians))
    distances = [f"{d:.2f}" for d in distances.values()]
    rows.append(("distance from real actions (0: none, 1: nothing in common)", *distances))
    return rows


def completion_rows(figures):
    rows = []
    for measure, among, label in NEXT_STEP:
        n = figures[among]
        rates = [rate(figures[who][measure], n) for who in ("model", BASELINE)]
        rows.append((label, *rates))
    return rows


def compare_page(runs):
    """A table with a column for each run. runs: {folder: what its results.json holds}."""
    columns = []
    for results in runs.values():
        columns.append({measure: value for measure, value, _ in headline(results)})
    measures = []
    for column in columns:
        measures += [measure for measure in column if measure not in measures]
    rows = []
    for measure in measures:
        rows.append([measure, *(column.get(measure, "-") for column in columns)])
    for fact in FACTS:
        rows.append([fact, *(str(run["facts"].get(fact))[:20] for run in runs.values())])
    page = table(["", *runs], *rows)
    if len({str(run["facts"].get("val_sha256")) for run in runs.values()}) > 1:
        page += (
            "\nNot the same validation workflows: bits per byte, completions and distances do not "
            "compare.\n"
        )
    return page
