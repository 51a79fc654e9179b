"""Pretraining: loss, learning-rate schedule, optimizer and loop; chapter 6 builds them."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from gptbook.checkpoints import Batch, SavedRun, options_of
from gptbook.data import IGNORE_INDEX
from gptbook.device import autocast, same_randomness
from gptbook.modes import evaluating, unwrapped

LossFunction = Callable[[Tensor, Tensor], Tensor]  # of logits and targets


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of targets (B, T) under logits (B, T, V).

    Targets that are `IGNORE_INDEX` do not count.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} differ")
    counted = (targets != IGNORE_INDEX).sum().clamp(min=1)  # a batch without any costs nothing
    total = F.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
    )
    return total / counted


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Rise linearly to `peak` in `warmup` steps, then fall along a cosine to a tenth at the end.

    From the last of the `steps` on, it stays there.

    >>> [round(learning_rate(step, 101, peak=1.0, warmup=1), 3) for step in (0, 50, 100)]
    [1.0, 0.557, 0.1]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    return peak * (0.55 + 0.45 * math.cos(math.pi * progress))


def make_optimizer(model: nn.Module, lr: float, weight_decay: float = 0.1) -> torch.optim.AdamW:
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


def endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of `loader` for ever, starting over when it ends."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("the loader gave no batch; is it empty, or a generator used up?")


def checked_ids(model: nn.Module, inputs: Tensor, targets: Tensor) -> Batch:
    """A batch of ids of any whole type, as int64; ValueError for ids that the model does not know.

    Without this, an id beyond the vocabulary is an IndexError on a CPU and a crash on CUDA.
    """
    vocab_size = getattr(getattr(unwrapped(model), "config", None), "vocab_size", None)
    inputs, targets = inputs.long(), targets.long()
    counted = targets[targets != IGNORE_INDEX]
    for name, ids in (("inputs", inputs), ("targets", counted)):
        if vocab_size and ids.numel() and not 0 <= ids.min() <= ids.max() < vocab_size:
            raise ValueError(
                f"the {name} hold ids from {ids.min()} to {ids.max()}, but the model knows those "
                f"from 0 to {vocab_size - 1}: were they made with another tokenizer?"
            )
    return inputs, targets


def accumulate_gradients(
    model: nn.Module,
    batches: list[Batch],
    loss_fn: LossFunction = next_token_loss,
    mixed: bool = False,
) -> float:
    """Add to the gradients those of the mean loss over all targets of `batches`; return the loss.

    A batch counts by its part of the targets that count, so that four batches of four rows give
    what one of sixteen would. With `mixed`, the model computes in bf16 where the device can, and
    the loss in float32 all the same. Raises ValueError if no target counts in any of them.
    """
    device = next(model.parameters()).device
    counts = [(targets != IGNORE_INDEX).sum().item() for _, targets in batches]
    if not any(counts):
        raise ValueError("no target counts in this step: its batches would teach nothing")
    total = 0.0
    for (inputs, targets), count in zip(batches, counts, strict=True):
        inputs, targets = checked_ids(model, inputs, targets)
        with autocast(device, mixed):
            logits = model(inputs.to(device))
            loss = loss_fn(logits.float() if mixed else logits, targets.to(device))
        if len(batches) > 1:
            loss = loss * (count / sum(counts))
        loss.backward()
        total += loss.item()
    return total


@dataclass(frozen=True)
class TrainConfig:
    """How to train; numbers of NumPy become Python's, as a checkpoint needs them.

    Raises ValueError unless steps >= 0, 0 <= warmup < steps, max_norm > 0, accumulate >= 1
    and save_every >= 1.
    """

    steps: int
    lr: float = 1e-3  # the highest learning rate, reached after the warm-up
    warmup: int | None = None  # steps in which the learning rate rises; default: a tenth of all
    weight_decay: float = 0.1
    max_norm: float = 1.0  # gradients with a larger norm are scaled down to it
    accumulate: int = 1  # batches for each step, as if they were one
    mixed: bool = False  # compute in bf16 where the device can
    save_every: int = 200  # steps from one checkpoint to the next

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, value.item() if hasattr(value, "item") else value)
        steps, warmup, max_norm = self.steps, self.warmup_steps, self.max_norm
        if steps < 0 or not 0 <= warmup < max(steps, 1) or max_norm <= 0:
            raise ValueError(
                "need steps >= 0, 0 <= warmup < steps and max_norm > 0; "
                f"got {steps}, {warmup} and {max_norm}"
            )
        if self.accumulate < 1 or self.save_every < 1:
            raise ValueError(
                "need accumulate >= 1 and save_every >= 1; "
                f"got {self.accumulate} and {self.save_every}"
            )

    @property
    def warmup_steps(self) -> int:
        """In how many steps the learning rate rises."""
        return self.steps // 10 if self.warmup is None else self.warmup


def train(
    model: nn.Module,
    loader: Iterable[Batch],
    config: TrainConfig,
    loss_fn: LossFunction = next_token_loss,
    checkpoint: str | Path | None = None,
    after_step: Callable[[int], object] | None = None,
) -> list[float]:
    """Train `model` on `loader`, over and over, as `config` says; return the loss of each step.

    Shows a progress bar with the loss. Batches are (inputs, targets), each (B, T); they are moved
    to where the model is.

    With `checkpoint`, the path of a file, the run is saved there every `config.save_every` steps
    and at the end. If the file exists, the run goes on from it, on the CPU with the very bits of a
    run without a break. Call `train` as the first time, with a model of the same shape and a loader
    made anew: it is run forward to where it was.

    `after_step(done)` is called with the number of steps done after each; it may evaluate the
    model and draw random numbers of torch's without changing the run. If it returns True, the run
    ends there.

    Raises ValueError for a loader without batches, for a step without a target that counts, and if
    the checkpoint is of a run with another config or other data; FloatingPointError, before the
    weights change, if a loss or a gradient is not finite. What was saved last stays.
    """
    device = next(model.parameters()).device
    optimizer = make_optimizer(model, config.lr, config.weight_decay)
    batches, run = endless(loader), None
    losses: list[float] = []
    if checkpoint is not None:
        options = asdict(config) | {"warmup": config.warmup_steps}
        options |= options_of(model, optimizer, loss_fn)
        del options["save_every"]
        run = SavedRun(checkpoint, model, optimizer, batches, options)
        batches, losses = run.batches, run.losses
    model.train()
    with progress_bar(config.steps, len(losses)) as bar:
        for step in range(len(losses), config.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config.steps, config.lr, config.warmup_steps)
            optimizer.zero_grad()
            parts = list(islice(batches, config.accumulate))
            losses.append(accumulate_gradients(model, parts, loss_fn, config.mixed))
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_norm)
            if not math.isfinite(losses[-1]) or not norm.isfinite():
                raise FloatingPointError(
                    f"step {step + 1}: the loss is {losses[-1]} and the gradient's norm {norm}. "
                    "The weights are as they were before it; a lower learning rate may help"
                )
            optimizer.step()
            bar.set_postfix_str(f"loss {sum(losses[-50:]) / len(losses[-50:]):.3f}", refresh=False)
            bar.update()
            done = step + 1
            if run and (done % config.save_every == 0 or done == config.steps):
                run.save(done)
            if after_step is not None:
                with same_randomness(device):
                    ended = after_step(done) is True
                model.train()
                if ended:
                    break
    return losses


def progress_bar(steps: int, done: int = 0) -> tqdm:
    """A bar of `steps`, of which some are done, redrawn once a second."""
    look = {"file": sys.stdout, "mininterval": 1.0, "ascii": True}
    return tqdm(total=steps, initial=done, desc="training", **look)


@torch.no_grad()
def evaluate(model: nn.Module, loader: Iterable[Batch]) -> float:
    """Return the mean loss in nats per token over all batches of `loader`, without dropout."""
    device = next(model.parameters()).device
    total, count = 0.0, 0
    with evaluating(model):
        for inputs, targets in (checked_ids(model, *batch) for batch in loader):
            counted = int((targets != IGNORE_INDEX).sum())
            loss = next_token_loss(model(inputs.to(device)), targets.to(device))
            total, count = total + loss.item() * counted, count + counted
    if count == 0:
        raise ValueError("the loader gave no target that counts")
    return total / count
