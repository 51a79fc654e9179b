"""What the runs of a search must be."""

from gptbook.experiments import measures
from gptbook.results import select


def runs_at_best_rate(runs, setting, rates, seeds, measured, cost=measures.lowest_loss):
    """Check the search and the seeds of a setting; return its final runs, which hold `measured`."""
    search = select(runs, **setting, phase="search")
    assert sorted(run["learning_rate"] for run in search) == sorted(rates)
    assert {run["seed"] for run in search} == {measures.SEARCH_SEED}
    best = min(search, key=cost)["learning_rate"]
    final = select(runs, **setting, phase="final")
    assert all(run[measured] for run in final)
    assert [(run["learning_rate"], run["seed"]) for run in final] == [(best, s) for s in seeds]
    assert len(select(runs, **setting)) == len(search) + len(final)
    return final
