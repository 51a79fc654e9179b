"""Our GPT beside transformers' GPT-2: training steps and cached greedy generation on a CPU.

python tests/benchmarks/bench_gpt.py [--threads N] [--shape small|gpt2|all]
"""

import argparse
import copy
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from gptbook.device import autocast, bf16_works
from gptbook.generate import generate, lay_out_for_generation
from gptbook.model import GPT, GPTConfig
from gptbook.training import make_optimizer, next_token_loss

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.helpers import rename

CPU = "cpu"
PROMPT, NEW = 50, 200
# shape: configuration, batch, and rounds of training and of generation
SHAPES = {
    "small": (GPTConfig(4096, 256, embed_dim=256, num_layers=6, num_heads=8), 16, 6, 8),
    "gpt2": (GPTConfig(context_length=256), 2, 3, 2),
}
BOUNDS = {  # what we want: times the speed of transformers in float32, or of its generation
    "small": {"fp32": 1.08, "bf16": 1.6, "generation": 1.8},
    "gpt2": {"fp32": 1.05, "bf16": 1.8, "generation": 1.25},
}


def make_pair(config):
    """A GPT and a GPT2LMHeadModel with the same weights."""
    torch.manual_seed(0)
    ours = GPT(config)
    for parameter in ours.parameters():
        parameter.data.mul_(2)  # so that the most likely token stands out
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.embed_dim,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="sdpa",
        )
    )
    theirs.load_state_dict(rename(ours.state_dict()))
    return ours, theirs


def fastest(functions, rounds):
    """The least seconds of each function, in interleaved rounds: a busy moment hits them all.

    One thread is timed by what the processor spent on it, whatever else the machine does.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append(clock() - start)
    return {name: min(values) for name, values in times.items()}


def training_step(model, optimizer, loss_of, bf16):
    def step():
        with autocast(CPU, enabled=bf16):
            loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def bench_training(shape):
    config, batch, rounds, _ = SHAPES[shape]
    ours, theirs = make_pair(config)
    ids = torch.randint(config.vocab_size, (batch, config.context_length + 1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    models = {
        "ours": (ours, make_optimizer(ours, 1e-4), lambda: next_token_loss(ours(inputs), targets)),
        "transformers": (
            theirs,
            torch.optim.AdamW(theirs.parameters(), lr=1e-4, fused=True),
            lambda: theirs(inputs, labels=inputs).loss,  # it shifts the labels itself
        ),
    }
    kinds = ["fp32", "bf16"] if bf16_works(CPU) else ["fp32"]
    steps = {
        f"{name} {kind}": training_step(*parts, bf16=kind == "bf16")
        for kind in kinds
        for name, parts in models.items()
    }
    fastest(steps, 1)  # the first step makes the optimizer's memory
    seconds = fastest(steps, rounds)
    for kind in kinds:
        best, theirs_best = seconds[f"ours {kind}"], seconds[f"transformers {kind}"]
        report(shape, f"training {kind}", best, seconds["transformers fp32"], BOUNDS[shape][kind])
        if kind == "bf16":
            report(shape, "training bf16, both", best, theirs_best)
    if "bf16" not in kinds:
        print(f"{shape:6} training bf16: this CPU cannot; not measured")


@torch.no_grad()
def bench_generation(shape):
    config, _, _, rounds = SHAPES[shape]
    ours, theirs = (model.eval() for model in make_pair(config))
    laid_out = copy.deepcopy(ours)
    lay_out_for_generation(laid_out)
    prompt = torch.randint(config.vocab_size, (1, PROMPT))
    mask = torch.ones_like(prompt)
    runs = {
        "generation as built": lambda: generate(ours, prompt, NEW),
        "generation laid out": lambda: generate(laid_out, prompt, NEW),
        "transformers": lambda: theirs.generate(
            prompt, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=0
        ),
    }
    wanted = runs["transformers"]()
    assert all(torch.equal(run(), wanted) for run in runs.values()), "different tokens"
    seconds = fastest(runs, rounds)
    reference = seconds.pop("transformers")
    for name, best in seconds.items():
        report(shape, name, best, reference, BOUNDS[shape]["generation"], per=NEW)


def report(shape, what, ours, theirs, bound=None, per=1):
    ratio = theirs / ours
    verdict = "" if bound is None else f"  wanted {bound:.2f}: {'yes' if ratio >= bound else 'NO'}"
    print(
        f"{shape:6} {what:20} ours {1e3 * ours / per:8.2f} ms   "
        f"transformers {1e3 * theirs / per:8.2f} ms   {ratio:5.2f} × its speed{verdict}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, ", end="")
    print(f"{options.threads} threads; bf16 is measured against transformers in fp32")
    for shape in SHAPES if options.shape == "all" else [options.shape]:
        bench_training(shape)
        bench_generation(shape)


if __name__ == "__main__":
    main()
