"""Finetune a GPT on one's own instructions: `python -m gptbook.finetune mine.jsonl --out folder`.

Entries, masks and batches are those of chapter 8, the methods those of chapters 9 to 11.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptbook.adapters import (
    DoRALinear,
    LoRALinear,
    MoRALinear,
    adapters_of,
    add_adapters,
    count_parameters,
    drop_adapters,
    merge_adapters,
    save_adapters,
)
from gptbook.chats import CHAT_TEMPLATE, encode_entry, prompt_of
from gptbook.commands import RUN, Found, add_common, positive, run_command
from gptbook.data import IGNORE_INDEX, split_documents
from gptbook.device import pick_device, seed_everything
from gptbook.early_stopping import EarlyStopping
from gptbook.entry_files import Entry, load_entries
from gptbook.gpt2 import BOOK, RELEASED, load_gpt2, save_gpt2
from gptbook.instructions import (
    MASKS,
    Example,
    make_instruction_loader,
    make_labels,
    write_responses,
)
from gptbook.model import GPT
from gptbook.scoring import first_of
from gptbook.tokenizer import BPETokenizer, load_tokenizer
from gptbook.training import TrainConfig, train

LAYERS = ["attention.*", "feed_forward.*"]
# Learning rates: for the book's base model, the best in results/adapters.json; for larger ones,
# what the LoRA paper took for GPT-2 (arXiv 2106.09685, appendix D), and a quarter of it for all.
RATES = {
    "full": {"book": 3e-4, "other": 5e-5},
    "lora": {"book": 3e-3, "other": 2e-4},
    "dora": {"book": 3e-3, "other": 2e-4},
    "mora": {"book": 3e-3, "other": 2e-4},
}
SHOWN = 5  # held-out entries whose answers are shown, of at most so many tokens each:
ANSWER = 60


def load_base(base: str) -> tuple[GPT, BPETokenizer, str]:
    """The model and the tokenizer that "book", "gpt2" or a folder mean, and peft's name of it."""
    if base in RELEASED:
        return load_gpt2(base), load_tokenizer("gpt2"), f"openai-community/{base}"
    folder = BOOK if base == "book" else Path(base)
    try:
        tokenizer = load_tokenizer("book" if base == "book" else folder)
    except FileNotFoundError as error:
        raise ValueError(f"{base} has no tokenizer: {error}; save one beside the model") from None
    model = load_gpt2(folder)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{base}: the tokenizer has {tokenizer.vocab_size} ids, the model "
            f"{model.config.vocab_size}"
        )
    return model, tokenizer, str(folder.resolve())


def adapt(model: GPT, method: str, rank: int) -> None:
    """Put adapters of a kind on all linear layers of the blocks; "full" trains the model itself."""
    if method == "mora":
        add_adapters(model, MoRALinear, LAYERS, rank=rank, kind="rotation")
    elif method != "full":
        layer = {"lora": LoRALinear, "dora": DoRALinear}[method]
        add_adapters(model, layer, LAYERS, rank=rank, alpha=2 * rank)


def split_entries(
    entries: Sequence[Entry], fraction: float, seed: int
) -> tuple[list[Entry], list[Entry]]:
    """Distinct entries, shuffled, as (training, validation), of which each has at least one."""
    texts = list(dict.fromkeys(json.dumps(entry, sort_keys=True) for entry in entries))
    if len(texts) < 2:
        raise ValueError("need two different entries or more, one of them for validation")
    training, validation = split_documents(texts, max(fraction, 1 / len(texts)), seed)
    return [json.loads(text) for text in training], [json.loads(text) for text in validation]


def encode_entries(
    entries: Sequence[Entry], tokenizer: BPETokenizer, mask: str, max_length: int
) -> list[Example]:
    """Encode entries; say which are cut, and leave out those of which no target is left."""
    examples = [encode_entry(entry, tokenizer) for entry in entries]
    long = [i for i, example in enumerate(examples) if len(example.ids) > max_length]
    targets = [set(make_labels(example, mask)[1:max_length]) for example in examples]
    empty = [i for i in long if targets[i] <= {IGNORE_INDEX}]
    if long:
        print(f"{len(long)} of {len(examples)} texts are cut to {max_length} tokens")
    if empty:
        print(f"{len(empty)} of them have no answer left and are left out: {first_of(empty)}")
    if len(empty) == len(examples):
        raise ValueError(f"no answer begins within {max_length} tokens; allow more")
    return [example for i, example in enumerate(examples) if i not in set(empty)]


def answers_to(model: GPT, tokenizer: BPETokenizer, examples: Sequence[Example]) -> list[str]:
    """What the model answers to examples; "" where a prompt leaves no room."""
    found = []
    for prompt in map(prompt_of, examples):
        room = min(ANSWER, model.config.context_length - len(prompt))
        found += write_responses(model, tokenizer, [prompt], room) if room > 0 else [""]
    return found


