"""The order of training data: even, seeded, and a function of the step alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distill.sampling import BatchSampler


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
