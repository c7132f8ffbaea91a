"""Facts about data/split.py: which documents are for validation."""

import numpy as np

from data.split import choose_validation


def test_a_group_falls_on_one_side_and_both_sides_have_one():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n_groups, n = rng.integers(2, 30), rng.integers(2, 200)
        hashes_of_groups = rng.integers(2**64, size=n_groups, dtype=np.uint64)
        group_of = rng.integers(n_groups, size=n)
        group_of[:2] = 0, 1
        groups = hashes_of_groups[group_of]
        lengths = rng.integers(1, 1000, n)
        in_val = choose_validation(groups, lengths, rng.uniform(0.01, 0.99))
        assert in_val.any() and not in_val.all()
        assert not set(groups[in_val]) & set(groups[~in_val])


def test_the_split_is_by_hash_but_a_group_that_would_be_most_of_validation_goes_to_train():
    groups = np.array([1, 2, 3] * 30 + [2**63 + 1 + i for i in range(60)], np.uint64)
    lengths = np.full(150, 10)
    in_val = choose_validation(groups, lengths, 0.5)
    assert in_val.tolist() == [False] * 90 + [True] * 60
    lengths[-1] = 1000
    in_val = choose_validation(groups, lengths, 0.5)
    assert in_val.tolist() == [False] * 90 + [True] * 59 + [False]
