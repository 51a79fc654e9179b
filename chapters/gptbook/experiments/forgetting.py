"""Learning and forgetting: `python -m gptbook.experiments.forgetting` compares all methods.

Teaches the base model each of `DOMAINS` with each of `ARMS`, all with the same number of tokens. An
arm is tried at five learning rates, and at more while the best is at the edge; at the one with the
lowest validation loss it is run with `SEEDS`. Before, and at `LOOKS` moments, such a run is
measured on the domain (loss, facts learned), at home (loss, facts recalled), and on people of whom
it never read. Two of these commands may run side by side, each with domains of its own:
`… forgetting people asked`. Writes a file for each domain, chapters/results/forgetting_people.json
and so on, after each run, and skips runs that are in it already.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gptbook.adapters import DoRALinear, LoRALinear, MoRALinear, adapters_of, count_parameters
from gptbook.device import pick_device, seed_everything
from gptbook.entry_files import Entry
from gptbook.experiments.domains import (
    DOMAINS,
    Pair,
    encoded,
    home_texts,
    loader_of,
    mixed,
    strangers,
)
from gptbook.experiments.measures import (
    SEARCH_SEED,
    Options,
    base_with,
    lowest_loss,
    run_at_best_rate,
    run_missing,
)
from gptbook.gpt2 import load_gpt2
from gptbook.instructions import right_answers
from gptbook.model import GPT
from gptbook.modes import evaluating
from gptbook.results import Run, load_runs
from gptbook.scoring import accuracy, exact_matches
from gptbook.tokenizer import BPETokenizer, load_tokenizer
from gptbook.training import TrainConfig, evaluate, train
from gptbook.world import ATTRIBUTES, World

STEPS, LOOKS = 300, 5
SEEDS = (1, 2, 3, 4, 5)
GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
FULL_RATES, RATES = GRID[2:7], GRID[3:8]


class Arm(NamedTuple):
    """A way of training: an adapter with its options, and what is done against forgetting."""

    adapter: tuple[type, Options] | None = None
    embeddings: float = 0.0  # the learning rate of the token embeddings, as a fraction of the rest
    steps: float = 1.0  # the fraction of the steps
    slower: float = 1.0  # the fraction of the best learning rate of full finetuning
    old: float = 0.0  # the fraction of the tokens that are of old texts


def lora(rank: int) -> tuple[type, Options]:
    """LoRA with alpha = 2 · rank."""
    return LoRALinear, {"rank": rank, "alpha": 2 * rank}


ARMS = {
    "full": Arm(),
    "LoRA, rank 4": Arm(lora(4)),
    "LoRA, rank 16": Arm(lora(16)),
    "LoRA, rank 64": Arm(lora(64)),
    "DoRA, rank 16": Arm((DoRALinear, {"rank": 16, "alpha": 32})),
    "MoRA, sharing": Arm((MoRALinear, {"rank": 16, "kind": "sharing"})),
    "MoRA, rotation": Arm((MoRALinear, {"rank": 16, "kind": "rotation"})),
    "full, embeddings": Arm(embeddings=0.1),
    "LoRA, rank 16, embeddings": Arm(lora(16), embeddings=0.1),
    "full, a third of the rate": Arm(slower=1 / 3),
    "full, a third of the steps": Arm(steps=1 / 3),
    "full, 5 % old texts": Arm(old=0.05),
}


def energy_rank(matrix: Tensor, wanted: float = 0.9) -> int:
    """How many singular values hold the fraction `wanted` of the energy of a matrix."""
    energy = torch.linalg.svdvals(matrix.float().cpu()) ** 2
    return int((energy.cumsum(0) < wanted * energy.sum()).sum()) + 1


@torch.no_grad()
def ranks_of_change(model: GPT, base: GPT) -> dict[str, int]:
    """For each linear layer of the blocks, the rank of ΔW that holds 90 % of its energy."""
    adapters, found = adapters_of(model), {}
    for name, layer in base.blocks.named_modules(prefix="blocks"):
        if isinstance(layer, torch.nn.Linear):
            adapter = adapters.get(name)
            new = adapter.merged_weight() if adapter else model.get_parameter(f"{name}.weight")
            found[name] = energy_rank(new - layer.weight)
    return found


@torch.no_grad()
def certainty(model: GPT, tokenizer: BPETokenizer, prompts: list[str]) -> float:
    """The mean of the largest probability that the next token has after each prompt."""
    begin = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    rows = [torch.tensor(begin + tokenizer.encode(prompt)) for prompt in prompts]
    device, largest = next(model.parameters()).device, 0.0
    with evaluating(model):
        for first in range(0, len(rows), 64):
            batch = rows[first : first + 64]
            logits = model(pad_sequence(batch, batch_first=True).to(device)).cpu()
            for row, own in zip(batch, logits, strict=True):
                largest += own[len(row) - 1].softmax(dim=-1).max().item()
    return round(largest / len(prompts), 4)


def slowed(weight: Tensor, fraction: float) -> Callable[[int], None]:
    """A function for `after_step` that leaves `fraction` of each step of a weight.

    AdamW's step, decay included, is the learning rate times a direction: so this is a learning rate
    of the weight's own.
    """
    before = weight.detach().clone()

    @torch.no_grad()
    def after_step(_: int) -> None:
        weight.copy_(before + fraction * (weight - before))
        before.copy_(weight)

    return after_step


def fraction_right(
    model: GPT, tokenizer: BPETokenizer, facts: Sequence[Pair | Entry]
) -> float | None:
    """The fraction of pairs or entries that the model answers as wanted; None of nothing."""
    entries = [encoded(fact, tokenizer) for fact in facts if isinstance(fact, dict)]
    pairs = [fact for fact in facts if isinstance(fact, tuple)]
    right = right_answers(model, entries) if entries else exact_matches(model, tokenizer, pairs)
    return round(accuracy(right), 4) if facts else None


def run(options: Options) -> Run:
    """Train once; measure validation losses and, in the final phase, all that is compared."""
    arm, tokenizer, seed = ARMS[options["arm"]], load_tokenizer("book"), options["seed"]
    domain = DOMAINS[options["domain"]](seed)
    seed_everything(seed)
    model = base_with(arm.adapter)
    model.token_embedding.requires_grad_(arm.embeddings > 0)
    training = loader_of(
        mixed(domain.training, arm.old, seed, tokenizer), tokenizer, shuffle=True, seed=seed
    )
    validation = loader_of(domain.validation, tokenizer)
    found: dict[str, Any] = {"validation_losses": []}
    final = options["phase"] == "final"
    if final:
        home = World()
        old_loader = loader_of(home_texts("validation", 300), tokenizer)
        old_facts = [
            p for x in home.people[::4] for a in ATTRIBUTES for p in home.completions(x, a)
        ]
        unknown = [prompt for prompt, _ in strangers(seed)]
        found |= {"home_losses": [], "learned": [], "recalled": [], "certainty": []}
    steps = round(STEPS * arm.steps)

    def look(done: int) -> None:
        if done % (steps // LOOKS) == 0:
            found["validation_losses"].append(round(evaluate(model, validation), 4))
            if final:
                found["home_losses"].append(round(evaluate(model, old_loader), 4))
                found["learned"].append(fraction_right(model, tokenizer, domain.facts))
                found["recalled"].append(fraction_right(model, tokenizer, old_facts))
                found["certainty"].append(certainty(model, tokenizer, unknown))

    own = slowed(model.token_embedding.weight, arm.embeddings) if arm.embeddings else None

    def after_step(done: int) -> None:
        if own:
            own(done)
        look(done)

    look(0)
    start = time.perf_counter()
    train(model, training, TrainConfig(steps, options["learning_rate"]), after_step=after_step)
    trained = count_parameters(model)[0]
    found |= {"trained": trained, "device": pick_device().type, "torch": torch.__version__}
    found["seconds"] = round(time.perf_counter() - start, 1)
    if final:
        found["ranks"] = ranks_of_change(model, load_gpt2("book").to(pick_device()))
    return {**options, **found}


def searched(name: str, setting: Options, rates: tuple[float, ...]) -> tuple[float, ...]:
    """Do the search; return its rates, and further ones of GRID while the best is at the edge."""
    search: Options = {**setting, "phase": "search", "seed": SEARCH_SEED}
    while True:
        run_missing(name, [{**search, "learning_rate": rate} for rate in rates], run)
        best = min(load_runs(name, **search), key=lowest_loss)["learning_rate"]
        at = GRID.index(best)
        if best == max(rates):
            rates = (*rates, GRID[at + 1])
        elif best == min(rates):
            rates = (GRID[at - 1], *rates)
        else:
            return rates


def main(domains: list[str]) -> None:
    """Do the runs that are missing."""
    for domain in domains or DOMAINS:
        name = f"forgetting_{domain}"
        for arm, how in ARMS.items():
            setting, rates = {"domain": domain, "arm": arm}, RATES if how.adapter else FULL_RATES
            if how.slower == 1:
                run_at_best_rate(name, [setting], searched(name, setting, rates), SEEDS, run)
            else:
                usual = load_runs(name, arm="full", phase="final")[0]["learning_rate"]
                setting |= {"learning_rate": how.slower * usual, "phase": "final"}
                run_missing(name, [{**setting, "seed": seed} for seed in SEEDS], run)


if __name__ == "__main__":
    main(sys.argv[1:])
