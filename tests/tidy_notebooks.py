"""Removes from notebooks what tools leave behind: `python tests/tidy_notebooks.py FILE …`.

Of the metadata stay the kernel, the language, and for each cell tags, alternative texts and what
JupyterLab needs to fold its source. What a cell has printed becomes one output, and of a progress
bar its last state. Prints the names of the notebooks that it has changed; whether outputs are
complete, `test_notebooks.py` says.
"""

import json
import sys
from pathlib import Path
from typing import Any

OF_NOTEBOOK, OF_CELL = ("kernelspec", "language_info"), ("tags", "alt", "jupyter")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def last_states(text: str) -> str:
    """What is left on a screen of text in which lines are written over after a carriage return.

    >>> last_states("a\\r  1%\\r100%\\nb")
    '100%\\nb'
    """
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return "\n".join(lines)


def coalesced(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs of a cell; what was printed without anything in between becomes one of them."""
    kept: list[dict[str, Any]] = []
    for output in outputs:
        stream = output["output_type"] == "stream"
        if stream and kept and kept[-1].get("name") == output["name"]:
            kept[-1]["text"] = [*kept[-1]["text"], *output["text"]]
        else:
            kept.append(dict(output))
    for output in kept:
        if output["output_type"] == "stream":
            output["text"] = last_states("".join(output["text"])).splitlines(keepends=True)
    return kept


def tidy(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return the notebook with nothing in its metadata that the book does not use."""
    metadata = {k: v for k, v in notebook["metadata"].items() if k in OF_NOTEBOOK}
    cells = []
    for cell in notebook["cells"]:
        kept = {k: v for k, v in cell["metadata"].items() if k in OF_CELL and v}
        cell = cell | {"metadata": kept}
        if "outputs" in cell:
            cell["outputs"] = coalesced(cell["outputs"])
        cells.append(cell)
    return notebook | {"metadata": metadata | {"kernelspec": KERNEL}, "cells": cells}


def main(paths: list[str]) -> int:
    """Tidy the notebooks at these paths; return 1 if one of them was changed."""
    changed = 0
    for path in map(Path, paths):
        text = path.read_text(encoding="utf-8")
        tidied = json.dumps(tidy(json.loads(text)), indent=1, ensure_ascii=False) + "\n"
        if tidied != text:
            path.write_text(tidied, encoding="utf-8")
            print(path)
            changed = 1
    return changed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
