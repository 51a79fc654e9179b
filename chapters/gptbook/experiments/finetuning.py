"""A space, and the embeddings: `python -m gptbook.experiments.finetuning` compares.

Finetunes the base model with the response behind a space and behind a line break, with frozen and
with trained embeddings, at each of `LEARNING_RATES` and with `SEEDS`. Writes
chapters/results/finetuning.json after each run, and skips runs that are in it already.
"""

from gptbook.device import pick_device, seed_everything
from gptbook.experiments.measures import Options, run_missing
from gptbook.gpt2 import load_gpt2
from gptbook.instructions import (
    Entry,
    Example,
    encode_pieces,
    entry_pieces,
    load_entries,
    make_instruction_loader,
    right_answers,
)
from gptbook.results import Run
from gptbook.scoring import by_task, macro_average
from gptbook.tokenizer import BPETokenizer, load_tokenizer
from gptbook.training import TrainConfig, train
from gptbook.world.draw import SPLITS
from gptbook.world.entries import FOLDER

VARIANTS = [
    {"template": "space", "embeddings": "frozen"},
    {"template": "line break", "embeddings": "frozen"},
    {"template": "space", "embeddings": "trained"},
]
LEARNING_RATES = (3e-4, 1e-3)
SEEDS = (0, 1, 2, 3, 4)
STEPS, BATCH = 500, 16


def encode(entry: Entry, template: str, tokenizer: BPETokenizer) -> Example:
    """Encode an entry; with the template "line break", each part stands on a line of its own."""
    pieces = entry_pieces(entry)
    if template == "line break":
        pieces = [
            (kind, text if kind in ("role", "boilerplate") else "\n" + text[1:])
            for kind, text in pieces
        ]
    return encode_pieces(pieces, tokenizer)


def run(options: Options) -> Run:
    """Finetune once; return the exact match on what is held out."""
    tokenizer = load_tokenizer("book")
    entries = {split: load_entries(FOLDER / f"{split}.json") for split in SPLITS}
    examples = {
        split: [encode(entry, options["template"], tokenizer) for entry in each]
        for split, each in entries.items()
    }
    seed_everything(options["seed"])
    model = load_gpt2("book").to(pick_device())
    model.token_embedding.requires_grad_(options["embeddings"] == "trained")
    loader = make_instruction_loader(
        examples["training"], BATCH, pad_id=tokenizer.eos_id, shuffle=True, seed=options["seed"]
    )
    train(model, loader, TrainConfig(STEPS, lr=options["learning_rate"]))
    found = {}
    for split in SPLITS[1:]:
        right = right_answers(model, examples[split])
        found[split] = round(macro_average(by_task(entries[split], right)), 4)
    return {**options, **found}


def main() -> None:
    """Do the runs that are missing."""
    wanted = [
        {**variant, "learning_rate": rate, "seed": seed}
        for seed in SEEDS
        for rate in LEARNING_RATES
        for variant in VARIANTS
    ]
    run_missing("finetuning", wanted, run)


if __name__ == "__main__":
    main()
