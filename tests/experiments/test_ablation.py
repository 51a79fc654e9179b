"""The runs of the ablation."""

import pytest

from gptbook.experiments.ablation import CENTER, CHANGES, FLOPS, flops_per_token
from gptbook.results import read_result


def test_the_ablation_changes_one_thing_at_a_time():
    runs = read_result("ablation")
    assert {name: runs[0][name] for name in CENTER} == CENTER
    assert len(runs) == len(CHANGES)
    for run in runs:
        assert {name: run[name] for name in CENTER} in [CENTER | change for change in CHANGES]
        tokens = FLOPS / flops_per_token(run["width"], run["layers"], run["vocabulary"])
        assert run["tokens"] == pytest.approx(tokens, rel=0.01)
