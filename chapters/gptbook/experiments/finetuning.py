"""A space, and the embeddings: `python -m gptbook.experiments.finetuning` compares.

Finetunes the base model with the response behind a space and behind a line break, with frozen and
with trained embeddings, at each learning rate of `RATES` and with `SEEDS`. Writes
chapters/results/finetuning.json after each run, and skips runs that are in it already.
"""

from gptbook.device import pick_device, seed_everything
from gptbook.entries import make_entries
from gptbook.experiments.instruction_data import PER_TASK
from gptbook.experiments.measures import run_missing
from gptbook.gpt2 import load_gpt2
from gptbook.instructions import (
    encode_pieces,
    entry_pieces,
    make_instruction_loader,
    right_answers,
)
from gptbook.scoring import average, by_task
from gptbook.tokenizer import load_tokenizer
from gptbook.training import train

VARIANTS = [
    {"template": "space", "embeddings": "frozen"},
    {"template": "line break", "embeddings": "frozen"},
    {"template": "space", "embeddings": "trained"},
]
RATES = (3e-4, 1e-3)
SEEDS = (0, 1, 2)
STEPS, BATCH = 500, 16


def encode(entry, template, tokenizer):
    """Encode an entry; with the template "line break", each part stands on a line of its own."""
    pieces = entry_pieces(entry)
    if template == "line break":
        pieces = [
            (kind, text if kind in ("role", "boilerplate") else "\n" + text[1:])
            for kind, text in pieces
        ]
    return encode_pieces(pieces, tokenizer)


def run(options):
    """Finetune once; return the exact match on what is held out."""
    tokenizer = load_tokenizer("book")

    def encode_all(entries):
        return [encode(entry, options["template"], tokenizer) for entry in entries]

    seed_everything(options["seed"])
    model = load_gpt2("book").to(pick_device())
    model.token_embedding.requires_grad_(options["embeddings"] == "trained")
    examples = encode_all(make_entries("training", PER_TASK["training"]))
    loader = make_instruction_loader(
        examples, BATCH, pad_id=tokenizer.eos_id, shuffle=True, seed=options["seed"]
    )
    train(model, loader, STEPS, options["rate"])
    found = {}
    for split in ("validation", "new combinations", "new words"):
        entries = make_entries(split, PER_TASK[split])
        right = right_answers(model, encode_all(entries))
        found[split] = round(average(by_task(entries, right)), 4)
    return {**options, **found}


def main():
    """Do the runs that are missing."""
    wanted = [
        {**variant, "rate": rate, "seed": seed}
        for seed in SEEDS
        for rate in RATES
        for variant in VARIANTS
    ]
    run_missing("finetuning", wanted, run)


if __name__ == "__main__":
    main()
