"""Trains the base model that comes with the book: `python -m gptbook.experiments.base_model`.

Writes the folder gptbook/assets/base, in transformers' format, and chapters/results/base_model.json
(options, losses and what the model knows, as it went). Interrupted, the same command goes on from
its checkpoint, ~/.cache/gptbook/base-checkpoint.safetensors.
"""

import json
import sys
import time
from pathlib import Path

import torch

from gptbook.data import encode_documents, make_loader
from gptbook.device import pick_device, seed_everything
from gptbook.experiments.measures import CONTEXT, RESULTS, measure, write_result
from gptbook.gpt2 import BOOK, save_gpt2
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import load_tokenizer
from gptbook.training import train
from gptbook.world import World

SHAPE = {"embed_dim": 192, "num_layers": 6, "num_heads": 6}
STEPS, BATCH, RATE, SEED = 9000, 8, 3e-3, 0
MEASURE_EVERY = 1000
CHECKPOINT = Path.home() / ".cache" / "gptbook" / "base-checkpoint.safetensors"


def main():
    """Train, measure every `MEASURE_EVERY` steps, and save the model."""
    seed_everything(SEED)
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    world, tokenizer = World(), load_tokenizer("book")
    num_documents = STEPS * BATCH * CONTEXT // 55  # a document has 60 tokens, more or less
    texts = (
        document.text for document, _ in zip(world.stream(), range(num_documents), strict=False)
    )
    loader = make_loader(encode_documents(list(texts), tokenizer), CONTEXT, BATCH, shuffle=True)
    if len(loader) < STEPS:
        raise ValueError(f"{num_documents} documents fill {len(loader)} batches, not {STEPS}")
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, **SHAPE)).to(pick_device())
    path, start = RESULTS / "base_model.json", time.time()
    earlier = json.loads(path.read_text())["curve"] if path.exists() and CHECKPOINT.exists() else []

    def log(done):
        if done % MEASURE_EVERY == 0:
            row = {
                "step": done,
                "tokens": done * BATCH * CONTEXT,
                **measure(model, tokenizer, world),
            }
            row["seconds"] = round(time.time() - start)
            print(row, file=sys.stderr)
            earlier[:] = [old for old in earlier if old["step"] < done] + [row]
            options = {**SHAPE, "steps": STEPS, "batch": BATCH, "rate": RATE, "seed": SEED}
            options |= {"threads": torch.get_num_threads(), "documents": num_documents}
            write_result("base_model", {"options": options, "curve": earlier})

    losses = train(model, loader, STEPS, RATE, checkpoint=CHECKPOINT, after_step=log)
    content = json.loads(path.read_text())
    content["losses"] = [
        round(sum(losses[i : i + 50]) / len(losses[i : i + 50]), 4) for i in range(0, STEPS, 50)
    ]
    write_result("base_model", content)
    save_gpt2(model, BOOK, tokenizer.eos_id)


if __name__ == "__main__":
    main()
