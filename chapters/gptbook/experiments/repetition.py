"""Is text that was read before as good as new? `python -m gptbook.experiments.repetition`.

The same model is trained for the same number of steps on texts that are read once, twice, four or
sixteen times. Writes chapters/results/repetition.json after each run, and skips runs that are in it
already.
"""

from gptbook.data import encode_documents, make_loader
from gptbook.device import pick_device, seed_everything
from gptbook.experiments.measures import Options, run_missing
from gptbook.model import GPT, GPTConfig
from gptbook.results import Run
from gptbook.tokenizer import load_tokenizer
from gptbook.training import TrainConfig, evaluate, train
from gptbook.world import World

EPOCHS = (1, 2, 4, 16)
SEEDS = (0, 1, 2)
CONTEXT, BATCH, STEPS, LEARNING_RATE = 128, 16, 480, 5e-3


def run(options: Options) -> Run:
    """Train on `STEPS / epochs` batches of text, `epochs` times; return the losses at the end."""
    epochs, seed = options["epochs"], options["seed"]
    seed_everything(seed)
    tokenizer, world = load_tokenizer("book"), World()
    texts = [document.text for document in world.documents(20_000, seed=seed)]
    ids = encode_documents(texts, tokenizer)[: STEPS // epochs * BATCH * CONTEXT + 1]
    loader = make_loader(ids, CONTEXT, BATCH, shuffle=True, seed=seed)
    assert len(loader) == STEPS // epochs
    validation = [document.text for document in world.documents(1000, "validation")]
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, 128, 4, 4)).to(pick_device())
    losses = train(model, loader, TrainConfig(STEPS, lr=LEARNING_RATE))
    held_out = make_loader(encode_documents(validation, tokenizer), CONTEXT, BATCH)
    last = losses[-40:]
    return {
        **options,
        "tokens_of_text": len(ids),
        "training_loss": round(sum(last) / len(last), 4),
        "validation_loss": round(evaluate(model, held_out), 4),
    }


def main() -> None:
    """Do the runs that are missing."""
    wanted = [{"epochs": epochs, "seed": seed} for seed in SEEDS for epochs in EPOCHS]
    run_missing("repetition", wanted, run)


if __name__ == "__main__":
    main()
