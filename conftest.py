"""Every notebook's kernel starts with the network refused: see tests/offline/sitecustomize.py."""

import os
from pathlib import Path

OFFLINE = Path(__file__).parent / "tests" / "offline"


def pytest_configure(config):
    os.environ["TIKTOKEN_CACHE_DIR"] = ""  # no vocabulary that was downloaded earlier
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")])
    )
