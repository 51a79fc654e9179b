"""Top-p, min-p and penalties, with which chapter 5's checks compare answers."""

import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopPLogitsWarper,
)

from gptbook.exercises import drawn
from gptbook.exercises.cutting import (
    MIN_P,
    NUCLEUS,
    PENALTIES,
    above,
    changed,
    left,
    nucleus,
    pushed_down,
)


def test_the_filters_are_those_of_transformers():
    logits = 2 * drawn((20, 9))[0].double()
    p = logits.softmax(dim=-1)
    for share in (0.1, 0.3, 0.6, 0.9):
        wanted = TopPLogitsWarper(share)(None, logits.clone()).softmax(dim=-1)
        torch.testing.assert_close(nucleus(p, share), wanted)
        wanted = MinPLogitsWarper(share)(None, logits.clone()).softmax(dim=-1)
        torch.testing.assert_close(above(p, share * p.amax(dim=-1, keepdim=True)), wanted)
    ids = torch.randint(9, (20, 5), generator=torch.Generator().manual_seed(0))
    wanted = RepetitionPenaltyLogitsProcessor(1.5)(ids, logits.clone())
    torch.testing.assert_close(changed(pushed_down)(logits, ids, 1.5), wanted)


def test_every_mistake_is_one():
    p = (2 * drawn((20, 9))[0]).softmax(dim=-1)
    tenths = torch.tensor([[5.0, 3.0, 1.0, 1.0], [1.0, 1.0, 3.0, 5.0]]) / 10
    quarters = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]])
    for wrong, sentence in NUCLEUS:
        given = [(p, 0.6), (tenths, 0.75)]
        assert any(not torch.equal(wrong(*x), nucleus(*x)) for x in given), sentence
    for wrong, sentence in MIN_P:
        given = [(p, 0.3), (quarters, 0.5)]
        right = [above(x, m * x.amax(dim=-1, keepdim=True)) for x, m in given]
        pairs = zip(given, right, strict=True)
        assert any(not torch.equal(wrong(*x), r) for x, r in pairs), sentence
    logits, ids = drawn((4, 9))[0], torch.tensor([[0, 0, 1], [2, 3, 4], [5, 5, 6], [7, 8, 8]])
    for wrong, sentence in PENALTIES:
        right = changed(pushed_down)(logits, ids, 1.5)
        assert not torch.equal(wrong(logits, ids, 1.5), right), sentence


def test_how_many_are_left():
    assert left([0.5, 0.3, 0.1, 0.06, 0.04], 0.75) == 2
    assert left([0.5, 0.3, 0.1, 0.06, 0.04], 0.75, temperature=2.0) == 3
    assert left([0.5, 0.3, 0.1, 0.06, 0.04], 0.75, temperature=2.0, top_k=2) == 2
