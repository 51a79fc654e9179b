"""Writes the entries of chapter 8: `python -m gptbook.experiments.instruction_data`.

One JSON list for each split, in the folder gptbook/assets/instructions.
"""

import json

from gptbook.files import written_whole
from gptbook.world.draw import SPLITS
from gptbook.world.entries import FOLDER, make_entries

PER_TASK = dict(zip(SPLITS, (250, 20, 100, 100), strict=True))


def main() -> None:
    """Make the entries and write them, one to a line."""
    FOLDER.mkdir(exist_ok=True)
    for split, count in PER_TASK.items():
        lines = [json.dumps(entry, ensure_ascii=False) for entry in make_entries(split, count)]
        with written_whole(FOLDER / f"{split}.json") as part:
            part.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
