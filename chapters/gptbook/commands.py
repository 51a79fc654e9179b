"""What the two commands share, `python -m gptbook.finetune` and `python -m gptbook.pretrain`."""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptbook.files import written_whole

Found = dict[str, Any]
SUMMARY, RUN = "summary.json", "run"  # in the folder of a command: what it found, and its state


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    if (number := int(text)) < 1:
        raise ValueError(f"{text} is less than 1")
    return number


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that both commands have."""
    add = parser.add_argument
    add("--out", required=True, help="the folder to write; a run that was broken off goes on there")
    add("--validation", type=float, default=0.1, help="the part that is held out (0.1)")
    add("--seed", type=int, default=0)
    add("--device", help="where to compute; default: the fastest device there is")


def run_command(
    told: argparse.Namespace, work: Callable[[Path], Found], report: Callable[[Found, Path], None]
) -> None:
    """Call `work` with the folder; keep what it found there, and report it.

    What a user can mend ends with a message, not a traceback. The state of the run, from which the
    same command goes on, is removed at the end.
    """
    out = Path(told.out)
    try:
        if (out / SUMMARY).exists():
            raise ValueError(f"{out} holds a finished run; remove it or choose another folder")
        found = {name: value for name, value in vars(told).items() if name != "out"} | work(out)
        with written_whole(out / SUMMARY) as part:
            text = json.dumps(found, indent=2, ensure_ascii=False)
            part.write_text(text + "\n", encoding="utf-8")
        shutil.rmtree(out / RUN)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"\nbroken off; the same command goes on from {out / RUN}")
    report(found, out)
