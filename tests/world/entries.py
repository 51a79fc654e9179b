"""The entries that come with the book, made again."""

from gptbook.world import World
from gptbook.world.entries import SPLITS, make_entries

WORLD = World()


COUNTS = dict(zip(SPLITS, (250, 20, 100, 100), strict=True))


ENTRIES = {split: make_entries(split, count) for split, count in COUNTS.items()}
