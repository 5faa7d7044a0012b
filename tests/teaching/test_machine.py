"""The check of a machine before a class."""

import psutil
import pytest

from perso_lite.__main__ import main
from perso_lite.teaching.course import machine


@pytest.fixture
def drawn_fast(monkeypatch):
    """A machine with all packages and room, which draws in a second."""
    monkeypatch.setattr(machine, "check_room", lambda: machine.judged_room(8, 20))
    monkeypatch.setattr(machine, "check_speed", lambda: machine.judged_speed(1))


def test_a_ready_machine_is_told_so(drawn_fast, capsys):
    assert main(["check"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("\nThis machine is ready for the course.\n")
    for name in (*machine.NEEDED, "jupyterlab", "a picture", "free disk"):
        assert f"[OK]   {name}" in said


def test_a_missing_package_is_a_sentence_and_nothing_else_is_tried(monkeypatch, capsys):
    def trouble(name):
        return "torch is not installed" if name == "torch" else None

    monkeypatch.setattr(machine, "trouble_with", trouble)
    monkeypatch.setattr(machine, "check_speed", lambda: pytest.fail("tried to draw"))
    assert main(["check"]) == 2
    said = capsys.readouterr()
    assert "[FAIL] torch" in said.out and "\ntorch is not installed.\n" in said.out
    assert "not ready" in said.err


def test_packages_of_notebooks_are_asked_for(monkeypatch, drawn_fast, capsys):
    real = machine.installed
    monkeypatch.setattr(
        machine, "installed", lambda name: None if name == "jupyterlab" else real(name)
    )
    assert main(["check"]) == 2
    assert 'pip install -c constraints.txt -e ".[notebooks]"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("judged", "sentence"),
    [
        (lambda: machine.judged_room(0.5, 20), "0.5 GB of memory are free"),
        (lambda: machine.judged_room(8, 0.2), "0.2 GB of disk are free"),
        (lambda: machine.judged_speed(30), "A picture takes 30.0 s"),
    ],
)
def test_what_is_too_small_or_slow_is_a_sentence(judged, sentence, capsys):
    (trouble,) = judged().values()
    assert trouble.startswith(sentence) and trouble.endswith(".")
    assert "[FAIL]" in capsys.readouterr().out


def test_room_is_that_of_this_machine(capsys):
    machine.check_room()
    said = capsys.readouterr().out
    assert "threads" in said and psutil.virtual_memory().available > 0


@pytest.mark.slow
def test_a_picture_is_really_drawn(capsys):
    machine.check_speed()
    assert "s for 20 steps" in capsys.readouterr().out
