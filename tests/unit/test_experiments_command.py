"""Commands as experiments: the template, the end of the program, the cancel."""

from __future__ import annotations

import inspect
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from experiments import ExperimentFailed, RunCancelled
from experiments.command import CommandExperiment, render
from experiments.conf import ExperimentsSettings
from experiments.discovery import candidates
from experiments.examples.command import DiskUsage
from experiments.examples.word_count import WordCount
from experiments.testing import RecordingContext
from tests.waiting import wait_until


class Shell(CommandExperiment):
    """A shell is what the base class does without; here it plays the program."""

    argv = ("/bin/sh", "-c", "{script}")
    stop_grace_s = 0.2

    class Config(BaseModel):
        script: str


class Parameters(BaseModel):
    text: str = "a b; $HOME `x`"
    level: int = -3
    items: list[str] = ["x y", "z"]
    none: str | None = None


def shell(script: str, folder: Path) -> RecordingContext[Any]:
    return RecordingContext(Shell.Config(script=script), workdir=folder)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("p", "{text}"), ["p", "a b; $HOME `x`"]),
        (("p", "--level={level}", "{level}"), ["p", "--level=-3", "-3"]),
        (("p", "{items}", "end"), ["p", "x y", "z", "end"]),
        (("p", "{none}", "--x={none}", "end"), ["p", "end"]),
        (("p", "{{kept}}"), ["p", "{kept}"]),
    ],
)
def test_each_element_is_one_argument_whatever_it_holds(argv: tuple[str, ...], expected: list[str]) -> None:
    assert render(argv, Parameters()) == expected


def test_a_text_cannot_become_an_option() -> None:
    config = Parameters(text="--delete", items=["-rf"])

    for field in ("{text}", "{items}"):
        with pytest.raises(ValueError, match="would be taken for an option"):
            render(("p", field), config)
    assert render(("p", "--", "{text}", "{items}"), config) == ["p", "--", "--delete", "-rf"]
    assert render(("p", "--name={text}"), config) == ["p", "--name=--delete"]


def test_a_command_without_argv_is_abstract() -> None:
    class Base(CommandExperiment):
        pass

    assert inspect.isabstract(CommandExperiment)
    assert inspect.isabstract(Base)
    assert not inspect.isabstract(DiskUsage)


def test_a_template_that_cannot_be_filled_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="no field 'pth'"):
        type("Wrong", (CommandExperiment,), {"argv": ("du", "{pth}")})
    with pytest.raises(TypeError, match="begins with the program's name"):
        type("Wrong", (CommandExperiment,), {"argv": "du"})


def test_the_example_prints_the_size_of_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inner").mkdir()
    ctx = RecordingContext(DiskUsage.Config(path=tmp_path), workdir=tmp_path)

    summary = DiskUsage().run(ctx)

    assert summary["exit_code"] == 0
    assert f"{tmp_path}/inner" in capfd.readouterr().out


def test_the_example_says_that_a_folder_is_missing(tmp_path: Path) -> None:
    ctx = RecordingContext(DiskUsage.Config(path=tmp_path / "nowhere"), workdir=tmp_path)
    with pytest.raises(ExperimentFailed, match=r"There is no .*nowhere"):
        DiskUsage().run(ctx)


@pytest.mark.parametrize(
    ("experiment", "path"),
    [
        (experiment, path)
        for experiment in (DiskUsage, WordCount)
        for path in ("/etc/passwd", "..", "inner/../../x", "link", "link/passwd")
    ],
)
def test_examples_read_nothing_outside_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: type[Any], path: str
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "link").symlink_to("/etc")
    ctx = RecordingContext(experiment.Config(path=path), workdir=tmp_path / "work")

    with pytest.raises(ExperimentFailed, match=r"is outside of .*ATHANOR_EXPERIMENTS_EXAMPLES_FOLDER"):
        experiment().run(ctx)


def test_a_setting_names_the_folder_of_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("one two")
    monkeypatch.setattr(
        "experiments.examples._reading.experiments_settings",
        lambda: ExperimentsSettings(examples_folder=tmp_path / "texts"),
    )
    for path in (Path("a.txt"), tmp_path / "texts" / "a.txt"):
        ctx = RecordingContext(WordCount.Config(path=path, pause_s=0), workdir=tmp_path / "work")

        assert WordCount().run(ctx)["words"] == 2


@pytest.mark.parametrize(
    ("is_production", "chosen", "offered"),
    [(False, None, True), (True, None, False), (True, True, True), (False, False, False)],
)
def test_examples_are_offered_outside_of_production_or_where_a_setting_says_so(
    settings: Any, monkeypatch: pytest.MonkeyPatch, is_production: bool, chosen: bool | None, offered: bool
) -> None:
    settings.PRODUCTION = is_production
    monkeypatch.setattr("experiments.conf.experiments_settings", lambda: ExperimentsSettings(examples=chosen))

    assert any(candidate.is_example for candidate in candidates()[0]) == offered


@pytest.mark.parametrize(
    ("script", "reason"),
    [("exit 3", "/bin/sh exited with status 3."), ("kill -SEGV $$", "/bin/sh was killed by SIGSEGV.")],
)
def test_the_programs_end_is_the_runs_end(tmp_path: Path, script: str, reason: str) -> None:
    with pytest.raises(ExperimentFailed) as failure:
        Shell().run(shell(script, tmp_path))

    assert str(failure.value) == reason


def test_a_missing_program_fails_the_run(tmp_path: Path) -> None:
    class Missing(CommandExperiment):
        argv = ("no-such-program",)

    with pytest.raises(ExperimentFailed, match="no-such-program could not be started: No such file"):
        Missing().run(RecordingContext(Missing.Config(), workdir=tmp_path))


@pytest.mark.parametrize("script", ["exec sleep 60", "trap '' TERM; while :; do sleep 0.05; done"])
def test_a_cancel_ends_the_program(tmp_path: Path, script: str) -> None:
    ctx = shell(f"echo $$ > pid; {script}", tmp_path)
    ended: list[BaseException] = []

    def run() -> None:
        try:
            Shell().run(ctx)
        except RunCancelled as cancelled:
            ended.append(cancelled)

    thread = threading.Thread(target=run)
    thread.start()
    pid = int(wait_until((tmp_path / "pid").exists) and wait_until((tmp_path / "pid").read_text, what="its pid"))
    ctx.cancel()
    thread.join(10)

    assert ended
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
