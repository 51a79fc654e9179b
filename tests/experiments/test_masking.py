"""The runs that compare masks."""

from gptbook.experiments import masking
from gptbook.results import read_result
from tests.experiments.helpers import runs_at_best_rate


def test_masking_has_every_run_and_the_best_rate_of_each_variant():
    runs = read_result("masking")
    grid = [(s, t, v) for s in masking.SIZES for t in masking.TASKS for v in masking.VARIANTS]
    assert len(runs) == len(grid) * (len(masking.LEARNING_RATES) + len(masking.SEEDS))
    for size, tasks, variant in grid:
        setting = {"size": size, "tasks": tasks, "variant": variant}
        runs_at_best_rate(runs, setting, masking.LEARNING_RATES, masking.SEEDS, "last_exact_match")
