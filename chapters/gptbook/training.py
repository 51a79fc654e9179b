"""Pretraining: loss, learning-rate schedule, optimizer and loop; chapter 5 builds them."""

import math
import sys
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from gptbook.checkpoints import CountedBatches, load_checkpoint, read_notes, save_checkpoint
from gptbook.device import autocast, same_randomness
from gptbook.files import remove_parts


def next_token_loss(logits, targets):
    """Mean cross-entropy in nats of targets (B, T) under logits (B, T, V), without targets -100."""
    if logits.shape[:-1] != targets.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} differ")
    counted = (targets != -100).sum().clamp(min=1)  # a batch without any costs nothing
    total = F.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), ignore_index=-100, reduction="sum"
    )
    return total / counted


def learning_rate(step, steps, peak, warmup):
    """Rise linearly to `peak` in `warmup` steps, then fall along a cosine to a tenth at the end.

    >>> [round(learning_rate(step, 101, peak=1.0, warmup=1), 3) for step in (0, 50, 100)]
    [1.0, 0.557, 0.1]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return peak * (0.55 + 0.45 * math.cos(math.pi * progress))


def make_optimizer(model, lr, weight_decay=0.1):
    """AdamW (arXiv 1711.05101) that decays matrices and embeddings, but not biases and norms.

    Fused: one pass over the memory in place of several. It takes for granted that each gradient
    lies in memory as its parameter does, which autograd sees to.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("nothing to train: all parameters are frozen")
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)


def endless(loader):
    """Yield the batches of `loader` for ever, starting over when it ends."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("the loader gave no batch; is it empty, or a generator used up?")


def accumulate_gradients(model, batches, loss_fn=next_token_loss, mixed=False):
    """Add to the gradients those of the mean loss over all targets of `batches`; return the loss.

    A batch counts by its share of the targets that are not -100, so that four batches of four rows
    give what one of sixteen would. With `mixed`, the model computes in bf16 where the device can,
    and the loss in float32 all the same.
    """
    device = next(model.parameters()).device
    counts = [(targets != -100).sum().item() for _, targets in batches]
    total = 0.0
    for (inputs, targets), count in zip(batches, counts, strict=True):
        with autocast(device, mixed):
            logits = model(inputs.to(device))
            loss = loss_fn(logits.float() if mixed else logits, targets.to(device))
        if len(batches) > 1:
            loss = loss * (count / max(1, sum(counts)))
        loss.backward()
        total += loss.item()
    return total


def train(
    model,
    loader,
    steps,
    lr=1e-3,
    warmup=None,
    weight_decay=0.1,
    max_norm=1.0,
    loss_fn=next_token_loss,
    accumulate=1,
    mixed=False,
    checkpoint=None,
    save_every=200,
    after_step=None,
):
    """Train `model` for `steps` steps on `loader`, over and over; return the loss of each step.

    Shows a progress bar with the loss. Batches are (inputs, targets), each (B, T); they are moved
    to where the model is. The learning rate rises for `warmup` steps (default: a tenth of all) and
    then falls; gradients longer than `max_norm` are shortened to it. Each step takes `accumulate`
    batches, as if they were one; `mixed` computes in bf16 where the device can.

    With `checkpoint`, the path of a file, the run is saved there every `save_every` steps and at
    the end. If the file exists, the run goes on from it, on the CPU with the very bits of a run
    without a break. Call `train` as the first time, with a model of the same shape and a loader
    made anew: it is run forward to where it was.

    `after_step(done)` is called with the number of steps done after each; it may evaluate the
    model and draw random numbers of torch's without changing the run.

    Raises ValueError for a loader without batches, for a warm-up as long as the training, and if
    the checkpoint is of a run with other options or other data.
    """
    warmup = steps // 10 if warmup is None else warmup
    if steps < 0 or not 0 <= warmup < max(steps, 1) or max_norm <= 0:
        raise ValueError(
            "need steps >= 0, 0 <= warmup < steps and max_norm > 0; "
            f"got {steps}, {warmup} and {max_norm}"
        )
    if accumulate < 1 or save_every < 1:
        raise ValueError(
            f"need accumulate >= 1 and save_every >= 1; got {accumulate} and {save_every}"
        )
    device = next(model.parameters()).device
    optimizer = make_optimizer(model, lr, weight_decay)
    batches, losses = endless(loader), []
    if checkpoint is not None:
        options = {"steps": steps, "lr": lr, "warmup": warmup, "weight_decay": weight_decay}
        options |= {"max_norm": max_norm, "accumulate": accumulate, "mixed": mixed}
        options["config"] = str(getattr(model, "config", None))
        options["trained"] = sum(
            p.numel() for group in optimizer.param_groups for p in group["params"]
        )
        options["layers"] = sorted(
            {f"{type(m).__name__}({m.extra_repr()})" for m in model.modules()}
        )
        options["loss_fn"] = getattr(loss_fn, "__qualname__", type(loss_fn).__qualname__)
        batches = CountedBatches(batches)
        losses = resume(checkpoint, model, optimizer, batches, options)
    model.train()
    bar = tqdm(
        total=steps,
        initial=len(losses),
        desc="training",
        file=sys.stdout,
        mininterval=1.0,
        ascii=True,
    )
    with bar:
        for step in range(len(losses), steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, lr, warmup)
            optimizer.zero_grad()
            loss = accumulate_gradients(model, list(islice(batches, accumulate)), loss_fn, mixed)
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            losses.append(loss)
            bar.set_postfix_str(f"loss {sum(losses[-50:]) / len(losses[-50:]):.3f}", refresh=False)
            bar.update()
            done = step + 1
            if checkpoint is not None and (done % save_every == 0 or done == steps):
                notes = {"options": options, "losses": losses, "data": batches.checksum}
                save_checkpoint(checkpoint, model, optimizer, done, notes)
            if after_step is not None:
                with same_randomness(device):
                    after_step(done)
                model.train()
    return losses


def resume(checkpoint, model, optimizer, batches, options):
    """Bring all to where the file `checkpoint` left off, if it exists; return the losses so far.

    `batches` is a `CountedBatches` at its beginning. Raises ValueError, and leaves the model as it
    was, if the run in the file had other `options` or other data.
    """
    remove_parts(checkpoint)
    if not Path(checkpoint).exists():
        return []
    step, notes = read_notes(checkpoint)
    if not isinstance(notes, dict) or not {"options", "losses", "data"} <= notes.keys():
        raise ValueError(f"{checkpoint} was not written by train; go on with load_checkpoint")
    if other := [name for name in options if notes["options"][name] != options[name]]:
        there, here = ({name: o[name] for name in other} for o in (notes["options"], options))
        raise ValueError(
            f"{checkpoint} is of a run with {there}, not {here}; use its options or another path"
        )
    batches.skip(step * options["accumulate"])
    if batches.checksum != notes["data"]:
        raise ValueError(
            f"{checkpoint} is of a run on other batches; make the loader as for that run, with the "
            "same seed and, if it shuffles, a generator of its own, as make_loader does"
        )
    load_checkpoint(checkpoint, model, optimizer)
    return notes["losses"]


@torch.no_grad()
def evaluate(model, loader):
    """Return the mean loss in nats per token over all batches of `loader`, without dropout."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    try:
        for inputs, targets in loader:
            counted = (targets != -100).sum().item()
            loss = next_token_loss(model(inputs.to(device)), targets.to(device))
            total, count = total + loss.item() * counted, count + counted
    finally:
        model.train(was_training)
    if count == 0:
        raise ValueError("the loader gave no target that counts")
    return total / count
