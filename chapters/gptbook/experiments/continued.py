"""New facts: `python -m gptbook.experiments.continued` goes on with pretraining.

The base model reads about the people of another world: by full finetuning and with LoRA, DoRA and
MoRA of one size. Each is tried at each learning rate of `RATES`; at the one that was best on
validation it is run with `SEEDS`. Writes chapters/results/continued.json after each run, and skips
runs that are in it already.
"""

from itertools import islice

from gptbook.adapters import count_parameters
from gptbook.data import encode_documents, make_loader
from gptbook.device import seed_everything
from gptbook.dora import DoRALinear
from gptbook.experiments.measures import SEARCH_SEED, base_with, recall, run_at_best_rate
from gptbook.lora import LoRALinear
from gptbook.mora import MoRALinear
from gptbook.tokenizer import load_tokenizer
from gptbook.training import evaluate, train
from gptbook.world import World

PEOPLE, STEPS, BATCH, CONTEXT, CHECKS, RANK = 60, 300, 4, 128, 3, 4
METHODS = {
    "everything": None,
    "LoRA": (LoRALinear, {"rank": RANK, "alpha": 2 * RANK}),
    "DoRA": (DoRALinear, {"rank": RANK, "alpha": 2 * RANK}),
    "MoRA, sharing": (MoRALinear, {"rank": RANK, "kind": "sharing"}),
    "MoRA, rotation": (MoRALinear, {"rank": RANK, "kind": "rotation"}),
}
RATES, SEEDS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (1, 2, 3)


def loader_of(world, split, count, seed, tokenizer):
    """Batches of `count` biographies of a world."""
    documents = islice(world.stream(split, seed, kinds={"biography": 1}), count)
    ids = encode_documents([document.text for document in documents], tokenizer)
    return make_loader(ids, CONTEXT, BATCH, shuffle=split == "training")


def run(options):
    """Train once; return validation losses and, if the seed is one of `SEEDS`, what is recalled."""
    tokenizer, seed = load_tokenizer("book"), options["seed"]
    world = World(seed=1 + seed, num_people=PEOPLE)
    seed_everything(seed)
    model = base_with(METHODS[options["method"]])
    # Biographies have more than 40 tokens on average: these are enough for all steps.
    training = loader_of(world, "training", STEPS * BATCH * CONTEXT // 40, seed, tokenizer)
    validation = loader_of(world, "validation", 200, seed, tokenizer)
    losses, recalled = [], []

    def look(done):
        if done % (STEPS // CHECKS) == 0:
            losses.append(round(evaluate(model, validation), 4))
            if seed != SEARCH_SEED:
                recalled.append(recall(model, tokenizer, world))

    train(model, training, STEPS, options["rate"], after_step=look)
    trained = count_parameters(model)[0]
    return {**options, "trained": trained, "validation_losses": losses, "recall": recalled}


def main():
    """Do the runs that are missing."""
    settings = [{"method": method} for method in METHODS]
    run_at_best_rate("continued", settings, RATES, SEEDS, run)


if __name__ == "__main__":
    main()
