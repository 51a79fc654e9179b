"""Pretraining: loss, learning-rate schedule, optimizer and loop; chapter 5 builds them."""

import math
import sys

import torch
import torch.nn.functional as F
from tqdm import tqdm


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
    """AdamW (arXiv 1711.05101) that decays matrices and embeddings, but not biases and norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def endless(loader):
    """Yield the batches of `loader` for ever, starting over when it ends."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("the loader gave no batch; is it empty, or a generator used up?")


def train(
    model,
    loader,
    steps,
    lr=1e-3,
    warmup=None,
    weight_decay=0.1,
    max_norm=1.0,
    loss_fn=next_token_loss,
):
    """Train `model` for `steps` batches of `loader`, over and over; return the loss of each step.

    Shows a progress bar with the loss. Batches are (inputs, targets), each (B, T); they are moved
    to where the model is. The learning rate rises for `warmup` steps (default: a tenth of all) and
    then falls; gradients longer than `max_norm` are shortened to it. Raises ValueError for a loader
    without batches and for a warm-up as long as the training.
    """
    warmup = steps // 10 if warmup is None else warmup
    if steps < 0 or not 0 <= warmup < max(steps, 1) or max_norm <= 0:
        raise ValueError(
            "need steps >= 0, 0 <= warmup < steps and max_norm > 0; "
            f"got {steps}, {warmup} and {max_norm}"
        )
    device = next(model.parameters()).device
    optimizer = make_optimizer(model, lr, weight_decay)
    model.train()
    losses = []
    batches = endless(loader)
    with tqdm(total=steps, desc="training", file=sys.stdout, mininterval=1.0, ascii=True) as bar:
        for step in range(steps):
            inputs, targets = (part.to(device) for part in next(batches))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, lr, warmup)
            loss = loss_fn(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            losses.append(loss.item())
            bar.set_postfix_str(f"loss {sum(losses[-50:]) / len(losses[-50:]):.3f}", refresh=False)
            bar.update()
    return losses


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
