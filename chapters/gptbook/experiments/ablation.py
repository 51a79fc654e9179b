"""What shape should the base model have? `python -m gptbook.experiments.ablation` asks.

Every run gets the same training compute in FLOPs, whatever its shape, and is measured on the same
validation documents. Writes chapters/results/ablation.json after each run, and skips runs that are
in it already.
"""

import time

from gptbook.data import encode_documents, make_loader
from gptbook.device import pick_device, seed_everything
from gptbook.experiments.book_tokenizer import train_tokenizer
from gptbook.experiments.measures import CONTEXT, Options, measure, run_missing
from gptbook.model import GPT, GPTConfig
from gptbook.results import Run
from gptbook.tokenizer import load_tokenizer
from gptbook.training import TrainConfig, train
from gptbook.world import World

CENTER: Options = {
    "width": 192,
    "layers": 6,
    "heads": 6,
    "vocabulary": 2048,
    "learning_rate": 3e-3,
    "batch": 8,
    "seed": 0,
}
CHANGES: list[Options] = [
    {},
    {"learning_rate": 6e-3},
    {"width": 256, "heads": 8, "layers": 4},
    {"learning_rate": 1.5e-3},
    {"width": 128, "heads": 4, "layers": 8},
    {"vocabulary": 1024},
    {"vocabulary": 3072},
    {"batch": 16},
    {"heads": 3},
    {"width": 256, "heads": 8, "layers": 6},
    {"layers": 3},
    {"seed": 1},
    {"seed": 2},
]
FLOPS = 1.5e13


def flops_per_token(width: int, layers: int, vocabulary: int) -> int:
    """Training FLOPs for each token: 6 per weight of a matrix, and attention over half the context.

    >>> flops_per_token(192, 6, 2048)
    20054016
    """
    return 6 * (12 * layers * width**2 + vocabulary * width) + 6 * layers * CONTEXT * width


def run(options: Options) -> Run:
    """Train one model with `FLOPS` and return what it reached."""
    seed_everything(options["seed"])
    world, size = World(), options["vocabulary"]
    tokenizer = load_tokenizer("book") if size == 2048 else train_tokenizer(size)
    tokens = FLOPS / flops_per_token(options["width"], options["layers"], size)
    documents = world.documents(round(tokens / 50), seed=options["seed"])
    ids = encode_documents([document.text for document in documents], tokenizer)
    steps = round(tokens / CONTEXT / options["batch"])
    model = GPT(GPTConfig(size, CONTEXT, options["width"], options["layers"], options["heads"]))
    model = model.to(pick_device())
    loader = make_loader(ids, CONTEXT, options["batch"], shuffle=True, seed=options["seed"])
    assert len(loader) >= steps, "every document is seen once"
    start = time.time()
    train(model, loader, TrainConfig(steps, lr=options["learning_rate"]))
    return {
        **options,
        "tokens": steps * CONTEXT * options["batch"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(time.time() - start),
        **measure(model, tokenizer, world),
    }


def main() -> None:
    """Do the runs that are missing."""
    run_missing("ablation", [CENTER | change for change in CHANGES], run)


if __name__ == "__main__":
    main()
