"""Every check accepts the published solution, and says what it makes of anything else."""

import io
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

import gptbook.bpe
import gptbook.exercises
from gptbook.exercises import check, exercise_numbers

ROOT = Path(__file__).resolve().parents[2]

CHAPTERS = sorted(int(path.name[:2]) for path in (ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))

NUMBERS = [number for chapter in CHAPTERS for number in exercise_numbers(chapter)]


@pytest.fixture(scope="module")
def solutions():
    """The reader's solutions, by number: what the solution notebooks hand to `check`."""
    answers = {}
    original = gptbook.exercises.check
    try:
        for chapter in CHAPTERS:
            path = ROOT / "appendix" / "solutions" / f"{chapter:02d}.ipynb"
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


def test_every_exercise_has_wrong_answers():
    found = {}
    for chapter in CHAPTERS:
        found |= import_module(f"tests.exercises.test_chapter_{chapter:02}").WRONG
    assert set(found) == set(NUMBERS)
    assert all(len(answers) >= 3 for answers in found.values())


@pytest.mark.parametrize("number", NUMBERS)
def test_accepts_the_solution(number, solutions):
    assert check(number, solutions[number]).correct


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("stub", [..., lambda *arguments: ...])
def test_a_stub_is_not_attempted(number, stub):
    assert check(number, stub).status == "not attempted"


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "answer", [None, 3, "text", lambda: None, lambda *a: None, lambda *a: object()]
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
