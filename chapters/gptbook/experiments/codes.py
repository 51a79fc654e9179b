"""Who can learn by heart? `python -m gptbook.experiments.codes` trains on random codes.

The base model has to learn pairs of numbers that follow from nothing: by full finetuning, by LoRA
of a low and of a high rank, and, with as many weights as the low rank has, by MoRA of both kinds,
by LoRA whose A stays as it was drawn, and by a square matrix between two fixed random ones.
Each method is tried at each of `LEARNING_RATES` (and of `HIGHER`), and run with `SEEDS` at the one
that learns fastest. A run ends early when two looks in a row have found every digit right. Writes
chapters/results/codes.json after each run, and skips runs that are in it already.
"""

import math
import random
from contextlib import suppress

import torch
from torch import Tensor, nn

from gptbook.adapters import LoRALinear, MoRALinear, count_parameters
from gptbook.device import seed_everything
from gptbook.experiments.measures import Options, base_with, run_at_best_rate
from gptbook.generate import generate
from gptbook.instructions import encode_pair, make_instruction_loader
from gptbook.model import GPT
from gptbook.results import Run
from gptbook.tokenizer import BPETokenizer, load_tokenizer
from gptbook.training import TrainConfig, train

PAIRS, DIGITS, STEPS, BATCH, CHECK_EVERY = 200, 8, 1000, 32, 50


class FrozenA(LoRALinear):
    """LoRA whose A stays as it was drawn: only B is trained."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        A = self.lora_A.data
        del self.lora_A
        self.register_buffer("lora_A", A)


class RandomSquare(MoRALinear):
    """MoRA whose inputs are mixed, and whose outputs are made, by fixed random matrices.

    They leave norms as large as the groups of "sharing" do, on the average.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__(base, rank, "sharing")
        for name, shape in (
            ("compress", (self.k, base.in_features)),
            ("expand", (base.out_features, self.k)),
        ):
            drawn = torch.randn(shape) / math.sqrt(self.k)
            self.register_buffer(name, drawn.to(base.weight))

    def change(self, x: Tensor) -> Tensor:
        """expand M compress x: (…, in) -> (…, out)."""
        low = x @ self.get_buffer("compress").T
        return low @ self.matrix.T @ self.get_buffer("expand").T


METHODS: dict[str, tuple[type, Options] | None] = {
    "everything": None,
    "LoRA, rank 1": (LoRALinear, {"rank": 1, "alpha": 1}),
    "LoRA, rank 32": (LoRALinear, {"rank": 32, "alpha": 32}),
    "MoRA, sharing": (MoRALinear, {"rank": 1, "kind": "sharing"}),
    "MoRA, rotation": (MoRALinear, {"rank": 1, "kind": "rotation"}),
    "LoRA, A frozen": (FrozenA, {"rank": 2, "alpha": 2}),
    "random square": (RandomSquare, {"rank": 1}),
}
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
HIGHER = {"LoRA, A frozen": (0.1, 0.3)}  # where the highest of these was best
SEEDS = (1, 2, 3, 4, 5)


class Memorized(Exception):
    """Raised inside a run that has nothing left to learn, to end it."""


def make_codes(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of a key and a value, strings of `DIGITS` digits, at random; no key twice."""
    rng = random.Random(seed)
    keys = rng.sample(range(10**DIGITS), count)
    return [(f"{key:0{DIGITS}}", f"{rng.randrange(10**DIGITS):0{DIGITS}}") for key in keys]


def character_accuracy(model: GPT, tokenizer: BPETokenizer, codes: list[tuple[str, str]]) -> float:
    """The fraction of digits that greedy generation gets right, position by position."""
    prompts = [tokenizer.encode(f"{key} =") for key, _ in codes]
    texts = generate(model, prompts, DIGITS + 3, eos_id=tokenizer.eos_id)
    right = 0
    for (_, value), text, prompt in zip(codes, texts, prompts, strict=True):
        said = tokenizer.decode(text[len(prompt) :].tolist()).strip()
        right += sum(a == b for a, b in zip(said, value, strict=False))
    return right / sum(len(value) for _, value in codes)


def learn(
    method: str,
    codes: list[tuple[str, str]],
    lr: float,
    seed: int,
    steps: int = STEPS,
    check_every: int = CHECK_EVERY,
) -> tuple[int, list[float]]:
    """Train the base model on codes; return (trainable weights, accuracies every so many steps)."""
    tokenizer = load_tokenizer("book")
    seed_everything(seed)
    model = base_with(METHODS[method])
    examples = [encode_pair(f"{key} =", f" {value}", tokenizer) for key, value in codes]
    loader = make_instruction_loader(
        examples, BATCH, pad_id=tokenizer.eos_id, shuffle=True, seed=seed
    )
    accuracies: list[float] = []

    def look(done: int) -> None:
        if done % check_every == 0:
            accuracies.append(round(character_accuracy(model, tokenizer, codes), 4))
            if accuracies[-2:] == [1.0, 1.0]:
                raise Memorized

    with suppress(Memorized):
        train(model, loader, TrainConfig(steps, lr), after_step=look)
    return count_parameters(model)[0], accuracies


def run(options: Options) -> Run:
    """Train one method once."""
    codes = make_codes(PAIRS, options["seed"])
    trained, accuracies = learn(options["method"], codes, options["learning_rate"], options["seed"])
    return {**options, "trained": trained, "accuracies": accuracies}


def digits_missed(run: Run) -> float:
    """The sum of the fractions that were wrong: small if a run learned all, and soon."""
    return sum(1 - accuracy for accuracy in run["accuracies"])


def main() -> None:
    """Do the runs that are missing."""
    for method in METHODS:
        rates = (*LEARNING_RATES, *HIGHER.get(method, ()))
        run_at_best_rate("codes", [{"method": method}], rates, SEEDS, run, cost=digits_missed)


if __name__ == "__main__":
    main()
