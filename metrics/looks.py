"""Whether workflows look like real ones: what they are made of, how far apart two groups are."""

import collections
import json
import math

import numpy as np

from metrics.report import table

# objects whose keys their authors choose
FREE_KEYS = ("jobs", "env", "with", "secrets", "outputs", "inputs", "services")
SHOWN_VALUES = 8  # of each feature, in the picture
LABEL_WIDTH = 28  # characters, in the picture


def get_action(step):
    """owner/name of the action that a step uses, without its version; None for a script."""
    return step["uses"].split("@")[0] if "uses" in step else None


def get_features(workflow):
    """What a workflow is made of: {feature: list of strings}."""
    events = workflow["on"]
    if isinstance(events, str):
        events = [events]
    features = {
        "events": list(events),
        "runners": [],
        "actions": [],
        "step kinds": [],
        "keys": [],
        "keys per object": [],
    }
    for job in workflow["jobs"].values():
        if "runs-on" in job:
            runner = job["runs-on"]
            if not isinstance(runner, str):
                runner = json.dumps(runner)
            features["runners"].append(runner)
        for step in job.get("steps", []):
            if "uses" in step:
                features["actions"].append(get_action(step))
            features["step kinds"].append(" + ".join(sorted(step)))
    for key, mapping in find_objects(workflow):
        if not is_free(key):
            features["keys"] += [f"{key}.{k}" for k in mapping]
        features["keys per object"].append(str(len(mapping)))
    return features


def is_free(key):
    return key in FREE_KEYS or key.startswith("matrix")


def find_objects(workflow):
    """[(the key that an object stands under, the object)], of all objects in a workflow."""
    objects = []
    todo = [("workflow", workflow)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            objects.append((key, value))
            for k, v in value.items():
                todo.append((f"{key}.*" if is_free(key) else k, v))
        elif isinstance(value, list):
            todo += [(key + "[]", v) for v in value]
    return objects


def get_shares(all_features, feature):
    """{value: its share among all values of this feature}, the most frequent first."""
    counts = collections.Counter()
    for features in all_features:
        counts.update(features[feature])
    total = counts.total()
    return {value: n / total for value, n in counts.most_common()}


def distance(p, q):
    """Total variation, 0 (the same) to 1 (nothing in common), of two {value: share}.

    1 if just one of them is empty.
    """
    if not p or not q:
        return float(bool(p or q))
    values = {*p, *q}
    apart = [abs(p.get(value, 0) - q.get(value, 0)) for value in values]
    # fsum: a set's order changes from run to run, and with it the last digit of a plain sum
    return math.fsum(apart) / 2


# --------------------------------------------------------------------------------------------------
# measuring, wording, drawing


def measure_looks(samples, train, real):
    """{feature: {"samples": distance from real, "train": the same}}.

    Each argument: what get_features() returned, of each workflow.
    """
    looks = {}
    for feature in real[0]:
        shares = get_shares(real, feature)
        looks[feature] = {
            "samples": distance(get_shares(samples, feature), shares),
            "train": distance(get_shares(train, feature), shares),
        }
    return looks


def looks_page(looks, picture):
    """The section of results.md: a list of paragraphs. picture: the file's name."""
    rows = []
    for feature, distances in looks.items():
        cells = [f"{d:.2f}" for d in distances.values()]
        rows.append([feature, *cells])
    return [
        "## Looks like the real thing\n",
        "Total variation distance from the validation set: 0 is the same, 1 has nothing in common. "
        "Beside it that of as many training workflows: the floor. Keys count together with the key "
        "of the object that they are in; keys per object are how many an object has.\n",
        table(["distance of", "samples", "training workflows"], *rows),
        f"![samples beside real workflows]({picture})\n",
    ]


def draw_looks(file, samples, real):
    """A PNG: the most frequent values of each feature in real workflows, the sum of all others, and
    beside them the samples'."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 2, figsize=(10, 12))
    for ax, feature in zip(axes.flat, real[0], strict=True):
        draw_feature(ax, feature, get_shares(samples, feature), get_shares(real, feature))
    figure.legend(*ax.get_legend_handles_labels(), loc="upper center", ncols=2)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(file, dpi=110, format="png")
    plt.close(figure)


def draw_feature(ax, feature, samples, real):
    """samples, real: {value: share}."""
    values = list(real)[:SHOWN_VALUES]
    y = np.arange(len(values) + 1)
    bars = [  # label, shares, distance from the middle, colour
        ("real (validation)", real, -0.2, "0.6"),
        ("samples", samples, 0.2, "tab:blue"),
    ]
    for label, shares, offset, color in bars:
        widths = [shares.get(value, 0) for value in values]
        widths.append(sum(shares.values()) - sum(widths))
        ax.barh(y + offset, [100 * width for width in widths], 0.4, label=label, color=color)
    labels = [shorten(value) for value in values] + ["all others"]
    ax.set_yticks(y, labels, fontsize=9)
    ax.invert_yaxis()
    ax.set(title=f"{feature}: distance {distance(real, samples):.2f}", xlabel="share (%)")


def shorten(label):
    if len(label) >= LABEL_WIDTH:
        label = label[: LABEL_WIDTH - 3] + "..."
    return label.replace("$", r"\$")  # which would begin a formula
