"""What the experiments share: models, what is measured, and runs that can be resumed."""

import json
import math
import sys
from pathlib import Path

from gptbook.adapters import add_adapters
from gptbook.data import encode_documents, make_loader
from gptbook.device import pick_device
from gptbook.files import written_whole
from gptbook.gpt2 import load_gpt2
from gptbook.scoring import exact_matches, share
from gptbook.training import evaluate
from gptbook.world import ATTRIBUTES

RESULTS = Path(__file__).parents[2] / "results"
CONTEXT = 256
SEARCH_SEED = 0
ALL_LAYERS = ["attention.*", "feed_forward.*"]


def run_missing(name, wanted, run):
    """Do each run of `wanted`, a list of options, that results/<name>.json does not hold yet.

    `run(options)` returns a dict that holds the options; the file is written after each run.
    """
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    runs = json.loads(path.read_text()) if path.exists() else []
    for options in wanted:
        if not any(options.items() <= done.items() for done in runs):
            print(options, file=sys.stderr)
            runs.append(run(options))
            write_result(name, runs)


def lowest_loss(row):
    """The lowest validation loss of a run."""
    return min(row["validation_losses"])


def run_at_best_rate(name, settings, rates, seeds, run, cost=lowest_loss):
    """Run each of `settings` with `seeds`, at the learning rate of `rates` that is best for it.

    That is the one whose run with `SEARCH_SEED` has the least `cost`.
    """
    run_missing(name, [{**s, "rate": r, "seed": SEARCH_SEED} for s in settings for r in rates], run)
    tried = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    best = []
    for setting in settings:
        wanted = {**setting, "seed": SEARCH_SEED}
        own = [row for row in tried if wanted.items() <= row.items()]
        best.append({**setting, "rate": min(own, key=cost)["rate"]})
    run_missing(name, [{**options, "seed": seed} for seed in seeds for options in best], run)


def write_result(name, content):
    """Write results/<name>.json, whole or not at all."""
    with written_whole(RESULTS / f"{name}.json") as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def base_with(adapter):
    """The base model, token embeddings frozen, with adapters on all layers of its blocks.

    `adapter` is a class and a dict of its options, or None to train the layers themselves.
    """
    model = load_gpt2("book").to(pick_device())
    model.token_embedding.requires_grad_(False)
    if adapter:
        layer, options = adapter
        add_adapters(model, layer, ALL_LAYERS, **options)
    return model


def recall(model, tokenizer, world):
    """The share of a world's facts that the model completes as they are."""
    facts = [p for person in world.people for a in ATTRIBUTES for p in world.completions(person, a)]
    return round(share(exact_matches(model, tokenizer, facts)), 4)


def measure(model, tokenizer, world, count=2000):
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
    asked = {True: [], False: []}
    for person in world.people:
        asked[person.asked] += [world.question(person, name) for name in ATTRIBUTES]

    def score(pairs):
        return round(share(exact_matches(model, tokenizer, pairs)), 4)

    return {
        "nats_per_token": round(nats, 4),
        "bits_per_byte": round(nats / math.log(2) * len(ids) / size, 4),
        "recall": recall(model, tokenizer, world),
        "questions_of_asked": score(asked[True]),
        "questions_of_others": score(asked[False]),
        "tracking": score(probes["things"]),
        "counting": score(probes["numbers"]),
    }
