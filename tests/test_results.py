"""Runs are selected and compared as the chapters need it; intervals equal those of SciPy."""

import pytest
import scipy.stats

from gptbook import results
from gptbook.results import (
    T95,
    collect,
    has_result,
    load_runs,
    paired,
    paired_difference,
    read_result,
    select,
    write_result,
)

RUNS = [
    {"kind": kind, "seed": seed, "phase": "final" if seed else "search", "score": score}
    for kind, scores in {"a": (9, 3, 5, 4), "b": (9, 2, 1, 3)}.items()
    for seed, score in zip((0, 3, 1, 2), scores, strict=True)
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_what_is_written_is_read(folder):
    assert not has_result("trial")
    write_result("trial", RUNS)
    assert has_result("trial")
    assert read_result("trial") == RUNS
    assert [path.name for path in folder.iterdir()] == ["trial.json"]
    assert load_runs("trial", kind="b", phase="search") == [RUNS[4]]


def test_runs_come_in_the_order_of_their_seeds():
    assert [run["seed"] for run in select(RUNS, kind="a")] == [0, 1, 2, 3]
    assert select(RUNS, kind="c") == select(RUNS, color="red") == []
    assert collect(select(RUNS, kind="a", phase="final"), "score") == [5, 4, 3]
    assert collect(select(RUNS, kind="a", seed=1), lambda run: 2 * run["score"]) == [10]


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_intervals_equal_those_of_scipy(count):
    one = [float((3 * i * i + 1) % 7) for i in range(count)]
    other = [float(i % 3) for i in range(count)]
    wanted = scipy.stats.ttest_rel(one, other).confidence_interval(0.95)
    found = paired_difference(one, other)
    middle, half = (wanted.high + wanted.low) / 2, (wanted.high - wanted.low) / 2
    assert found.mean == pytest.approx(middle)
    assert found.half == pytest.approx(half, rel=5e-4)
    assert found.clear == (not wanted.low <= 0 <= wanted.high)


def test_the_quantiles_are_those_of_student():
    assert pytest.approx([scipy.stats.t.ppf(0.975, n) for n in range(1, 20)], abs=6e-4) == T95


def test_differences_are_paired_by_seed():
    found = paired(RUNS, {"kind": "a"}, {"kind": "b"}, "score")
    assert found == paired_difference([5, 4, 3], [1, 3, 2])
    assert str(paired_difference([1.0, 2.0], [1.5, 2.5])) == "-0.5000 ± 0.0000"
    assert paired_difference([1.0, 2.0], [1.5, 2.5]).clear
    assert not paired_difference([1.0, 2.0], [2.0, 1.0]).clear


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match=r"the seeds \[1, 2, 3\] and \[\] cannot be paired"):
        paired(RUNS, {"kind": "a"}, {"kind": "c"}, "score")
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 2.0], [1.0])
    for count in (0, 1, 21):
        with pytest.raises(ValueError, match=f"need 2 to 20 pairs, not {count}"):
            paired_difference([1.0] * count, [2.0] * count)
