"""Entries for instruction finetuning, and how some of them are held out; chapter 6 uses them.

Two kinds are held out: new combinations of words that are known from training, and items about
words and people that never occur in it. (Pretraining has read of these, too.)
"""

import random

from gptbook.lexicon import SENTENCES
from gptbook.tasks import TASKS, draw
from gptbook.world import World

WORDINGS = SENTENCES["tasks"]
SPLITS = ("training", "validation", "new combinations", "new words")
# There are no new numbers; and which words are counted, or who is in a place, does not matter.
WITHOUT_WORDS = ("sums", "sorting", "counting", "place")


def make_entries(split, per_task, seed=0, world=None):
    """Return `per_task` different entries of every task, in shuffled order.

    An entry is {"task", "instruction", "input", "output"}. Tasks without words that could be new
    are left out of "new words". Raises ValueError if a task has not that many.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is not one of {SPLITS}")
    world, rng = world or World(), random.Random(f"{split} {seed}")
    entries = []
    for task in TASKS:
        if split == "new words" and task in WITHOUT_WORDS:
            continue
        found = {}
        for _ in range(200 * per_task + 1000):
            if len(found) == per_task:
                break
            if item := draw(task, rng, world, split):
                fields, given, output = item
                wording = rng.choice(WORDINGS[task])
                entry = {"task": task, "instruction": wording.format(**fields)}
                found.setdefault(repr(item), entry | {"input": given, "output": output})
        if len(found) < per_task:
            raise ValueError(f"{task!r} has fewer than {per_task} entries in {split!r}")
        entries += found.values()
    rng.shuffle(entries)
    return entries
