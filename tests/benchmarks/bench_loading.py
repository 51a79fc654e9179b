"""Loading 124 million weights: ours beside transformers, each time in a fresh process.

python tests/benchmarks/bench_loading.py
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 7
LOADERS = {
    "ours": (
        "from gptbook.gpt2 import load_gpt2 as load",
        "load(folder)",
    ),
    "transformers": (
        "from transformers import GPT2LMHeadModel",
        "GPT2LMHeadModel.from_pretrained(folder)",
    ),
}
CODE = """
import json, sys, time
import torch
{imports}

def memory():
    with open("/proc/self/status") as status:
        found = dict(line.split(":", 1) for line in status)
    return [int(found[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")]

folder = sys.argv[1]
with torch.device("meta"):  # what a first use imports, outside of the measurement
    torch.nn.Linear(2, 2)
before, start = memory(), time.perf_counter()
model = {load}
loaded, seconds = memory(), time.perf_counter() - start
ids = torch.arange(64)[None]
with torch.no_grad():
    model(ids)
used, first = memory(), time.perf_counter() - start - seconds
differences = [now - then for now, then in zip(loaded + used, before + before)]
print(json.dumps([seconds, first, *differences]))
"""


def make_folder(folder):
    """Save a GPT-2 of the smallest size with random weights, in transformers' way."""
    code = (
        "import sys, transformers as t; "
        "t.GPT2LMHeadModel(t.GPT2Config()).save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)


def main():
    if not Path("/proc/self/status").exists():
        sys.exit("the memory of a process is read from /proc, which this system does not have")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        make_folder(folder)
        results = {name: [] for name in LOADERS}
        for _ in range(ROUNDS):  # interleaved, so that a busy moment does not fall on one alone
            for name, (imports, load) in LOADERS.items():
                code = CODE.format(imports=imports, load=load)
                run = subprocess.run(
                    [sys.executable, "-c", code, folder],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=environment,
                )
                results[name].append(json.loads(run.stdout.splitlines()[-1]))
    print("                 load       first use   memory: loaded (own), used (own)")
    for name, rows in results.items():
        seconds, first, *sizes = (min(column) for column in zip(*rows, strict=True))
        shown = "{:6.0f} MB ({:4.0f}), {:4.0f} MB ({:4.0f})".format(*sizes)
        worst = max(row[0] for row in rows) / seconds
        print(f"{name:13} {seconds:7.3f} s  {first:8.3f} s   {shown}   worst/best {worst:.1f}")


if __name__ == "__main__":
    main()
