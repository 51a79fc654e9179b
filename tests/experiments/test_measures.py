"""The search for the best learning rate."""

import pytest

from gptbook.experiments import codes, measures


def test_the_best_rate_is_searched_with_one_seed_and_run_with_others(tmp_path, monkeypatch):
    monkeypatch.setattr("gptbook.results.RESULTS", tmp_path)
    done = []

    def run(options):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(options)
        # With "a", the rate 0.1 is best halfway; with "b", 0.2 is.
        low = {"a": 0.1, "b": 0.2}[options["variant"]] == options["learning_rate"]
        return {**options, "validation_losses": [1 if low else 3, 2]}

    settings = [{"variant": "a"}, {"variant": "b"}]
    arguments = ("trial", settings, (0.1, 0.2), (7, 8), run)
    with pytest.raises(KeyboardInterrupt):
        measures.run_at_best_rate(*arguments)
    done.append("interrupted")
    measures.run_at_best_rate(*arguments)
    searched = [(o["variant"], o["learning_rate"], o["seed"]) for o in done[:4]]
    assert searched == [(v, r, measures.SEARCH_SEED) for v in "ab" for r in (0.1, 0.2)]
    rest = [(o["variant"], o["learning_rate"], o["seed"]) for o in done[4:] if o != "interrupted"]
    assert rest == [(v, r, s) for s in (7, 8) for v, r in (("a", 0.1), ("b", 0.2))]


def test_the_best_rate_is_the_one_of_the_least_cost(tmp_path, monkeypatch):
    monkeypatch.setattr("gptbook.results.RESULTS", tmp_path)
    accuracies = {1: [0.5, 1.0, 1.0], 2: [0.9] * 20, 3: [0.8, 1.0, 1.0]}
    done = []

    def run(options):
        done.append(options)
        return {**options, "accuracies": accuracies[options["learning_rate"]]}

    settings = [{"method": "a"}]
    measures.run_at_best_rate("trial", settings, (1, 2, 3), (7,), run, cost=codes.digits_missed)
    assert done[3:] == [{"method": "a", "learning_rate": 3, "phase": "final", "seed": 7}]
