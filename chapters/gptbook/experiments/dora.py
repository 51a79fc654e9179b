"""What makes DoRA work: `python -m gptbook.experiments.dora` takes it apart.

On the task of `adapters`: DoRA whose gradient goes through the norm of V, too; the magnitudes
alone; LoRA with at least as many weights as DoRA of rank 4 trains; each at the best of its rates,
with the seeds of `adapters`. And LoRA of rank 4 at the learning rate that was best for DoRA of rank
4. Writes chapters/results/dora.json after each run, and skips runs that are in it already.
"""

from torch import Tensor, nn

from gptbook.adapters import DoRALinear, LoRALinear
from gptbook.experiments import adapters
from gptbook.experiments.measures import Options, run_at_best_rate, run_missing
from gptbook.results import Run, load_runs


class FullGradientDoRA(DoRALinear):
    """DoRA with the gradient of its formula: the norm of V is no constant in it."""

    def row_norms(self) -> Tensor:
        """‖V‖ of each row (out,)."""
        return LoRALinear.merged_weight(self).norm(dim=1)


class MagnitudesLinear(DoRALinear):
    """DoRA without a low-rank change: only the norm of each row is trained."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        for name in ("lora_A", "lora_B"):
            fixed = self.get_parameter(name).data
            delattr(self, name)
            self.register_buffer(name, fixed)  # B stays zero, so that V is W


KINDS: dict[str, type[LoRALinear]] = {
    "LoRA": LoRALinear,
    "DoRA, full gradient": FullGradientDoRA,
    "magnitudes": MagnitudesLinear,
}
SETTINGS: list[Options] = [
    {"kind": "DoRA, full gradient", "rank": 16, "targets": "all"},
    {"kind": "LoRA", "rank": 5, "targets": "all"},
]
MAGNITUDES: Options = {"kind": "magnitudes", "rank": 1, "targets": "all"}
MAGNITUDE_RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)  # one number a row: they may move in long steps
SAME_RATE: Options = {"kind": "LoRA", "rank": 4, "targets": "all"}


def run(options: Options) -> Run:
    """Finetune once, as `adapters.run`."""
    return adapters.run(options, KINDS)


def rate_of_dora() -> float:
    """The learning rate at which `adapters` ran DoRA of rank 4."""
    return load_runs("adapters", kind="DoRA", rank=4, phase="final")[0]["learning_rate"]


def main() -> None:
    """Do the runs that are missing."""
    run_at_best_rate("dora", SETTINGS, adapters.LEARNING_RATES, adapters.SEEDS, run)
    run_at_best_rate("dora", [MAGNITUDES], MAGNITUDE_RATES, adapters.SEEDS, run)
    same = {**SAME_RATE, "learning_rate": rate_of_dora(), "phase": "equal rates"}
    run_missing("dora", [{**same, "seed": seed} for seed in adapters.SEEDS], run)


if __name__ == "__main__":
    main()
