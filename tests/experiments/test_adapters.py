"""The runs that compare adapters."""

from gptbook.experiments import adapters
from gptbook.results import read_result
from tests.experiments.helpers import runs_at_best_rate


def test_adapters_has_every_run_and_the_best_rate_of_each_way():
    runs = read_result("adapters")
    ways = [(adapters.FULL, adapters.FULL_LEARNING_RATES)]
    ways += [(way, adapters.LEARNING_RATES) for way in adapters.ADAPTERS]
    assert len(runs) == sum(len(rates) + len(adapters.SEEDS) for _, rates in ways)
    for way, rates in ways:
        chosen = runs_at_best_rate(runs, way, rates, adapters.SEEDS, "new_words")
        looks = adapters.CHECKS if way["targets"] == "all" else 0
        assert all(list(map(len, run["changes"])) == [24] * looks for run in chosen)
