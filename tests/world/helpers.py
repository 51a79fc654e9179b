"""Documents of the small world, drawn once."""

from gptbook.world import World

WORLD = World()


DOCUMENTS = WORLD.documents(8000)
