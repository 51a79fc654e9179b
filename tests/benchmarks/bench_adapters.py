"""LoRA and DoRA beside peft: time and memory of a training step of 124 million weights.

python tests/benchmarks/bench_adapters.py

Each case runs in a process of its own, with one thread, batch 2, 256 tokens and rank 8 on all
linear layers of the blocks. Its time is what the processor spent on a step, the least of several;
its memory is the peak above what the model with adapters takes before the first step.
"""

import json
import os
import subprocess
import sys

ROUNDS, STEPS = 5, 3  # in turn, since other programs and the clock slow now this one, now that
WANTED = {  # ours over peft's: time, memory added
    "lora": (0.96, 0.6),
    "dora": (0.85, 0.6),
}
DORA_OVER_LORA = 1.08


def one_case(library, kind):
    """Print the seconds and the megabytes of one case."""
    import time

    import torch

    from gptbook.training import make_optimizer, next_token_loss

    torch.set_num_threads(1)
    torch.manual_seed(0)
    inputs, targets = torch.randint(50257, (2, 2, 256))
    if library == "ours":
        from gptbook.adapters import DoRALinear, LoRALinear, add_adapters
        from gptbook.model import GPT, GPTConfig

        layer = {"lora": LoRALinear, "dora": DoRALinear}[kind]
        model = add_adapters(GPT(GPTConfig()), layer, "blocks.*", rank=8, alpha=16)

        def loss_of():
            return next_token_loss(model(inputs), targets)
    else:
        from peft import LoraConfig, get_peft_model
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        options = LoraConfig(
            r=8, lora_alpha=16, use_dora=kind == "dora", fan_in_fan_out=True,
            target_modules=["c_attn", "c_proj", "c_fc"],
        )  # fmt: skip
        model = get_peft_model(GPT2LMHeadModel(config), options)

        def loss_of():
            return model(inputs, labels=inputs).loss

    optimizer = make_optimizer(model, 1e-4)
    model.train()
    before, seconds = memory("VmRSS"), []
    reset_peak()
    for _ in range(STEPS + 1):  # the first one makes the optimizer's memory
        start = time.process_time()
        loss_of().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - start)
    print(json.dumps([min(seconds[1:]), memory("VmHWM") - before]))


def memory(name):
    """Megabytes of this process: VmRSS now, VmHWM at most."""
    with open("/proc/self/status") as status:
        found = dict(line.split(":", 1) for line in status)
    return int(found[name].split()[0]) / 1024


def reset_peak():
    """Let VmHWM begin anew."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def main():
    if len(sys.argv) == 3:
        return one_case(*sys.argv[1:])
    cases = [(library, kind) for kind in WANTED for library in ("ours", "peft")]
    found = {case: [] for case in cases}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(ROUNDS):
        for case in cases:
            command = [sys.executable, __file__, *case]
            run = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            found[case].append(json.loads(run.stdout.splitlines()[-1]))
    best = {
        case: [min(column) for column in zip(*rows, strict=True)] for case, rows in found.items()
    }
    for case, (seconds, megabytes) in best.items():
        print(f"{' '.join(case):10} {seconds:6.2f} s a step, {megabytes:6.0f} MB added")
    for kind, bounds in WANTED.items():
        pairs = zip(best["ours", kind], best["peft", kind], bounds, ("time", "memory"), strict=True)
        for ours, theirs, bound, what in pairs:
            verdict = "yes" if ours <= bound * theirs else "NO"
            print(f"{kind}: {ours / theirs:.2f} of peft's {what}, wanted {bound:.2f}: {verdict}")
    ratio = best["ours", "dora"][0] / best["ours", "lora"][0]
    verdict = "yes" if ratio <= DORA_OVER_LORA else "NO"
    print(f"DoRA takes {ratio:.2f} of LoRA's time, wanted {DORA_OVER_LORA}: {verdict}")


if __name__ == "__main__":
    main()
