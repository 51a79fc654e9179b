"""The runs that compare templates."""

from itertools import product

from gptbook.experiments import finetuning
from gptbook.results import read_result


def test_finetuning_has_every_run():
    found = [
        (
            {"template": run["template"], "embeddings": run["embeddings"]},
            run["learning_rate"],
            run["seed"],
        )
        for run in read_result("finetuning")
    ]
    wanted = list(product(finetuning.VARIANTS, finetuning.LEARNING_RATES, finetuning.SEEDS))
    assert len(found) == len(wanted)
    assert all(one in found for one in wanted)
