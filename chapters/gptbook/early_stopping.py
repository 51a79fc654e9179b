"""Early stopping: train until the validation loss no longer falls, and keep the best weights."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from gptbook.checkpoints import Batch
from gptbook.files import read_tensors, refuse_nan, written_whole
from gptbook.modes import unwrapped
from gptbook.training import evaluate

FILE_FORMAT = "gptbook-best-1"


class EarlyStopping:
    """What `train` calls after each step: looks at the validation loss, and says when to stop.

    Every `every` steps the loss over `loader` is measured. The trained parameters of the lowest
    one, those before the first step included, are kept in the file `path`. After `patience`
    measurements without a lower one, the answer is True, at which `train` ends. A run that was
    broken off goes on with the file, as if it had not been unless during a measurement, which then
    is left out. Make this before `train` is called.

    `losses` are those measured, {step: nats per token}; `best` is (step, loss) of the lowest.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Batch],
        path: str | Path,
        every: int,
        patience: int = 3,
    ) -> None:
        if every < 1 or patience < 1:
            raise ValueError(f"every={every} and patience={patience} must be at least 1")
        self.model, self.loader, self.path = model, loader, Path(path)
        self.every, self.patience = every, patience
        self.losses = {0: evaluate(model, loader)}
        self.best = (0, self.losses[0])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.best = self._read()[0]
        else:
            self._keep()

    def __call__(self, done: int) -> bool:
        """Measure, if it is time; return True if there is nothing to wait for any more."""
        if done % self.every:
            return False
        self.losses[done] = loss = evaluate(self.model, self.loader)
        if loss < self.best[1]:
            self.best = (done, loss)
            self._keep()
        lowest = "the lowest so far" if self.best[0] == done else f"lowest at {self.best[0]}"
        tqdm.write(f"step {done}: validation loss {loss:.3f}, {lowest}")
        return done - self.best[0] >= self.patience * self.every

    def restore(self) -> None:
        """Put the best weights into the model."""
        self.best, kept = self._read()
        with torch.no_grad():
            for name, parameter in self._trained().items():
                parameter.copy_(kept[name])

    def _trained(self) -> dict[str, Tensor]:
        named = unwrapped(self.model).named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def _keep(self) -> None:
        tensors = {name: p.detach().cpu().contiguous() for name, p in self._trained().items()}
        refuse_nan(tensors)
        with written_whole(self.path) as part:
            save_file(tensors, part, {"format": FILE_FORMAT, "best": json.dumps(self.best)})

    def _read(self) -> tuple[tuple[int, float], dict[str, Tensor]]:
        metadata, tensors = read_tensors(self.path)
        if metadata.get("format") != FILE_FORMAT or tensors.keys() != self._trained().keys():
            raise ValueError(f"{self.path} does not hold the best weights of this model's training")
        step, loss = json.loads(metadata["best"])
        return (step, loss), tensors
