"""The order of training data: even, seeded, and a function of the step alone."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distill import read_manifest
from distill.data.batching import padding_share
from distill.data.sampling import BatchSampler
from distill.recipe.paths import packaged


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 5))
def test_every_utterance_is_visited_equally_often(n, batch_size, seed):
    sampler = BatchSampler(tuple(float(i) for i in range(n)), batch_size, (seed, 0))
    visits = np.bincount([i for step in range(3 * n) for i in sampler.batch(step)], minlength=n)
    assert (visits == 3 * batch_size).all()


def test_a_step_does_not_depend_on_the_steps_before():
    one, other = (BatchSampler(tuple(range(50)), 8, (3, 1), 20, 0.2) for _ in range(2))
    forward = [one.batch(step) for step in range(60)]
    assert [other.batch(step) for step in reversed(range(60))] == forward[::-1]


def test_seed_and_stage_change_the_order():
    durations = tuple(range(50))
    orders = {tuple(BatchSampler(durations, 8, key).batch(0)) for key in ((0, 0), (1, 0), (0, 1), (0, 0, 1))}
    assert len(orders) == 4


def test_curriculum_admits_the_shortest_first_and_all_at_the_end():
    durations = tuple(np.random.default_rng(0).permutation(100).astype(float))
    sampler = BatchSampler(durations, 10, (0, 0), curriculum_steps=50, start_fraction=0.1)
    assert max(durations[i] for i in sampler.batch(0)) < 10
    longest = [max(durations[i] for i in sampler.batch(step)) for step in range(50)]
    assert np.mean(longest[40:]) > 2 * np.mean(longest[:10])
    assert len(set(sampler.batch(25))) == 10
    seen = {i for step in range(50, 60) for i in sampler.batch(step)}
    assert seen == set(range(100))


class TestBuckets:
    """Utterances of similar length in a batch, and the same ones visited as without."""

    @given(st.integers(1, 60), st.integers(1, 17), st.integers(0, 5), st.integers(1, 9))
    def test_every_epoch_visits_what_it_did_without(self, n, batch_size, seed, buckets):
        plain = BatchSampler(tuple(float(i % 7) for i in range(n)), batch_size, (seed, 0))
        bucketed = replace(plain, bucket_batches=buckets)
        for epoch in range(3):
            first, end = -(-epoch * n // batch_size), (epoch + 1) * n // batch_size
            visited = [sorted(i for step in range(first, end) for i in s.batch(step)) for s in (plain, bucketed)]
            assert visited[0] == visited[1]
            assert len(set(visited[1])) == len(visited[1])
            if end * batch_size % n:
                assert bucketed.batch(end) == plain.batch(end), "the batch that two epochs share"

    def test_a_step_does_not_depend_on_the_steps_before(self):
        durations = tuple(np.random.default_rng(0).uniform(1, 20, 100))
        one, other = (BatchSampler(durations, 8, (3, 1), 5, 0.2, bucket_batches=4) for _ in range(2))
        forward = [one.batch(step) for step in range(60)]
        assert [other.batch(step) for step in reversed(range(60))] == forward[::-1]

    def test_batches_are_sorted_within_a_window_and_come_in_random_order(self):
        durations = tuple(np.random.default_rng(1).uniform(1, 20, 80))
        sampler = BatchSampler(durations, 8, (0, 0), bucket_batches=10)
        spans = [(min(durations[i] for i in b), max(durations[i] for i in b)) for b in map(sampler.batch, range(10))]
        ordered = sorted(spans)
        assert all(low[1] <= high[0] for low, high in pairwise(ordered))
        assert spans not in (ordered, ordered[::-1])
        first = [sampler.batch(step) for step in range(10)]
        assert first != [sampler.batch(step) for step in range(10, 20)]
        assert sorted(map(sorted, first)) == sorted(sorted(sampler.batch(step)) for step in range(10, 20))

    def test_the_curriculum_comes_first_and_stays(self):
        plain = BatchSampler(tuple(range(50)), 8, (3, 1), 20, 0.2)
        bucketed = replace(plain, bucket_batches=3)
        assert all(bucketed.batch(step) == plain.batch(step) for step in range(20))
        assert sorted(i for step in range(20, 26) for i in bucketed.batch(step)) == sorted(
            i for step in range(20, 26) for i in plain.batch(step)
        )

    def test_less_of_the_demos_batches_is_padding(self):
        """Measured shares of padded seconds over an epoch of 120 batches of 16."""
        durations = tuple(u.end_time - u.begin_time for u in read_manifest(packaged("corpus/pool.jsonl")))
        plain = BatchSampler(durations, 16, (0, 1))
        shares = {}
        for buckets in (0, 10, 40):
            sampler = replace(plain, bucket_batches=buckets)
            shares[buckets] = padding_share(durations, [sampler.batch(step) for step in range(120)])
        print(shares)
        assert shares[0] > 0.25
        assert shares[10] < 0.1
        assert shares[40] < 0.04