def finetune(entries: Sequence[Entry], out: Path, told: argparse.Namespace) -> Found:
    """Finetune as the options say, write the folder, and return what is reported."""
    device = pick_device(told.device)
    model, tokenizer, name = load_base(told.base)
    max_length = min(told.max_length or model.config.context_length, model.config.context_length)
    parts = split_entries(entries, told.validation, told.seed)
    training, validation = (
        encode_entries(part, tokenizer, told.mask, max_length) for part in parts
    )
    seed_everything(told.seed)
    model.to(device)
    adapt(model, told.method, told.rank)

    def loader(examples: list[Example], shuffle: bool) -> Any:
        pad_id = tokenizer.eos_id or 0
        return make_instruction_loader(
            examples, told.batch_size, told.mask, pad_id, shuffle, told.seed, max_length
        )

    epoch = -(-len(training) // told.batch_size)
    every = min(epoch, 200)
    rate = told.lr or RATES[told.method]["book" if told.base == "book" else "other"]
    config = TrainConfig(told.epochs * epoch, rate, mixed=True, save_every=every, weight_decay=0.0)
    trained, _ = count_parameters(model)
    print(
        f"{told.method}: {trained:,} parameters trained on {len(training)} entries, "
        f"{len(validation)} held out, on {device}; learning rate {rate}"
    )
    shown = validation[:SHOWN]
    before = answers_to(model, tokenizer, shown)
    stopping = EarlyStopping(
        model, loader(validation, False), out / RUN / "best.safetensors", every, told.patience
    )
    checkpoint = out / RUN / "checkpoint.safetensors"
    losses = train(
        model, loader(training, True), config, checkpoint=checkpoint, after_step=stopping
    )
    stopping.restore()
    after = answers_to(model, tokenizer, shown)
    save(model, tokenizer, out, name)
    wanted = [tokenizer.decode(e.ids[len(prompt_of(e)) : -1]).strip() for e in shown]
    prompts = [e.text_of(tokenizer, "instruction") + e.text_of(tokenizer, "input") for e in shown]
    return {
        **{"lr": rate, "training": len(training), "validation": len(validation)},
        **{"steps": len(losses), "best_step": stopping.best[0]},
        **{"loss_before": stopping.losses[0], "loss_after": stopping.best[1]},
        "answers": [
            dict(zip(("prompt", "wanted", "before", "after"), each, strict=True))
            for each in zip(prompts, wanted, before, after, strict=True)
        ],
    }


def save(model: GPT, tokenizer: BPETokenizer, out: Path, base_name: str) -> None:
    """Write the adapter by itself, for peft, and the whole model, for transformers."""
    if adapters_of(model):
        save_adapters(model, out / "adapter", base_name)
        drop_adapters(merge_adapters(model))
    save_gpt2(model, out, tokenizer=tokenizer)
    tokenizer.save_for_transformers(out, CHAT_TEMPLATE)


def report_finetuning(found: Found, out: Path) -> None:
    """Print what has come of it."""
    for answer in found["answers"]:
        print(f"\n{answer['prompt'].strip()}")
        for kind in ("wanted", "before", "after"):
            print(f"  {kind + ':':8} {answer[kind]}")
    print(
        f"\nvalidation loss {found['loss_before']:.3f} before, {found['loss_after']:.3f} after "
        f"{found['best_step']} of {found['steps']} steps, of the {found['validation']} entries "
        "held out (these also chose the step, so others will be a little harder)"
    )
    if found["best_step"] == found["steps"]:
        print("it was still falling: more --epochs may help")
    print(f"{out} holds the model for transformers and for load_gpt2")
    if (out / "adapter").exists():
        print(f"{out / 'adapter'} holds the adapter for peft and for load_adapters")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    about = "Finetune a GPT on your own instructions; chapters 8 to 11 explain what happens."
    parser = argparse.ArgumentParser("python -m gptbook.finetune", description=about)
    add = parser.add_argument
    add("entries", help="a file of JSON or JSON lines: instructions with outputs, or chats")
    add("--base", default="book", help="book, gpt2 (gpt2-medium …), or a folder with a model")
    add("--method", default="lora", choices=list(RATES), help="what is trained (lora)")
    add("--rank", type=positive, default=8, help="of LoRA and DoRA; MoRA spends as much (8)")
    add("--lr", type=float, help="learning rate; the default depends on method and base")
    add("--epochs", type=positive, default=10, help="how often each entry is read, at most (10)")
    add("--patience", type=positive, default=3, help="looks without a lower validation loss (3)")
    add("--batch-size", type=positive, default=8)
    add("--max-length", type=positive, help="tokens of an entry that count (all that fit)")
    add("--mask", default="instruction", choices=list(MASKS), help="what does not count")
    add("--skip-bad", action="store_true", help="leave out bad entries in place of stopping")
    add_common(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the entries, finetune, and report."""
    told = parse(arguments)
    run_command(
        told,
        lambda out: finetune(load_entries(told.entries, told.skip_bad), out, told),
        report_finetuning,
    )


if __name__ == "__main__":
    main()
