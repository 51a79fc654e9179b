"""The runs that measure what each refinement of training brings."""

import pytest
import torch

from gptbook.experiments.refinements import CHANGES, PARTS, RECIPE, SHAPE, batches_of, wanted
from gptbook.results import read_result


def test_refinements_has_every_run_once():
    runs, names = read_result("refinements"), wanted()[0].keys()
    found = sorted(tuple(run[name] for name in names) for run in runs)
    assert found == sorted(tuple(options.values()) for options in wanted())
    for run in runs:
        assert run.items() >= SHAPE.items()
        assert 0 <= run["norms_above_1"] <= 1 < run["highest_norm"]
        assert all(run[name] for name in ("torch", "device", "seconds"))
        assert run["training_loss"] < 7.7 > run["validation_loss"]


def test_each_recipe_changes_one_thing_but_the_one_without_any():
    assert set(RECIPE) >= {name for change in CHANGES.values() for name in change}
    for name, change in CHANGES.items():
        assert all(RECIPE[option] != value for option, value in change.items())
        assert len(change) == {"whole recipe": 0, "none of them": 5}.get(name, 1)
    assert all(set(part[-1]) <= set(CHANGES) for part in PARTS)


@pytest.mark.parametrize("epochs", [1, 16])
def test_runs_with_a_seed_read_the_same_text(epochs):
    first, again = (next(iter(batches_of(seed=3, steps=32, epochs=epochs))) for _ in range(2))
    assert first[0].shape == (SHAPE["batch"], SHAPE["context"])
    assert torch.equal(torch.stack(first), torch.stack(again))
    assert len(batches_of(seed=3, steps=32, epochs=epochs)) == 32 // epochs
    assert not first[0].equal(next(iter(batches_of(seed=4, steps=32, epochs=epochs)))[0])
