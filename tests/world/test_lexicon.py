"""The grammar of the small world, and its lists of words."""

import pytest

from gptbook.world.lexicon import WORDS, comparative, ing, listed, number, past, plural, third

# -- grammar


@pytest.mark.parametrize(
    ("function", "forms"),
    [
        (plural, "kite kites box boxes cherry cherries key keys leaf leaves sheep sheep"),
        (past, "play played cry cried stop stopped visit visited read read knit knitted"),
        (ing, "sit sitting tie tying travel travelling bake baking agree agreeing play playing"),
        (third, "fix fixes study studies play plays have has go goes watch watches"),
        (comparative, "big bigger shy shyer narrow narrower clever cleverer late later dry drier"),
        (number, [0, "zero", 13, "thirteen", 40, "forty", 99, "ninety-nine"]),
    ],
)  # fmt: skip
def test_forms(function, forms):
    forms = forms.split() if isinstance(forms, str) else forms
    for word, form in zip(forms[::2], forms[1::2], strict=True):
        assert function(word) == form


def test_numbers_out_of_range_are_refused():
    for n in (-1, 100):
        with pytest.raises(ValueError, match="not between 0 and 99"):
            number(n)


def test_the_lexicon_is_consistent():
    for words in WORDS.values():
        assert len(set(words)) == len(words)
    assert set(WORDS["pets"]) <= set(WORDS["animals"])
    assert set(WORDS["actions"]) <= set(WORDS["verbs"])
    assert not set(WORDS["girls"]) & set(WORDS["boys"])
    for word, opposite in WORDS["adjectives"].items():
        assert opposite in WORDS["adjectives"], word
    sizes = [size for size, *_ in WORDS["animals"].values()]
    assert len(set(sizes)) == len(sizes)


def test_rows_are_listed():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"], "or") == "a, b or c"
