"""The runs on repeated text."""

from gptbook.experiments.repetition import EPOCHS, SEEDS
from gptbook.results import read_result


def test_repetition_has_every_run():
    runs = read_result("repetition")
    assert sorted((run["epochs"], run["seed"]) for run in runs) == sorted(
        (epochs, seed) for epochs in EPOCHS for seed in SEEDS
    )
