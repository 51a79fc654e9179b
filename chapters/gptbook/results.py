"""What experiments have measured: runs in chapters/results/, selected and compared.

A run is a dict: its options and what was measured. Where the learning rate was searched, it also
has a "phase": in "search", each setting is tried at each learning rate; in "final", it is run with
several seeds at the best one.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gptbook.files import written_whole

RESULTS = Path(__file__).parents[1] / "results"
Run = dict[str, Any]
Measure = str | Callable[[Run], float]
# Student's t for 95 %, two-sided, by degrees of freedom.
T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
)  # fmt: skip


def has_result(name: str) -> bool:
    """True if results/<name>.json is there."""
    return (RESULTS / f"{name}.json").exists()


def read_result(name: str) -> Any:
    """What results/<name>.json holds."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def write_result(name: str, content: Any) -> None:
    """Write results/<name>.json, whole or not at all."""
    RESULTS.mkdir(exist_ok=True)
    with written_whole(RESULTS / f"{name}.json") as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_runs(name: str, **wanted: Any) -> list[Run]:
    """The runs of results/<name>.json that have all the options `wanted`."""
    return select(read_result(name), **wanted)


def select(runs: Sequence[Run], **wanted: Any) -> list[Run]:
    """The runs that have all the options `wanted`, in the order of their seeds.

    >>> select([{"seed": 2, "kind": "a"}, {"seed": 1, "kind": "a"}, {"seed": 0}], kind="a")
    [{'seed': 1, 'kind': 'a'}, {'seed': 2, 'kind': 'a'}]
    """
    found = [run for run in runs if wanted.items() <= run.items()]
    return sorted(found, key=lambda run: run.get("seed", 0))


def collect(runs: Sequence[Run], measure: Measure) -> list[float]:
    """What each of the runs has measured: a field of it, or a function of the run."""
    return [measure(run) if callable(measure) else run[measure] for run in runs]


class Difference(NamedTuple):
    """The mean of paired differences and half the width of its 95 % confidence interval."""

    mean: float
    half: float

    @property
    def clear(self) -> bool:
        """True if the interval does not hold zero."""
        return abs(self.mean) > self.half

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ± {self.half:.4f}"


def paired_difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """The mean of `one` − `other`, pair by pair, and half of its confidence interval.

    The pairs are taken to be independent and normally distributed (Student 1908). Raises ValueError
    for lists of different lengths, and for fewer than 2 or more than 20 pairs.

    >>> print(paired_difference([3.0, 4.0, 5.0], [1.0, 2.0, 2.0]))
    +2.3333 ± 1.4343
    """
    differences = [a - b for a, b in zip(one, other, strict=True)]
    if not 2 <= len(differences) <= len(T95) + 1:
        raise ValueError(f"need 2 to {len(T95) + 1} pairs, not {len(differences)}")
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return Difference(statistics.fmean(differences), T95[len(differences) - 2] * error)


def paired(
    runs: Sequence[Run], one: Mapping[str, Any], other: Mapping[str, Any], measure: Measure
) -> Difference:
    """The paired difference of what final runs with options `one` and `other` have measured.

    Raises ValueError unless both have the same seeds.
    """
    both = [select(runs, phase="final", **options) for options in (one, other)]
    seeds = [[run["seed"] for run in each] for each in both]
    if seeds[0] != seeds[1]:
        raise ValueError(f"runs with the seeds {seeds[0]} and {seeds[1]} cannot be paired")
    return paired_difference(*(collect(each, measure) for each in both))
