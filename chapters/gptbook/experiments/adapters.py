"""LoRA, DoRA and MoRA side by side: `python -m gptbook.experiments.adapters` compares.

Finetunes the base model on chapter 6's instructions, fully and with adapters of several kinds,
ranks and places. Each setting is tried at each learning rate of `RATES` (`FULL_RATES` for full
finetuning, which wants smaller ones); at the one that was best on validation it is run with
`SEEDS`, and measured on what is held out. Chapters 7 to 9 draw from it. Writes
chapters/results/adapters.json after each run, and skips runs that are in it already.
"""

import torch
import torch.nn.functional as F

from gptbook.adapters import adapters_of, add_adapters, count_parameters
from gptbook.device import pick_device, seed_everything
from gptbook.dora import DoRALinear
from gptbook.entries import make_entries
from gptbook.experiments.instruction_data import PER_TASK
from gptbook.experiments.measures import ALL_LAYERS, SEARCH_SEED, run_at_best_rate
from gptbook.gpt2 import load_gpt2
from gptbook.instructions import encode_example, make_instruction_loader, right_answers
from gptbook.lora import LoRALinear
from gptbook.mora import MoRALinear
from gptbook.scoring import average, by_task
from gptbook.tokenizer import load_tokenizer
from gptbook.training import evaluate, train

TARGETS = {
    "query, value": ["attention.qkv"],
    "all": ALL_LAYERS,
}
FULL = {"kind": "full", "rank": None, "targets": "all"}
ADAPTERS = [
    {"kind": kind, "rank": rank, "targets": targets}
    for kind, rank, targets in [
        ("LoRA", 1, "all"), ("LoRA", 4, "all"), ("LoRA", 16, "all"), ("LoRA", 64, "all"),
        ("LoRA", 16, "query, value"), ("LoRA", 4, "all and embeddings"),
        ("DoRA", 4, "all"), ("DoRA", 16, "all"),
        ("MoRA, sharing", 4, "all"), ("MoRA, rotation", 4, "all"),
    ]
]  # fmt: skip
RATES, FULL_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (1e-4, 3e-4, 1e-3, 3e-3)
SEEDS = (1, 2, 3)
STEPS, BATCH, CHECKS = 300, 16, 3


def adapt(model, kind, rank, targets):
    """Make a model ready for a setting; LoRA and DoRA have alpha = 2 · rank."""
    if kind == "full":
        model.token_embedding.requires_grad_(False)
        return
    layers = TARGETS[targets.removesuffix(" and embeddings")]
    if kind.startswith("MoRA"):
        add_adapters(model, MoRALinear, layers, rank=rank, kind=kind.removeprefix("MoRA, "))
    else:
        layer = {"LoRA": LoRALinear, "DoRA": DoRALinear}[kind]
        add_adapters(model, layer, layers, rank=rank, alpha=2 * rank)
    model.token_embedding.requires_grad_(targets.endswith("embeddings"))
    if targets == "query, value":
        # One layer makes queries, keys and values: rows of B that never leave zero make no keys.
        for adapter in adapters_of(model).values():
            adapter.lora_B.register_hook(without_keys)


def without_keys(gradient):
    """The gradient of B (3 · width, rank), with zeros in the rows that make keys."""
    queries, keys, values = gradient.chunk(3)
    return torch.cat([queries, torch.zeros_like(keys), values])


@torch.no_grad()
def changes(model, base):
    """For each linear layer, how far the rows of its weight (out, in) have moved: in length and
    in direction, the mean of |‖V‖ − ‖W‖| and of 1 − cos(V, W), as in section 3.2 of 2402.09353."""
    adapters, found = adapters_of(model), {}
    for name, layer in base.blocks.named_modules(prefix="blocks"):
        if isinstance(layer, torch.nn.Linear):
            W = layer.weight
            V = adapters[name].merged_weight() if adapters else model.get_submodule(name).weight
            length = (V.norm(dim=1) - W.norm(dim=1)).abs().mean().item()
            turn = (1 - F.cosine_similarity(V, W, dim=1)).mean().item()
            found[name] = [float(f"{length:.4g}"), float(f"{turn:.4g}")]
    return found


def run(options):
    """Finetune once; return validation losses and, if the seed is one of `SEEDS`, exact match.

    For runs on all layers, also what `changes` says at each look.
    """
    tokenizer, device = load_tokenizer("book"), pick_device()
    seed_everything(options["seed"])
    base, model = load_gpt2("book").to(device), load_gpt2("book").to(device)
    adapt(model, options["kind"], options["rank"], options["targets"])

    def loader(examples, shuffle=False):
        return make_instruction_loader(
            examples, BATCH, pad_id=tokenizer.eos_id, shuffle=shuffle, seed=options["seed"]
        )

    def encode(entries):
        return [encode_example(entry, tokenizer) for entry in entries]

    validation = loader(encode(make_entries("validation", PER_TASK["validation"])))
    losses, moved = [], []

    def look(done):
        if done % (STEPS // CHECKS) == 0:
            losses.append(round(evaluate(model, validation), 4))
            if options["seed"] != SEARCH_SEED and options["targets"] == "all":
                moved.append(changes(model, base))

    training = loader(encode(make_entries("training", PER_TASK["training"])), shuffle=True)
    train(model, training, STEPS, options["rate"], after_step=look)
    trained = count_parameters(model)[0]
    if options["targets"] == "query, value":  # a third of B never moves
        trained -= sum(adapter.lora_B.numel() // 3 for adapter in adapters_of(model).values())
    found = {**options, "trained": trained, "validation_losses": losses}
    if options["seed"] != SEARCH_SEED:
        for split in ("new combinations", "new words"):
            entries = make_entries(split, PER_TASK[split])
            right = right_answers(model, encode(entries))
            found[split] = round(average(by_task(entries, right)), 4)
        found["changes"] = moved
    return found


def main():
    """Do the runs that are missing."""
    run_at_best_rate("adapters", [FULL], FULL_RATES, SEEDS, run)
    run_at_best_rate("adapters", ADAPTERS, RATES, SEEDS, run)


if __name__ == "__main__":
    main()
