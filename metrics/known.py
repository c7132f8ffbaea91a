"""How much of a workflow is text that the training set has: which validation workflows are new."""

import numpy as np

RUN = 12  # tokens, some 100 bytes of JSON
NEW = 0.5  # a workflow is new if less than this share of its tokens is known


def known_shares(documents, train):
    """The share of each document's tokens that stand in a run of RUN tokens that train has, too.

    documents, train: lists of ids. A document of fewer than RUN tokens has no run: its share is 0.
    """
    wanted = set()
    for document in documents:
        wanted.update(get_runs(document))
    known = set()
    for document in train:
        known.update(wanted.intersection(get_runs(document)))
    return np.array([share_in(document, known) for document in documents])


def get_runs(document):
    """Every run of RUN tokens, in order, as bytes."""
    ids = np.asarray(document, np.uint16)
    data = ids.tobytes()
    size = ids.itemsize
    return [data[i : i + RUN * size] for i in range(0, len(data) - RUN * size + 1, size)]


def share_in(document, known):
    """The share of a document's tokens that stand in these runs."""
    is_known = np.zeros(len(document), bool)
    for begin, run in enumerate(get_runs(document)):
        if run in known:
            is_known[begin : begin + RUN] = True
    return is_known.mean()
