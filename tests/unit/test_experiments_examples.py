"""Examples, each run in memory: their results, and that a resumed run ends like an uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments import ExperimentFailed, RunCancelled
from experiments.base import Experiment
from experiments.examples.digits import Digits, DigitsConfig
from experiments.examples.monte_carlo_pi import MonteCarloPi
from experiments.examples.word_count import WordCount, WordCountConfig
from experiments.testing import RecordingContext

SMALL = DigitsConfig(epochs=4, hidden_units=16, batch_size=64, shift=0)


def cancelled_then_resumed(experiment: Experiment, ctx: RecordingContext[Any], looks: int) -> tuple[Any, Any]:
    """(what the second attempt returns, its context) of a run that is cut off at the given look at the context."""
    ctx.cancel_after(looks)
    with pytest.raises(RunCancelled):
        experiment.run(ctx)
    later = ctx.next_attempt()
    return experiment.run(later), later


def test_pi_is_estimated_with_a_point_per_batch(tmp_path: Path) -> None:
    ctx = RecordingContext(MonteCarloPi.Config(batches=3, darts=20_000), workdir=tmp_path)

    summary = MonteCarloPi().run(ctx)

    assert summary["pi"] == pytest.approx(3.14, abs=0.05)
    assert [point.step for point in ctx.metrics["pi"]] == [0, 1, 2]
    assert ctx.progresses[-1].current == 3


def test_digits_are_learnt_and_the_confusion_matrix_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    ctx = RecordingContext(DigitsConfig(epochs=8, hidden_units=32, shift=0, learning_rate=0.05), workdir=tmp_path)

    summary = Digits().run(ctx)

    assert summary["best_accuracy"] > 0.9
    assert [point.step for point in ctx.metrics["loss"]] == list(range(1, 9))
    assert ctx.metrics["loss"][-1].value < ctx.metrics["loss"][0].value
    assert ctx.artifacts["confusion-matrix.png"].read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.glob("training-*")] == ["training-8.joblib"]


def test_an_interrupted_training_ends_exactly_as_one_that_was_not(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    whole = RecordingContext(SMALL, workdir=tmp_path / "whole", seed=7)
    expected = Digits().run(whole)

    cut = RecordingContext(SMALL, workdir=tmp_path / "cut", seed=7)
    summary, later = cancelled_then_resumed(Digits(), cut, looks=3)

    assert summary == expected
    assert len(cut.metrics["loss"]) == 2
    assert cut.metrics["loss"] + later.metrics["loss"] == whole.metrics["loss"]


def test_a_training_whose_file_is_gone_starts_anew(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    ctx = RecordingContext(SMALL, workdir=tmp_path, restored={"file": "training-2.joblib", "sha256": "0"})

    assert Digits().run(ctx)["epochs"] == 4
    assert ctx.lines[0].level == "warning"


def test_digits_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.examples.digits.find_spec", lambda name: None if name == "sklearn" else object())

    with pytest.raises(ExperimentFailed, match=r"Not installed: sklearn\. .*requirements-examples"):
        Digits().run(RecordingContext(SMALL, workdir=tmp_path))


def test_the_shipped_text_is_counted(tmp_path: Path) -> None:
    ctx = RecordingContext(WordCountConfig(top=2), workdir=tmp_path)

    summary = WordCount().run(ctx)

    assert summary == {"words": 2168, "distinct": 612, "lines": 202}
    assert ctx.results["top"] == [[{"word": "the", "count": 92}, {"word": "she", "count": 79}]]
    assert ctx.checkpoints[-1]["lines"] == 202


@pytest.mark.parametrize("looks", [1, 2, 3, 7, 20])
def test_an_interrupted_count_ends_exactly_as_one_that_was_not(tmp_path: Path, looks: int) -> None:
    expected = RecordingContext(WordCountConfig(), workdir=tmp_path)
    summary = WordCount().run(expected)

    resumed, later = cancelled_then_resumed(WordCount(), RecordingContext(WordCountConfig(), workdir=tmp_path), looks)

    assert resumed == summary
    assert later.results == expected.results
    assert later.checkpoints[-1] == expected.checkpoints[-1]


def test_a_text_that_changed_is_counted_from_its_beginning(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("one two\n" * 30)
    ctx = RecordingContext(WordCountConfig(path=text), workdir=tmp_path)
    WordCount().run(ctx)
    text.write_text("other\n")

    assert WordCount().run(ctx.next_attempt()) == {"words": 1, "distinct": 1, "lines": 1}


def test_a_text_that_cannot_be_read_fails_the_run(tmp_path: Path) -> None:
    ctx = RecordingContext(WordCountConfig(path=tmp_path / "none"), workdir=tmp_path)

    with pytest.raises(ExperimentFailed, match="cannot be read: No such file"):
        WordCount().run(ctx)
