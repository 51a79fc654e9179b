"""LoRA, DoRA and MoRA side by side: `python -m gptbook.experiments.adapters` compares.

Finetunes the base model on chapter 8's instructions, fully and with adapters of several kinds,
ranks and targets. Each is tried at each of `LEARNING_RATES` (`FULL_LEARNING_RATES` for full
finetuning, which wants smaller ones); at the one that was best on validation it is run with
`SEEDS`, and measured on what is held out. Chapters 9 to 11 draw from it. Writes
chapters/results/adapters.json after each run, and skips runs that are in it already.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from gptbook.adapters import (
    DoRALinear,
    LoRALinear,
    MoRALinear,
    adapters_of,
    add_adapters,
    count_parameters,
)
from gptbook.device import pick_device, seed_everything
from gptbook.experiments.measures import ALL_LAYERS, Options, run_at_best_rate
from gptbook.gpt2 import load_gpt2
from gptbook.instructions import Example, make_instruction_loader, right_answers
from gptbook.model import GPT
from gptbook.results import Run
from gptbook.scoring import by_task, macro_average
from gptbook.tokenizer import load_tokenizer
from gptbook.training import TrainConfig, evaluate, train
from gptbook.world import SPLITS, load_examples

LOW_RANK: dict[str, type[LoRALinear]] = {"LoRA": LoRALinear, "DoRA": DoRALinear}
TARGETS = {
    "query, value": ["attention.qkv"],
    "all": ALL_LAYERS,
}
FULL: Options = {"kind": "full", "rank": None, "targets": "all"}
ADAPTERS: list[Options] = [
    {"kind": kind, "rank": rank, "targets": targets}
    for kind, rank, targets in [
        ("LoRA", 1, "all"), ("LoRA", 4, "all"), ("LoRA", 16, "all"), ("LoRA", 64, "all"),
        ("LoRA", 16, "query, value"), ("LoRA", 4, "all and embeddings"),
        ("DoRA", 4, "all"), ("DoRA", 16, "all"),
        ("MoRA, sharing", 4, "all"), ("MoRA, rotation", 4, "all"),
    ]
]  # fmt: skip
LEARNING_RATES, FULL_LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (1e-4, 3e-4, 1e-3, 3e-3)
SEEDS = (1, 2, 3, 4, 5)
STEPS, BATCH, CHECKS = 300, 16, 3


def adapt(
    model: GPT,
    kind: str,
    rank: int,
    targets: str,
    low_rank: Mapping[str, type[LoRALinear]] = LOW_RANK,
) -> None:
    """Make a model ready for a setting; kinds of `low_rank` have alpha = 2 · rank."""
    if kind == "full":
        model.token_embedding.requires_grad_(False)
        return
    layers = TARGETS[targets.removesuffix(" and embeddings")]
    if kind.startswith("MoRA"):
        add_adapters(model, MoRALinear, layers, rank=rank, kind=kind.removeprefix("MoRA, "))
    else:
        add_adapters(model, low_rank[kind], layers, rank=rank, alpha=2 * rank)
    model.token_embedding.requires_grad_(targets.endswith("embeddings"))
    if targets == "query, value":
        # One layer makes queries, keys and values: rows of B that never leave zero make no keys.
        for adapter in adapters_of(model).values():
            adapter.get_parameter("lora_B").register_hook(without_keys)


def without_keys(gradient: Tensor) -> Tensor:
    """The gradient of B (3 · width, rank), with zeros in the rows that make keys."""
    queries, keys, values = gradient.chunk(3)
    return torch.cat([queries, torch.zeros_like(keys), values])


@torch.no_grad()
def changes(model: GPT, base: GPT) -> dict[str, list[float]]:
    """For each linear layer, how far the rows of its weight (out, in) have moved: in norm and
    in direction, the mean of |‖V‖ − ‖W‖| and of 1 − cos(V, W), as in section 3.2 of 2402.09353."""
    adapters, found = adapters_of(model), {}
    for name, layer in base.blocks.named_modules(prefix="blocks"):
        if isinstance(layer, torch.nn.Linear):
            W = layer.weight
            adapter = adapters.get(name)
            V = adapter.merged_weight() if adapter else model.get_parameter(f"{name}.weight")
            norms = (V.norm(dim=1) - W.norm(dim=1)).abs().mean().item()
            turn = (1 - F.cosine_similarity(V, W, dim=1)).mean().item()
            found[name] = [float(f"{norms:.4g}"), float(f"{turn:.4g}")]
    return found


def run(options: Options, low_rank: Mapping[str, type[LoRALinear]] = LOW_RANK) -> Run:
    """Finetune once; return validation losses and, after the search, exact match.

    For runs on all layers, also what `changes` says at each look.
    """
    tokenizer, device = load_tokenizer("book"), pick_device()
    seed_everything(options["seed"])
    base, model = load_gpt2("book").to(device), load_gpt2("book").to(device)
    adapt(model, options["kind"], options["rank"], options["targets"], low_rank)

    def loader(examples: list[Example], shuffle: bool = False) -> DataLoader:
        return make_instruction_loader(
            examples, BATCH, pad_id=tokenizer.eos_id, shuffle=shuffle, seed=options["seed"]
        )

    entries, examples = load_examples(SPLITS, tokenizer)
    validation = loader(examples["validation"])
    losses: list[float] = []
    moved: list[dict[str, list[float]]] = []

    def look(done: int) -> None:
        if done % (STEPS // CHECKS) == 0:
            losses.append(round(evaluate(model, validation), 4))
            if options["phase"] != "search" and options["targets"] == "all":
                moved.append(changes(model, base))

    training = loader(examples["training"], shuffle=True)
    train(model, training, TrainConfig(STEPS, lr=options["learning_rate"]), after_step=look)
    trained = count_parameters(model)[0]
    if options["targets"] == "query, value":  # a third of B never moves
        trained -= sum(a.get_parameter("lora_B").numel() // 3 for a in adapters_of(model).values())
    found = {**options, "trained": trained, "validation_losses": losses}
    if options["phase"] != "search":
        for split in ("new_combinations", "new_words"):
            right = right_answers(model, examples[split])
            found[split] = round(macro_average(by_task(entries[split], right)), 4)
        found["changes"] = moved
    return found


def main() -> None:
    """Do the runs that are missing."""
    run_at_best_rate("adapters", [FULL], FULL_LEARNING_RATES, SEEDS, run)
    run_at_best_rate("adapters", ADAPTERS, LEARNING_RATES, SEEDS, run)


if __name__ == "__main__":
    main()
