"""Every check accepts the published solution, and says what it makes of anything else."""

import io
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

import gptbook.bpe
import gptbook.exercises
from gptbook.exercises import Probe, check, exercise_numbers

ROOT = Path(__file__).resolve().parents[2]

TEXTS = [
    *(ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"),
    *(ROOT / "appendix").glob("[A-Z]_*.ipynb"),
]
KEYS = sorted(path.name.split("_")[0] for path in TEXTS)  # "01" …, "A" …
NUMBERS = [number for key in KEYS for number in exercise_numbers(key)]


class EqualToAnything:
    """Equal to whatever a check compares it with."""

    def __eq__(self, other):
        return True

    __hash__ = None

    def __len__(self):
        return 2

    def __iter__(self):
        return iter((self, self))

    def __float__(self):
        return 1.0


@lru_cache
def solutions(key):
    """The solutions of a chapter, by number: what the solution notebook hands to `check`."""
    answers, original = {}, gptbook.exercises.check
    path = ROOT / "appendix" / "solutions" / f"{key}.ipynb"
    try:
        gptbook.exercises.check = lambda number, answer: (
            answers.update({number: answer}) or original(number, answer)
        )
        namespace = {}
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, str(path), "exec"), namespace)
    finally:
        gptbook.exercises.check = original
    return answers


def key_of(number):
    return number.split(".")[0].rjust(2, "0") if number[0].isdecimal() else number.split(".")[0]


def solution_of(number):
    return solutions(key_of(number))[number]


def wrong_answers(key):
    name = f"chapter_{key}" if key.isdecimal() else f"appendix_{key.lower()}"
    return import_module(f"tests.exercises.test_{name}").WRONG


def test_every_exercise_has_wrong_answers():
    found = {}
    for key in KEYS:
        found |= wrong_answers(key)
    assert set(found) == set(NUMBERS)
    assert all(len(answers) >= 3 for answers in found.values())


@pytest.mark.parametrize("number", NUMBERS)
def test_accepts_the_solution(number):
    assert check(number, solution_of(number)).correct


@pytest.mark.parametrize("number", NUMBERS)
def test_each_sentence_about_a_mistake_is_said(number, monkeypatch):
    sentences, judge = set(), Probe._judge

    def noting(probe, *arguments):
        sentences.update(sentence for _, sentence in arguments[5])
        return judge(probe, *arguments)

    monkeypatch.setattr(Probe, "_judge", noting)
    check(number, solution_of(number))
    monkeypatch.undo()
    answers = [w[0] if isinstance(w, tuple) else w for w in wrong_answers(key_of(number))[number]]
    said = [check(number, answer).hint for answer in answers] if sentences else []
    unsaid = [sentence for sentence in sentences if not any(sentence in hint for hint in said)]
    assert not unsaid, "no answer in WRONG is told this"


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("stub", [..., lambda *arguments: ...])
def test_a_stub_is_not_attempted(number, stub):
    assert check(number, stub).status == "not attempted"


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "answer",
    [
        None,
        3,
        "text",
        lambda: None,
        lambda *a: None,
        lambda *a: object(),
        lambda *a: EqualToAnything(),
        lambda *a: (EqualToAnything(), EqualToAnything()),
        lambda *a: [EqualToAnything()],
    ],
)
def test_nonsense_is_refused_without_raising(number, answer):
    assert check(number, answer).status == "not yet"


def test_check_survives_what_an_answer_may_do(monkeypatch):
    def leave(*arguments):
        raise SystemExit(1)

    def cry(*arguments):
        raise ValueError("\ud83d")

    assert check("2.2", leave).status == check("2.2", cry).status == "not yet"
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", console)
    assert check("2.4", lambda tokens: "é").status == "not yet"


@pytest.mark.parametrize("number", ["9.9", "2.99", "two", "", 2.1, None, "².1", "9" * 5000 + ".1"])
def test_unknown_numbers_do_not_raise(number):
    expected = "not attempted" if number == 2.1 else "unknown exercise"
    assert check(number, ...).status == expected


def test_a_notebook_shows_the_result_once():
    assert check("2.1", ...)._ipython_display_() is None
