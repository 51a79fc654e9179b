"""What does each refinement of training bring? `python -m gptbook.experiments.refinements` asks.

A small model is trained by the whole recipe, and by the recipe with one of its parts left out or
changed: at two learning rates, in a short run and two longer ones, and on text that is read again
and again. Runs with the same seed start from the same weights and read the same batches, so that
they can be compared in pairs. Writes chapters/results/refinements.json after each run, and skips
runs that are in it already.
"""

import time
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gptbook.data import encode_documents, make_loader
from gptbook.device import pick_device, seed_everything
from gptbook.experiments.measures import Options, run_missing
from gptbook.model import GPT, GPTConfig
from gptbook.results import Run
from gptbook.tokenizer import load_tokenizer
from gptbook.training import endless, evaluate, learning_rate, make_optimizer, next_token_loss
from gptbook.world import World

RECIPE: Options = {
    "warmup": 24,
    "cosine": True,
    "max_norm": 1.0,
    "weight_decay": 0.1,
    "beta2": 0.95,
    "dropout": 0.0,
}
PLAIN: Options = {
    "warmup": 0,
    "cosine": False,
    "max_norm": None,
    "weight_decay": 0.0,
    "beta2": 0.999,
}
CHANGES: dict[str, Options] = {
    "whole recipe": {},
    "no warm-up": {"warmup": 0},
    "no cosine": {"cosine": False},
    "no clipping": {"max_norm": None},
    "no weight decay": {"weight_decay": 0.0},
    "beta2 0.999": {"beta2": 0.999},
    "dropout 0.1": {"dropout": 0.1},
    "none of them": PLAIN,
}
SEEDS = (0, 1, 2, 3, 4)
SHAPE: Options = {"width": 64, "layers": 2, "heads": 2, "context": 64, "batch": 8}
SHORT, LONG, LONGEST = 240, 720, 3600
RATE, HIGH_RATE = 3e-3, 1e-2
AT_HIGH_RATE = ("whole recipe", "no warm-up", "no cosine", "no clipping", "none of them")
# (steps, learning rate, how many times the text is read, recipes)
PARTS: list[tuple[int, float, int, tuple[str, ...]]] = [
    (SHORT, RATE, 16, ("whole recipe", "dropout 0.1", "no weight decay")),
    (SHORT, RATE, 1, tuple(CHANGES)),
    (SHORT, HIGH_RATE, 1, AT_HIGH_RATE),
    (LONG, RATE, 1, ("whole recipe", "no cosine")),
    (LONGEST, RATE, 1, ("whole recipe", "no cosine")),
]


@lru_cache(maxsize=2)
def token_ids(split: str, count: int, seed: int) -> Tensor:
    """The ids of `count` documents of the small world."""
    documents = World().documents(count, split, seed=seed)
    return encode_documents([document.text for document in documents], load_tokenizer("book"))


def batches_of(seed: int, steps: int, epochs: int) -> DataLoader:
    """Shuffled batches for `steps / epochs` steps; a run reads them `epochs` times."""
    context, batch, count = SHAPE["context"], SHAPE["batch"], steps // epochs
    ids = token_ids("training", 10 * steps, seed)[: count * batch * context + 1]
    loader = make_loader(ids, context, batch, shuffle=True, seed=seed)
    assert len(loader) == count, "the documents fill the batches"
    return loader


def run(options: Options) -> Run:
    """Train one model and return its losses, and the norms of its gradients."""
    recipe = RECIPE | CHANGES[options["recipe"]]
    seed, steps, peak = options["seed"], options["steps"], options["learning_rate"]
    seed_everything(seed)
    config = GPTConfig(
        vocab_size=load_tokenizer("book").vocab_size,
        context_length=SHAPE["context"],
        embed_dim=SHAPE["width"],
        num_layers=SHAPE["layers"],
        num_heads=SHAPE["heads"],
        dropout=recipe["dropout"],
    )
    device = pick_device()
    model = GPT(config).to(device)
    optimizer = make_optimizer(model, peak, recipe["weight_decay"])
    for group in optimizer.param_groups:
        group["betas"] = (0.9, recipe["beta2"])
    batches = endless(batches_of(seed, steps, options["epochs"]))
    losses, norms, start = [], [], time.time()
    for step in range(steps):
        rate = learning_rate(step, steps, peak, recipe["warmup"])
        if not recipe["cosine"]:
            rate = peak * min(1.0, (step + 1) / max(1, recipe["warmup"]))
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, targets = next(batches)
        loss = next_token_loss(model(inputs.to(device)), targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        norms.append(
            nn.utils.clip_grad_norm_(model.parameters(), recipe["max_norm"] or float("inf")).item()
        )
        optimizer.step()
        losses.append(loss.item())
    held_out = make_loader(token_ids("validation", 300, 0), SHAPE["context"], 64)
    return {
        **options,
        **SHAPE,
        "training_loss": round(sum(losses[-20:]) / 20, 4),
        "validation_loss": round(evaluate(model, held_out), 4),
        "highest_norm": round(max(norms), 3),
        "norms_above_1": round(sum(norm > 1 for norm in norms) / len(norms), 4),
        "device": device.type,
        "torch": torch.__version__,
        "seconds": round(time.time() - start, 1),
    }


def wanted() -> list[Options]:
    """The options of all runs: part by part, and in each part seed by seed."""
    return [
        {"recipe": name, "steps": steps, "learning_rate": rate, "epochs": epochs, "seed": seed}
        for steps, rate, epochs, names in PARTS
        for seed in SEEDS
        for name in names
    ]


def main() -> None:
    """Do the runs that are missing."""
    run_missing("refinements", wanted(), run)


if __name__ == "__main__":
    main()
