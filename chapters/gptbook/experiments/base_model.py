"""Trains the base model that comes with the book: `python -m gptbook.experiments.base_model`.

First on the small world as it is, then, more gently, on a mixture with scenes from school as well.
Writes the folder gptbook/assets/base, in transformers' format, and
chapters/results/base_model.json (options, losses and what the model knows, as it went).
Interrupted, the same command goes on from its checkpoints, ~/.cache/gptbook/base-*.safetensors.
"""

import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from gptbook.data import encode_documents, make_loader
from gptbook.device import pick_device, seed_everything
from gptbook.experiments.measures import CONTEXT, measure
from gptbook.gpt2 import BOOK, save_gpt2
from gptbook.model import GPT, GPTConfig
from gptbook.results import Run, has_result, read_result, write_result
from gptbook.tokenizer import BPETokenizer, load_tokenizer
from gptbook.training import TrainConfig, train
from gptbook.world import KINDS, World

SHAPE: dict[str, Any] = {"embed_dim": 192, "num_layers": 6, "num_heads": 6}
BATCH, SEED, MEASURE_EVERY = 8, 0, 1000
PHASES: list[dict[str, Any]] = [
    {"steps": 9000, "learning_rate": 3e-3, "kinds": KINDS},
    {
        "steps": 3000,
        "learning_rate": 1.5e-3,
        "kinds": KINDS | {"school": 45, "lesson": 50, "things": 20, "biography": 24},
    },
]
CACHE = Path.home() / ".cache" / "gptbook"


def loader_of(
    phase: dict[str, Any], seed: int, world: World, tokenizer: BPETokenizer
) -> DataLoader:
    """Documents of a phase, each read once."""
    count = phase["steps"] * BATCH * CONTEXT // 55  # a document has 60 tokens, more or less
    documents = islice(world.stream(seed=seed, kinds=phase["kinds"]), count)
    ids = encode_documents([document.text for document in documents], tokenizer)
    loader = make_loader(ids, CONTEXT, BATCH, shuffle=True)
    if len(loader) < phase["steps"]:
        raise ValueError(f"{count} documents fill {len(loader)} batches, not {phase['steps']}")
    return loader


def run_phase(number: int, model: GPT, world: World, tokenizer: BPETokenizer, record: Run) -> None:
    """Train in one phase; note in `record` every `MEASURE_EVERY` steps what the model knows."""
    phase, before = PHASES[number], sum(phase["steps"] for phase in PHASES[:number])
    start = time.time()

    def look(done: int) -> None:
        if done % MEASURE_EVERY == 0:
            step = before + done
            row = {"phase": number + 1, "step": step, "tokens": step * BATCH * CONTEXT}
            row |= {**measure(model, tokenizer, world), "seconds": round(time.time() - start)}
            print(row, file=sys.stderr)
            record["curve"] = [old for old in record["curve"] if old["step"] < step] + [row]
            write_result("base_model", record)

    if number:  # the first begins with the seed that the model's first weights were drawn with
        seed_everything(SEED + number)
    loader = loader_of(phase, SEED + number, world, tokenizer)
    checkpoint = CACHE / f"base-{number + 1}.safetensors"
    config = TrainConfig(phase["steps"], lr=phase["learning_rate"])
    losses = train(model, loader, config, checkpoint=checkpoint, after_step=look)
    means = [round(sum(losses[i : i + 50]) / 50, 4) for i in range(0, len(losses), 50)]
    record["losses"] = record["losses"][: before // 50] + means
    write_result("base_model", record)


def main() -> None:
    """Train in both phases, and save the model."""
    seed_everything(SEED)
    CACHE.mkdir(parents=True, exist_ok=True)
    world, tokenizer = World(), load_tokenizer("book")
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, **SHAPE)).to(pick_device())
    threads = torch.get_num_threads()
    options = {**SHAPE, "batch": BATCH, "seed": SEED, "threads": threads, "phases": PHASES}
    begun = has_result("base_model") and (CACHE / "base-1.safetensors").exists()
    record = read_result("base_model") if begun else {"curve": [], "losses": []}
    record["options"] = options
    for number in range(len(PHASES)):
        run_phase(number, model, world, tokenizer, record)
    save_gpt2(model, BOOK, tokenizer.eos_id)


if __name__ == "__main__":
    main()
