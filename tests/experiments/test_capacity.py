"""The runs with more codes than fit."""

import math

import pytest

from gptbook.experiments import capacity, codes
from gptbook.results import read_result
from tests.experiments.helpers import runs_at_best_rate


def test_a_model_that_guesses_has_all_bits_left(monkeypatch):
    monkeypatch.setattr(capacity, "PAIRS", 8)
    monkeypatch.setattr(capacity, "STEPS", 2)
    monkeypatch.setattr(capacity, "CHECK_EVERY", 1)
    monkeypatch.setattr(capacity, "evaluate", lambda model, loader: math.log(10) * 8 / 10)
    options = {"method": "LoRA, rank 1", "learning_rate": 1e-3, "seed": 0, "phase": "search"}
    run = capacity.run(options)  # a value is a space, eight digits and an end: ten tokens
    assert run["bits_left"] == [pytest.approx(8 * 8 * math.log2(10), abs=1)] * 2
    assert run["trained"] == 18_432


def test_capacity_has_every_run_and_the_best_rate_of_each_method():
    runs = read_result("capacity")
    total = 0
    for method in capacity.METHODS:
        rates = (*capacity.LEARNING_RATES, *capacity.HIGHER.get(method, ()))
        final = runs_at_best_rate(
            runs, {"method": method}, rates, capacity.SEEDS, "bits_left", capacity.least_left
        )
        assert final[0]["learning_rate"] not in (min(rates), max(rates)), method
        total += len(rates) + len(final)
    assert len(runs) == total
    looks = capacity.STEPS // capacity.CHECK_EVERY
    assert all(len(run["bits_left"]) == looks for run in runs)
    assert round(capacity.BITS) == 42_521
    assert set(capacity.METHODS) < set(codes.METHODS)
