"""How much fits into an adapter? `python -m gptbook.experiments.capacity` overfills it.

The 200 codes of `codes` are 0.3 bits for each weight that its small methods train; 1,600 are 2.3,
so that room is what is scarce. Full finetuning and four methods of about the same number of weights
are tried at each of `LEARNING_RATES`, and at those of `HIGHER` where the highest of these was best;
at the one that has learned most, each is run with `SEEDS`. Measured is what is left to learn: the
bits that the values still cost under the model. A run takes ten minutes on one core of a CPU; the
results come from a graphics card. Writes chapters/results/capacity.json after
each run, and skips runs that are in it already.
"""

import math

import torch

from gptbook.adapters import count_parameters
from gptbook.device import pick_device, seed_everything
from gptbook.experiments import codes
from gptbook.experiments.measures import Options, base_with, run_at_best_rate
from gptbook.instructions import encode_pair, make_instruction_loader
from gptbook.results import Run
from gptbook.tokenizer import load_tokenizer
from gptbook.training import TrainConfig, evaluate, train

PAIRS, STEPS, BATCH, CHECK_EVERY = 1600, 1500, 128, 250
METHODS = ("everything", "LoRA, rank 1", "LoRA, A frozen", "MoRA, sharing", "random square")
LEARNING_RATES, SEEDS = codes.LEARNING_RATES, codes.SEEDS
HIGHER = {"LoRA, rank 1": (0.1,), "LoRA, A frozen": (0.1, 0.3)}
BITS = PAIRS * codes.DIGITS * math.log2(10)  # of all values together


def run(options: Options) -> Run:
    """Train one method once; the bits that the values cost, at each look."""
    tokenizer, seed = load_tokenizer("book"), options["seed"]
    pairs = codes.make_codes(PAIRS, seed)
    seed_everything(seed)
    model = base_with(codes.METHODS[options["method"]])
    examples = [encode_pair(f"{key} =", f" {value}", tokenizer) for key, value in pairs]

    def loader(shuffle: bool) -> torch.utils.data.DataLoader:
        return make_instruction_loader(
            examples, BATCH, pad_id=tokenizer.eos_id, shuffle=shuffle, seed=seed
        )

    counted = sum(sum(target >= 0 for target in y.flatten().tolist()) for _, y in loader(False))
    left: list[float] = []

    def look(done: int) -> None:
        if done % CHECK_EVERY == 0:
            nats = evaluate(model, loader(False)) * counted
            left.append(round(nats / math.log(2)))

    train(model, loader(True), TrainConfig(STEPS, options["learning_rate"]), after_step=look)
    return {
        **options, "trained": count_parameters(model)[0], "bits_left": left,
        "device": pick_device().type,
    }  # fmt: skip


def least_left(run: Run) -> float:
    """The bits that are left at the end; a loss that is no number counts as infinite."""
    return math.inf if math.isnan(run["bits_left"][-1]) else run["bits_left"][-1]


def main() -> None:
    """Do the runs that are missing."""
    for method in METHODS:
        rates = (*LEARNING_RATES, *HIGHER.get(method, ()))
        run_at_best_rate("capacity", [{"method": method}], rates, SEEDS, run, cost=least_left)


if __name__ == "__main__":
    main()
