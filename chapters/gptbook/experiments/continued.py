"""New facts: `python -m gptbook.experiments.continued` goes on with pretraining.

The base model reads about the people of another world: by full finetuning and with LoRA, DoRA and
MoRA of one size. Each is tried at each of `LEARNING_RATES`; at the one that was best on
validation it is run with `SEEDS`. Writes chapters/results/continued.json after each run, and skips
runs that are in it already.
"""

from itertools import islice

from torch.utils.data import DataLoader

from gptbook.adapters import DoRALinear, LoRALinear, MoRALinear, count_parameters
from gptbook.data import encode_documents, make_loader
from gptbook.device import seed_everything
from gptbook.experiments.measures import Options, base_with, recall, run_at_best_rate
from gptbook.results import Run
from gptbook.tokenizer import BPETokenizer, load_tokenizer
from gptbook.training import TrainConfig, evaluate, train
from gptbook.world import World

PEOPLE, STEPS, BATCH, CONTEXT, CHECKS, RANK = 60, 300, 4, 128, 3, 4
METHODS: dict[str, tuple[type, Options] | None] = {
    "everything": None,
    "LoRA": (LoRALinear, {"rank": RANK, "alpha": 2 * RANK}),
    "DoRA": (DoRALinear, {"rank": RANK, "alpha": 2 * RANK}),
    "MoRA, sharing": (MoRALinear, {"rank": RANK, "kind": "sharing"}),
    "MoRA, rotation": (MoRALinear, {"rank": RANK, "kind": "rotation"}),
}
LEARNING_RATES, SEEDS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (1, 2, 3, 4, 5)


def loader_of(
    world: World, split: str, count: int, seed: int, tokenizer: BPETokenizer
) -> DataLoader:
    """Batches of `count` biographies of a world."""
    documents = islice(world.stream(split, seed, kinds={"biography": 1}), count)
    ids = encode_documents([document.text for document in documents], tokenizer)
    return make_loader(ids, CONTEXT, BATCH, shuffle=split == "training")


def run(options: Options) -> Run:
    """Train once; return validation losses and, in the final phase, what is recalled."""
    tokenizer, seed = load_tokenizer("book"), options["seed"]
    world = World(seed=1 + seed, num_people=PEOPLE)
    seed_everything(seed)
    model = base_with(METHODS[options["method"]])
    # Biographies have more than 40 tokens on average: these are enough for all steps.
    training = loader_of(world, "training", STEPS * BATCH * CONTEXT // 40, seed, tokenizer)
    validation = loader_of(world, "validation", 200, seed, tokenizer)
    losses: list[float] = []
    recalled: list[float] = []

    def look(done: int) -> None:
        if done % (STEPS // CHECKS) == 0:
            losses.append(round(evaluate(model, validation), 4))
            if options["phase"] == "final":
                recalled.append(recall(model, tokenizer, world))

    train(model, training, TrainConfig(STEPS, lr=options["learning_rate"]), after_step=look)
    trained = count_parameters(model)[0]
    return {**options, "trained": trained, "validation_losses": losses, "recall": recalled}


def main() -> None:
    """Do the runs that are missing."""
    settings = [{"method": method} for method in METHODS]
    run_at_best_rate("continued", settings, LEARNING_RATES, SEEDS, run)


if __name__ == "__main__":
    main()
