"""The split of documents into train and val: groups of them, each on one side as a whole."""

import numpy as np

from data.digest import digest


def group_of_project(project, seed):
    """The group of a document of a known project: all of the project."""
    return digest(f"{seed} {project}")


def group_of_near(near, seed):
    """The group of a document of no known project: all its near duplicates."""
    return digest(f"{seed} near {near}")


def split_into_groups(documents, seed):
    """Says how the documents are split. If all are of one project, they get other groups."""
    if not documents.has_project.any():
        return "near duplicates"
    if not documents.has_project.all():
        return "project; near duplicates where it is unknown"
    if np.unique(documents.groups).size > 1:
        return "project"
    documents.groups = np.array([group_of_near(near, seed) for near in documents.near], np.uint64)
    return "near duplicates, as all are of one project: validation will flatter"


def choose_validation(groups, lengths, train_split):
    """bool (documents,): is it for validation? A group falls on one side as a whole, by its hash.

    So a project is on the same side in every run and every folder with this seed.
    groups: uint64 (documents,), hashes; lengths: int64 (documents,), tokens.
    """
    if train_split in (0, 1):  # the other side comes from another folder
        return np.full(groups.size, train_split == 0)
    in_val = groups >= np.uint64(int(train_split * 2**64))
    # a project that would be a fifth of validation by itself goes to train: validation would
    # measure its style
    _, group_of = np.unique(groups, return_inverse=True)
    tokens_of_group = np.bincount(group_of, lengths)
    too_large = tokens_of_group >= 0.2 * (1 - train_split) * lengths.sum()
    without_large = in_val & ~too_large[group_of]
    if without_large.any():
        in_val = without_large
    # too few groups for chance to give each side one
    if not in_val.any():
        in_val = groups == groups.max()
    elif in_val.all():
        in_val = groups != groups.min()
    return in_val


def count_duplicates(documents, in_val, n_exact):
    """The part of meta.json on duplicates."""
    near = documents.near
    in_both = np.isin(near[in_val], near[~in_val])
    return {
        "exact": n_exact,
        "near": near.size - np.unique(near).size,
        "val_with_near_duplicate_in_train": int(in_both.sum()),
    }
