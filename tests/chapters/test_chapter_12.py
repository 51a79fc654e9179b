"""Chapter 12's loss at home at an equal loss on the domain, beside NumPy's interpolation."""

import numpy as np
import pytest

from tests.chapters.notebook import taught

chapter = taught("12", "NEW", "HOME", "home_at")


def run_of(new, home):
    return {chapter.NEW: list(new), chapter.HOME: list(home)}


@pytest.mark.parametrize("seed", range(5))
def test_between_looks_it_is_numpys_interpolation(seed):
    rng = np.random.default_rng(seed)
    new, home = np.sort(rng.uniform(0.5, 4, 6))[::-1], rng.uniform(1, 5, 6)
    for wanted in (*rng.uniform(new[-1], new[0], 20), new[-1], new[2]):
        expected = np.interp(wanted, new[::-1], home[::-1])
        assert chapter.home_at(run_of(new, home), wanted) == pytest.approx(expected)


def test_the_first_time_counts():
    run = run_of([4.0, 1.0, 3.0, 0.5], [1.0, 2.0, 3.0, 4.0])
    assert chapter.home_at(run, 2.0) == pytest.approx(1 + 2 / 3)
    assert chapter.home_at(run, 0.75) == pytest.approx(3.9)
