"""Which tokens should count in the loss? `python -m gptbook.experiments.masking` compares.

For few and for more examples, and for tasks with short and with long responses, every variant is
tried at each of `LEARNING_RATES`. At the one that was best on validation it is run with
`SEEDS`, and measured on new combinations: the last weights, and those that were best on validation.
Writes chapters/results/masking.json after each run, and skips runs that are in it already.
"""

import copy
import random
from typing import Any

import torch
from torch import Tensor

from gptbook.device import pick_device, seed_everything
from gptbook.experiments.measures import Options, run_at_best_rate
from gptbook.gpt2 import load_gpt2
from gptbook.instructions import IGNORE_INDEX, Example, collate, encode_example, right_answers
from gptbook.results import Run
from gptbook.scoring import accuracy
from gptbook.tokenizer import BPETokenizer, load_tokenizer
from gptbook.training import TrainConfig, evaluate, next_token_loss, train
from gptbook.world.entries import make_entries

SIZES = {100: 125, 1000: 250}  # examples: steps; each is read ten times, or twice
TASKS = {
    "short": ["short_fact", "holder", "older", "kinds", "counting", "last_word", "place", "name"],
    "long": ["fact", "profile", "ending", "past", "future", "joined", "replaced", "questions"],
}
VARIANTS = ("none", "role", "boilerplate", "instruction", "control")
LEARNING_RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
SEEDS = (1, 2, 3, 4, 5)
BATCH, CHECKS = 8, 5


def equal_weight_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The control: the mean over response tokens plus the mean over all others.

    A response token weighs what it weighs if all else is masked. `targets` (2, B, T) holds those of
    responses and those of all else.
    """
    responses, others = targets
    return next_token_loss(logits, responses) + next_token_loss(logits, others)


def batches_of(
    examples: list[Example], variant: str, pad_id: int, seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """A list of batches in an order that follows the seed."""
    order = random.Random(seed).sample(examples, len(examples))
    batches = []
    for i in range(0, len(order), BATCH):
        part = order[i : i + BATCH]
        inputs, targets = collate(part, "none" if variant == "control" else variant, pad_id)
        if variant == "control":
            responses = collate(part, "instruction", pad_id)[1]
            others = targets.masked_fill(responses != IGNORE_INDEX, IGNORE_INDEX)
            targets = torch.stack([responses, others])
        batches.append((inputs, targets))
    return batches


def examples_of(
    split: str, tasks: list[str], per_task: int, tokenizer: BPETokenizer
) -> list[Example]:
    """Encoded entries of some tasks."""
    entries = make_entries(split, per_task)
    return [encode_example(entry, tokenizer) for entry in entries if entry["task"] in tasks]


def run(options: Options) -> Run:
    """Finetune the base model once; return losses and exact match of the best and the last."""
    tokenizer, tasks = load_tokenizer("book"), TASKS[options["tasks"]]
    pad_id, steps = tokenizer.eos_id, SIZES[options["size"]]
    training = examples_of("training", tasks, 250, tokenizer)
    training = random.Random(options["seed"]).sample(training, options["size"])
    validation = batches_of(examples_of("validation", tasks, 20, tokenizer), "instruction", pad_id)
    test = examples_of("new_combinations", tasks, 50, tokenizer)
    seed_everything(options["seed"])
    model = load_gpt2("book").to(pick_device())
    model.token_embedding.requires_grad_(False)
    losses: list[float] = []
    best: dict[str, Any] = {}

    def look(done: int) -> None:
        if done % (steps // CHECKS) == 0:
            losses.append(evaluate(model, validation))
            if losses[-1] == min(losses):
                best.update(copy.deepcopy(model.state_dict()))

    variant = options["variant"]
    loss_fn = equal_weight_loss if variant == "control" else next_token_loss
    batches = batches_of(training, variant, pad_id, options["seed"])
    config = TrainConfig(steps, lr=options["learning_rate"])
    train(model, batches, config, loss_fn, after_step=look)
    found = {**options, "validation_losses": [round(loss, 4) for loss in losses]}
    if options["phase"] == "search":
        return found
    test_batches = batches_of(test, "instruction", pad_id)
    for name, weights in (("last", model.state_dict()), ("best", best)):
        model.load_state_dict(weights)
        found[f"{name}_test_loss"] = round(evaluate(model, test_batches), 4)
        found[f"{name}_exact_match"] = round(accuracy(right_answers(model, test)), 4)
    lengths = [(len(e.ids), len(e.ids) - e.spans[-1].start) for e in training]
    found["response_fraction"] = round(sum(r for _, r in lengths) / sum(n for n, _ in lengths), 3)
    return found


def main() -> None:
    """Do the runs that are missing."""
    settings = [
        {"size": size, "tasks": tasks, "variant": variant}
        for size in SIZES
        for tasks in TASKS
        for variant in VARIANTS
    ]
    run_at_best_rate("masking", settings, LEARNING_RATES, SEEDS, run)


if __name__ == "__main__":
    main()
