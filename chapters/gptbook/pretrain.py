"""Pretrain a GPT on one's own texts: `python -m gptbook.pretrain texts --out folder`.

Tokenizer and batches are those of chapter 2, the model that of chapter 4, training that of 6.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import regex
import torch

from gptbook.commands import RUN, Found, add_common, positive, run_command
from gptbook.data import encode_documents, make_loader, split_documents
from gptbook.device import pick_device, seed_everything
from gptbook.early_stopping import EarlyStopping
from gptbook.generate import generate
from gptbook.gpt2 import save_gpt2
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer, load_tokenizer
from gptbook.training import TrainConfig, train

ENDINGS = {".txt", ".md", ".rst", ".text"}  # what is read of a folder
DOCUMENT = 2000  # characters, at least, of a document that is cut out of a longer text
SHOWN, BEGINNING, CONTINUED = 3, 16, 48  # held-out beginnings that are continued; their tokens


def read_texts(paths: Sequence[str | Path]) -> list[str]:
    """The documents in files and folders: each text, or its parts of some paragraphs if it is long.

    Raises ValueError that names a file that is not text in UTF-8, and if there is nothing to read.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.suffix in ENDINGS and p.is_file())
        files += inside if path.is_dir() else [path]
    documents: list[str] = []
    for file in files:
        try:
            documents += cut_text(file.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not text in UTF-8: {error}") from None
    if not documents:
        raise ValueError(f"no text in {[str(path) for path in paths]}; of a folder, files that end "
                         f"in {sorted(ENDINGS)} are read")  # fmt: skip
    return documents


def cut_text(text: str, size: int = DOCUMENT) -> list[str]:
    """Cut a text at blank lines into parts of `size` characters or more, the last one excepted.

    >>> cut_text("one\\n\\ntwo\\n\\nthree", size=5)
    ['one\\n\\ntwo', 'three']
    """
    documents, held = [], ""
    for paragraph in regex.split(r"\n\s*\n", text):
        held = f"{held}\n\n{paragraph}" if held else paragraph
        if len(held) >= size:
            documents.append(held)
            held = ""
    return [part.strip() for part in [*documents, held] if part.strip()]


def pretrain(documents: Sequence[str], out: Path, told: argparse.Namespace) -> Found:
    """Pretrain as the options say, write the folder, and return what is reported."""
    device = pick_device(told.device)
    training, validation = split_documents(documents, told.validation, told.seed)
    if not training or not validation:
        raise ValueError(
            f"{len(documents)} documents are too few for a part of {told.validation} held out"
        )
    if told.tokenizer:
        tokenizer = load_tokenizer(told.tokenizer)
    else:
        tokenizer = BPETokenizer.train("\n".join(training), told.vocab_size, [END_OF_TEXT])
    ids = [encode_documents(part, tokenizer) for part in (training, validation)]
    seed_everything(told.seed)
    shape = tokenizer.vocab_size, told.context, told.width, told.layers, told.heads
    model = GPT(GPTConfig(*shape, told.dropout)).to(device)
    size = sum(p.numel() for p in model.parameters())
    print(
        f"{size:,} parameters; {len(ids[0]):,} tokens of {len(training)} documents, "
        f"{len(ids[1]):,} of {len(validation)} held out, on {device}"
    )
    loader = make_loader(ids[0], told.context, told.batch_size, shuffle=True, seed=told.seed)
    held_out = make_loader(ids[1], told.context, told.batch_size)
    every = max(1, told.steps // 20)
    config = TrainConfig(told.steps, told.lr, mixed=True, save_every=every)
    stopping = EarlyStopping(model, held_out, out / RUN / "best.safetensors", every, told.patience)
    checkpoint = out / RUN / "checkpoint.safetensors"
    losses = train(model, loader, config, checkpoint=checkpoint, after_step=stopping)
    stopping.restore()
    save_gpt2(model, out, tokenizer=tokenizer)
    size_of_token = sum(len(text.encode("utf-8")) for text in validation) / len(ids[1])
    before, after = stopping.losses[0], stopping.best[1]
    return {
        **{"parameters": size, "tokens": len(ids[0]), "steps": len(losses)},
        **{"best_step": stopping.best[0], "loss_before": before, "loss_after": after},
        "bits_per_byte": after / math.log(2) / size_of_token,
        "continuations": continuations(model, tokenizer, validation[:SHOWN]),
    }


def continuations(
    model: GPT, tokenizer: BPETokenizer, documents: Sequence[str]
) -> list[dict[str, str]]:
    """How the model goes on from the beginnings of documents, drawn at a temperature of 0.7."""
    found, draw = [], torch.Generator().manual_seed(0)
    new = min(CONTINUED, model.config.context_length - BEGINNING)
    for document in documents if new > 0 else []:
        prompt = tokenizer.encode(document)[:BEGINNING]
        [text] = generate(model, [prompt], new, 0.7, eos_id=tokenizer.eos_id, generator=draw)
        begun, whole = tokenizer.decode(prompt), tokenizer.decode(text)
        found.append({"beginning": begun, "continued": whole[len(begun) :]})
    return found


def report_pretraining(found: Found, out: Path) -> None:
    """Print what has come of it."""
    for text in found["continuations"]:
        print(f"\n{text['beginning']} ▸ {text['continued']}")
    print(
        f"\nvalidation loss {found['loss_before']:.3f} before, {found['loss_after']:.3f} after "
        f"{found['best_step']} of {found['steps']} steps: {found['bits_per_byte']:.2f} bits a byte"
    )
    if found["best_step"] == found["steps"]:
        print("it was still falling: more --steps may help")
    print(
        f"{out} holds model and tokenizer for transformers, load_gpt2 and gptbook.finetune --base"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    about = "Pretrain a GPT on your own texts; chapters 2, 4 and 6 explain what happens."
    parser = argparse.ArgumentParser("python -m gptbook.pretrain", description=about)
    add = parser.add_argument
    add("texts", nargs="+", help=f"files, or folders of files that end in {sorted(ENDINGS)}")
    add(
        "--tokenizer", help="book, gpt2 or a file or folder; by default one is trained on the texts"
    )
    add("--vocab-size", type=int, default=4096, help="of the tokenizer that is trained (4096)")
    add("--context", type=positive, default=256, help="tokens that the model sees (256)")
    add("--width", type=positive, default=256)
    add("--layers", type=positive, default=6)
    add("--heads", type=positive, default=4)
    add("--dropout", type=float, default=0.1, help="against learning by heart (0.1)")
    add("--steps", type=positive, default=2000, help="at most (2000)")
    add("--patience", type=positive, default=4, help="looks, 20 a run, without a lower loss (4)")
    add("--batch-size", type=positive, default=16)
    add("--lr", type=float, default=1e-3, help="the highest learning rate (0.001)")
    add_common(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the texts, pretrain, and report."""
    told = parse(arguments)
    run_command(told, lambda out: pretrain(read_texts(told.texts), out, told), report_pretraining)


if __name__ == "__main__":
    main()
