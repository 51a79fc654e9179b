"""How the tests are spread over the machine, and that every notebook's kernel is offline."""

import os
from pathlib import Path

OFFLINE = Path(__file__).parent / "tests" / "offline"
# The files that take longest, the longest first: two processes that begin with these end at about
# the same time. The rest follows as it comes.
LONGEST = (
    "08_instructions.ipynb", "01_tour.ipynb", "06_pretraining.ipynb", "09_lora.ipynb",
    "07_base_model.ipynb", "11_mora.ipynb", "10_dora.ipynb", "05_generation.ipynb",
    "test_entries.py", "04_gpt.ipynb", "03_attention.ipynb", "02_text_to_tokens.ipynb",
    "A_pytorch.ipynb",
)  # fmt: skip


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gigabytes():
    """The memory of this machine, where the system tells it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return 2.0 * cores()


def pytest_xdist_auto_num_workers(config):
    """As many processes as there are cores, and no more than have 2 GB of memory each."""
    return max(1, min(cores(), int(gigabytes() // 2)))


def pytest_configure(config):
    """Share the cores among the processes; refuse the network: see tests/offline."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)) or config.getoption(
        "numprocesses", 0
    )
    threads = max(1, cores() // max(1, workers or 1))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
    os.environ["TIKTOKEN_CACHE_DIR"] = ""  # no vocabulary that was downloaded earlier
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")])
    )


def pytest_collection_modifyitems(items):
    """Put the tests of the longest files first; the others stay in their order."""
    place = {name: i for i, name in enumerate(LONGEST)}
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker("slow")
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
