"""Exact match: is the most likely continuation of a text the one that is true?"""

import torch
from torch.nn.utils.rnn import pad_sequence


@torch.no_grad()
def exact_matches(model, tokenizer, pairs, batch_size=64):
    """For each (prompt, end), True if greedy generation after the prompt would write the end.

    All places are computed at once: greedy generation writes `end` exactly if each of its tokens is
    the most likely one after the true tokens before it. Raises ValueError for a pair that is longer
    than the model's context, and for an end that begins within the last token of its prompt.
    """
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    found = []
    try:
        for i in range(0, len(pairs), batch_size):
            batch = pairs[i : i + batch_size]
            prompts = [tokenizer.encode(prompt) for prompt, _ in batch]
            rows = [torch.tensor(tokenizer.encode(f"{prompt} {end}")) for prompt, end in batch]
            # Padding stands at the end, where no earlier place can see it.
            best = model(pad_sequence(rows, batch_first=True).to(device)).argmax(dim=-1).cpu()
            for row, prompt, likely, (_, end) in zip(rows, prompts, best, batch, strict=True):
                start = len(prompt)
                if row[:start].tolist() != prompt:
                    raise ValueError(f"{end!r} does not begin with a token of its own")
                found.append(torch.equal(likely[start - 1 : len(row) - 1], row[start:]))
    finally:
        model.train(was_training)
    return found


def share(found):
    """The share of True in a list; ValueError if it is empty."""
    if not found:
        raise ValueError("no share of nothing")
    return sum(found) / len(found)
