"""The runs on new facts."""

from gptbook.experiments import continued
from gptbook.results import read_result
from tests.experiments.helpers import runs_at_best_rate


def test_continued_has_every_run_and_the_best_rate_of_each_method():
    runs = read_result("continued")
    assert len(runs) == len(continued.METHODS) * (
        len(continued.LEARNING_RATES) + len(continued.SEEDS)
    )
    for method in continued.METHODS:
        setting = {"method": method}
        runs_at_best_rate(runs, setting, continued.LEARNING_RATES, continued.SEEDS, "recall")
    assert all(len(run["validation_losses"]) == continued.CHECKS for run in runs)
