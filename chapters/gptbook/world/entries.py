"""Entries for instruction finetuning, and how some of them are held out; chapter 8 uses them.

Two kinds are held out: new combinations of words that are known from training, and items about
words and people that never occur in it. (Pretraining has read of these, too.)
"""

import random
from collections.abc import Iterable

from gptbook.files import ASSETS
from gptbook.instructions import Entry, Example, encode_example, load_entries
from gptbook.tokenizer import BPETokenizer
from gptbook.world.draw import SPLITS, Pick
from gptbook.world.lexicon import SENTENCES
from gptbook.world.people import World
from gptbook.world.tasks import TASKS, draw

FOLDER = ASSETS / "instructions"  # the entries that come with the book, a file for each split
WORDINGS = SENTENCES["tasks"]
# There are no new numbers; and which words are counted, or who is in a place, does not matter.
WITHOUT_WORDS = ("sums", "sorting", "counting", "place")


def make_entries(split: str, per_task: int, seed: int = 0) -> list[Entry]:
    """Return `per_task` different entries of every task, in shuffled order.

    An entry is {"task", "instruction", "input", "output"}. Tasks without words that could be new
    are left out of "new_words". Raises ValueError if a task has not that many.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is not one of {SPLITS}")
    # The entries that come with the book were drawn with a space in the seed.
    world, rng = World(), random.Random(f"{split.replace('_', ' ')} {seed}")
    entries: list[Entry] = []
    for task in TASKS:
        if split == "new_words" and task in WITHOUT_WORDS:
            continue
        found: dict[str, Entry] = {}
        for _ in range(200 * per_task + 1000):
            if len(found) == per_task:
                break
            if item := draw(task, Pick(rng, world, split)):
                fields, given, output = item
                wording = rng.choice(WORDINGS[task])
                entry = {"task": task, "instruction": wording.format(**fields)}
                found.setdefault(repr(item), entry | {"input": given, "output": output})
        if len(found) < per_task:
            raise ValueError(f"{task!r} has fewer than {per_task} entries in {split!r}")
        entries += found.values()
    rng.shuffle(entries)
    return entries


def load_examples(
    splits: Iterable[str], tokenizer: BPETokenizer
) -> tuple[dict[str, list[Entry]], dict[str, list[Example]]]:
    """Return the entries that come with the book, and the same encoded: each {split: list}."""
    if isinstance(splits, str):
        raise TypeError(f"splits must be a list of splits, not a str; write [{splits!r}]")
    entries = {split: load_entries(FOLDER / f"{split}.json") for split in splits}
    encoded = {
        split: [encode_example(entry, tokenizer) for entry in each]
        for split, each in entries.items()
    }
    return entries, encoded
