"""What the experiments share: models, what is measured, and runs that can be resumed."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from gptbook.adapters import add_adapters
from gptbook.data import encode_documents, make_loader
from gptbook.device import pick_device
from gptbook.gpt2 import load_gpt2
from gptbook.model import GPT
from gptbook.results import Run, has_result, read_result, select, write_result
from gptbook.scoring import accuracy, exact_matches
from gptbook.tokenizer import BPETokenizer
from gptbook.training import evaluate
from gptbook.world import ATTRIBUTES, World

CONTEXT = 256
SEARCH_SEED = 0
ALL_LAYERS = ["attention.*", "feed_forward.*"]
Options = dict[str, Any]


def runs_so_far(name: str) -> list[Run]:
    """The runs that results/<name>.json holds; none if there is no such file."""
    return read_result(name) if has_result(name) else []


def run_missing(name: str, wanted: Sequence[Options], run: Callable[[Options], Run]) -> None:
    """Do each run of `wanted`, a list of options, that results/<name>.json does not hold yet.

    `run(options)` returns a dict that holds the options; the file is written after each run.
    """
    runs = runs_so_far(name)
    for options in wanted:
        if not select(runs, **options):
            print(options, file=sys.stderr)
            runs.append(run(options))
            write_result(name, runs)


def lowest_loss(run: Run) -> float:
    """The lowest validation loss of a run."""
    return min(run["validation_losses"])


def run_at_best_rate(
    name: str,
    settings: Sequence[Options],
    rates: Sequence[float],
    seeds: Sequence[int],
    run: Callable[[Options], Run],
    cost: Callable[[Run], float] = lowest_loss,
) -> None:
    """Run each of `settings` with `seeds`, at the learning rate of `rates` that is best for it.

    That is the one whose run in the phase "search", with `SEARCH_SEED`, has the least `cost`.
    """
    search = {"phase": "search", "seed": SEARCH_SEED}
    tries = [{**s, "learning_rate": rate, **search} for s in settings for rate in rates]
    run_missing(name, tries, run)
    best = []
    for setting in settings:
        tried = select(runs_so_far(name), **setting, phase="search")
        best.append({**setting, "learning_rate": min(tried, key=cost)["learning_rate"]})
    final = [{**options, "phase": "final", "seed": seed} for seed in seeds for options in best]
    run_missing(name, final, run)


def base_with(adapter: tuple[type, Options] | None) -> GPT:
    """The base model, token embeddings frozen, with adapters on all layers of its blocks.

    `adapter` is a class and a dict of its options, or None to train the layers themselves.
    """
    model = load_gpt2("book").to(pick_device())
    model.token_embedding.requires_grad_(False)
    if adapter:
        layer, options = adapter
        add_adapters(model, layer, ALL_LAYERS, **options)
    return model


def recall(model: nn.Module, tokenizer: BPETokenizer, world: World) -> float:
    """The fraction of a world's facts that the model completes as they are."""
    facts = [p for person in world.people for a in ATTRIBUTES for p in world.completions(person, a)]
    return round(accuracy(exact_matches(model, tokenizer, facts)), 4)


def measure(
    model: nn.Module, tokenizer: BPETokenizer, world: World, count: int = 2000
) -> dict[str, float]:
    """Return validation loss, recall of facts and tracking of who has what."""
    documents = world.documents(count, "validation")
    texts = [document.text for document in documents]
    ids = encode_documents(texts, tokenizer)
    nats = evaluate(model, make_loader(ids, CONTEXT, 16))
    size = sum(len(text.encode("utf-8")) for text in texts) + len(texts)  # a byte for the end
    probes = {
        kind: [p for d in documents if d.kind == kind for p in d.probes]
        for kind in ("things", "numbers")
    }
    asked: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for person in world.people:
        asked[person.asked] += [world.question(person, name) for name in ATTRIBUTES]

    def score(pairs: Sequence[tuple[str, str]]) -> float:
        return round(accuracy(exact_matches(model, tokenizer, pairs)), 4)

    return {
        "nats_per_token": round(nats, 4),
        "bits_per_byte": round(nats / math.log(2) * len(ids) / size, 4),
        "recall": recall(model, tokenizer, world),
        "questions_of_asked": score(asked[True]),
        "questions_of_others": score(asked[False]),
        "tracking": score(probes["things"]),
        "counting": score(probes["numbers"]),
    }
