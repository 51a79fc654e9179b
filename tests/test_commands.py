"""What both commands do with their folder: state, summary, and messages in place of tracebacks."""

import argparse
import json

import pytest

from gptbook.commands import add_common, positive, run_command


def told(folder, *more):
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=positive, default=1)
    add_common(parser)
    return parser.parse_args(["--out", str(folder), *more])


def work(out):
    (out / "run").mkdir(parents=True)
    return {"loss": 1.5}


def test_what_was_found_is_written_with_the_options_and_the_state_removed(tmp_path):
    shown = []
    run_command(told(tmp_path, "--seed", "7"), work, lambda *given: shown.append(given))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == shown[0][0]
    assert (summary["loss"], summary["seed"], summary["steps"]) == (1.5, 7, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_finished_run_is_not_written_over(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(SystemExit, match="holds a finished run; remove it"):
        run_command(told(tmp_path), work, print)
    assert (tmp_path / "summary.json").read_text() == "{}"


@pytest.mark.parametrize("error", [ValueError("a"), OSError("a"), FloatingPointError("a")])
def test_what_a_user_can_mend_is_a_message(tmp_path, error):
    def fail(out):
        raise error

    with pytest.raises(SystemExit, match=r"^error: a$"):
        run_command(told(tmp_path), fail, print)


def test_what_is_a_fault_of_the_book_is_a_traceback(tmp_path):
    def fail(out):
        raise KeyError("a")

    with pytest.raises(KeyError):
        run_command(told(tmp_path), fail, print)


def test_a_run_that_is_broken_off_says_how_it_goes_on(tmp_path):
    def stop(out):
        (out / "run").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match="the same command goes on"):
        run_command(told(tmp_path), stop, print)
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
def test_numbers_are_whole_and_positive(tmp_path, number, capsys):
    with pytest.raises(SystemExit):
        told(tmp_path, "--steps", number)
    assert f"invalid positive value: '{number}'" in capsys.readouterr().err
