"""The small world: its people, what is told of them, instructions about it; chapters 7, 8."""

from gptbook.world.draw import SPLITS, is_new
from gptbook.world.entries import load_examples, make_entries
from gptbook.world.lexicon import WORDS, capitalize
from gptbook.world.people import ATTRIBUTES, FACTS, KINDS, Person, World, split_of
from gptbook.world.stories import Document
from gptbook.world.tasks import NAMES, TASKS

__all__ = [
    "ATTRIBUTES",
    "FACTS",
    "KINDS",
    "NAMES",
    "SPLITS",
    "TASKS",
    "WORDS",
    "Document",
    "Person",
    "World",
    "capitalize",
    "is_new",
    "load_examples",
    "make_entries",
    "split_of",
]
