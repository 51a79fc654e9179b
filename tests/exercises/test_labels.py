"""The mistakes that chapter 8's checks know are mistakes, and differ from each other."""

from itertools import chain

import pytest
from datasets import Dataset
from trl import pack_dataset

from gptbook.exercises.labels import (
    OFF,
    TWO_ANSWERS,
    batch,
    by_id,
    label_slips,
    labels_of,
    packed,
)
from gptbook.tokenizer import load_tokenizer
from gptbook.world import load_examples

TOKENIZER = load_tokenizer("book")


def test_labels_of_spans():
    ids, spans = [3, 4, 5, 6], [("role", 0, 2), ("response", 2, 4)]
    assert labels_of(ids, spans, {"response"}) == [OFF, OFF, 5, 6]
    assert labels_of(ids, spans, {"response"}, before=1, after=-1, off=0) == [0, 4, 5, 0]
    assert labels_of(ids, spans, lambda spans: spans[:1]) == [3, 4, OFF, OFF]
    assert by_id([5, 5], [("role", 0, 1), ("response", 1, 2)], {"response"}, None) == [5, 5]
    assert by_id([5, 6], [("role", 0, 1), ("response", 1, 2)], None, {"role"}) == [OFF, 6]


def test_no_slip_is_right_and_no_two_are_the_same():
    text = TWO_ANSWERS
    right = labels_of(*text, {"response"})
    wrong = [tuple(slip(*text)) for slip, _ in label_slips("response")]
    assert tuple(right) not in wrong
    assert len(set(wrong)) == len(wrong)


def test_both_orders_of_filling_up_have_the_same_targets():
    arguments = [[1, 2, 3], [4, 5]], [[1, 2, 3], [OFF, 5]], 0
    one, two = batch(*arguments), batch(*arguments, padded_first=True)
    assert one[1].tolist() == two[1].tolist() == [[2, 3], [5, OFF]]
    assert one[0].tolist() == [[1, 2], [4, 0]]
    assert two[0].tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize("size", [110, 128, 256])
def test_packed_rows_are_those_of_trl(size):
    examples = {len(e.ids): e.ids for e in load_examples(["training"], TOKENIZER)[1]["training"]}
    ids = list(examples.values())  # of different lengths: trl breaks ties in another order
    ids = [each for each in ids if len(each) <= size]
    theirs = pack_dataset(Dataset.from_dict({"input_ids": ids}), seq_length=size)["input_ids"]
    rows = packed(list(map(len, ids)), size)
    ours = [list(chain.from_iterable(ids[i] for i in row)) for row in rows]
    assert sorted(ours) == sorted(theirs)
    assert len(ours) < len(ids)
