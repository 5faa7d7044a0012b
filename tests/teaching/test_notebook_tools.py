import ast
import logging
import random
import re
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import diffusers
import matplotlib
import numpy as np
import pytest
import torch
import transformers

import perso_lite
from perso_lite.errors import PersoError
from perso_lite.teaching import notebook

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.fixture
def settings_kept():
    """Put back what `setup` is there to change."""
    libraries = [lib.utils.logging for lib in (diffusers, transformers)]
    levels = [lib.get_verbosity() for lib in libraries]
    bars = [lib.is_progress_bar_enabled() for lib in libraries]
    pipelines = logging.getLogger("diffusers.pipelines")
    pipelines_level = pipelines.level
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    with matplotlib.rc_context(), warnings.catch_warnings():
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    pipelines.setLevel(pipelines_level)
    for library, level, bar in zip(libraries, levels, bars, strict=True):
        library.set_verbosity(level)
        if bar:
            library.enable_progress_bar()


def drawn():
    return random.random(), np.random.rand(), torch.rand(()).item()


# -- setup -----------------------------------------------------------------------------


def test_setup_prints_one_line_with_versions_device_and_threads(settings_kept, capsys):
    notebook.setup()
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert captured.err == ""
    for name in ("torch", "diffusers", "transformers"):
        assert f"{name} {version(name)}" in captured.out
    assert captured.out.startswith("perso_lite ")
    assert f"{notebook.device_name()}, " in captured.out
    assert f"threads: {torch.get_num_threads()}" in captured.out


def test_setup_again_changes_nothing(settings_kept, capsys):
    notebook.setup()
    style, filters = dict(matplotlib.rcParams), list(warnings.filters)
    notebook.setup()
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert dict(matplotlib.rcParams) == style
    assert warnings.filters == filters


def test_setup_seeds_python_numpy_and_torch(settings_kept):
    notebook.setup(seed=3)
    first = drawn()
    notebook.setup(seed=3)
    assert drawn() == first
    notebook.setup(seed=4)
    assert all(a != b for a, b in zip(drawn(), first, strict=True))


def test_setup_leaves_threads_and_gradients_alone(settings_kept):
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    notebook.setup()
    after = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    assert after == before


def test_figures_get_the_style_and_long_titles_fit(settings_kept):
    notebook.setup()
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    title = axes.set_title(
        "the word looks at its toy, and padding at all else", loc=None
    )
    figure.canvas.draw()
    assert axes.get_title(loc="left") == title.get_text()
    assert not axes.spines["top"].get_visible()
    assert not axes.spines["right"].get_visible()
    assert figure.get_constrained_layout()
    assert title.get_window_extent().x1 < figure.bbox.x1


def test_setup_silences_the_libraries_but_not_the_learner(settings_kept, caplog):
    warnings.simplefilter("always")
    notebook.setup()
    for library in (diffusers, transformers):
        assert not library.utils.logging.is_progress_bar_enabled()
        assert library.utils.logging.get_verbosity() == logging.ERROR
    say = "import warnings; warnings.warn('soon', FutureWarning)"
    with warnings.catch_warnings(record=True) as seen:
        exec(say, {"__name__": "diffusers.models.attention"})
        exec(say, {"__name__": "transformers"})
        assert seen == []
        exec(say, {"__name__": "__main__"})
        assert len(seen) == 1


def test_a_prompt_that_is_cut_is_still_told(settings_kept, tiny):
    notebook.setup()
    name = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"
    heard = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger(name).addHandler(listener)
    try:
        tiny.encode_prompt("a cat on a beach " * 20, "cpu", 1, False)
    finally:
        logging.getLogger(name).removeHandler(listener)
    assert any("truncated" in message for message in heard)


def test_setup_in_a_clone_that_was_never_installed(settings_kept, monkeypatch, capsys):
    def found(name):
        if name == "perso_lite":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(notebook, "version", found)
    notebook.setup()
    own = perso_lite.__version__
    assert capsys.readouterr().out.startswith(f"perso_lite {own}, torch ")


# -- packages --------------------------------------------------------------------------


def test_needed_packages_are_those_of_pyproject():
    text = PYPROJECT.read_text(encoding="utf-8")
    block = re.search(r"^dependencies = (\[.*?^\])", text, re.DOTALL | re.MULTILINE)
    stated = ast.literal_eval(block.group(1))
    assert [name + needed for name, needed in notebook.NEEDED.items()] == stated


@pytest.mark.parametrize(
    ("installed", "is_fine"),
    [
        ("0.20.2", False),
        ("0.34.9", False),
        ("0.35", True),
        ("0.36.0.dev0", True),
        ("0.42.1+cu128", True),
        ("1.0.0", False),
    ],
)
def test_versions_are_held_against_their_range(monkeypatch, installed, is_fine):
    monkeypatch.setattr(notebook, "version", lambda name: installed)
    assert (notebook.trouble_with("diffusers") is None) == is_fine


def test_an_old_package_stops_setup_with_a_sentence(monkeypatch, capsys):
    old = {"diffusers": "0.20"}
    monkeypatch.setattr(
        notebook, "version", lambda name: old.get(name) or version(name)
    )
    with pytest.raises(PersoError) as error:
        notebook.setup()
    message = str(error.value)
    assert message.startswith(
        "diffusers 0.20 is installed, at least 0.35 and below 1 is"
    )
    assert 'pip install "diffusers>=0.35,<1"' in message
    assert "torch" not in message
    assert capsys.readouterr().out == ""


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(notebook, "version", missing)
    assert notebook.trouble_with("torch") == (
        'torch is not installed, at least 2.6 is needed: pip install "torch>=2.6"'
    )


def test_without_packaging_we_say_what_to_install(monkeypatch):
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    assert notebook.trouble_with("numpy").endswith("pip install packaging")


def test_the_check_of_packages_runs_from_the_command_line():
    command = [sys.executable, "-m", "perso_lite.teaching.notebook"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["[OK]", n] for n in notebook.NEEDED
    ]
    assert done.stderr == ""


def test_the_check_of_packages_fails_where_one_is_old(monkeypatch, capsys):
    old = {"peft": "0.3"}
    monkeypatch.setattr(
        notebook, "version", lambda name: old.get(name) or version(name)
    )
    assert notebook.main() == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.startswith("[FAIL]")]
    assert len(lines) == len(notebook.NEEDED)
    assert len(failed) == 1
    assert failed[0].startswith("[FAIL] peft 0.3 is installed")


# -- report and verdict ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "printed"),
    [
        ({"at_least": 0.8}, "identity ≥ 0.80 ✓"),
        ({"at_most": 0.875}, "identity ≤ 0.875 ✓"),
        ({"above": 0}, "identity > 0 ✓"),
        ({"below": 250.0}, "identity < 250 ✓"),
        ({"at_least": 0.2, "at_most": 1}, "identity ≥ 0.20 and ≤ 1 ✓"),
        ({"at_least": 0.5, "unit": "s"}, "identity ≥ 0.50 s ✓"),
    ],
)
def test_report_prints_the_bound_and_no_digit_measured(bounds, printed, capsys):
    notebook.report("identity", 0.8734, **bounds)
    assert capsys.readouterr().out == printed + "\n"


@pytest.mark.parametrize(
    "bounds",
    [
        {"at_least": 0.9},
        {"at_most": 0.8},
        {"above": 0.8734},
        {"below": 0.8734},
        {"at_least": 0.1, "at_most": 0.2},
    ],
)
def test_report_raises_with_the_digits(bounds, capsys):
    with pytest.raises(PersoError, match=r"identity is 0\.8734, but .* was expected"):
        notebook.report("identity", 0.8734, **bounds)
    assert capsys.readouterr().out == ""


def test_report_takes_tensors_and_bounds_that_are_just_met(capsys):
    notebook.report("share", torch.tensor(0.5), at_least=0.5, at_most=0.5)
    assert capsys.readouterr().out == "share ≥ 0.50 and ≤ 0.50 ✓\n"


@pytest.mark.parametrize("bound", ["at_least", "at_most", "above", "below"])
def test_nan_keeps_no_bound(bound):
    with pytest.raises(PersoError, match="nan"):
        notebook.report("identity", float("nan"), **{bound: 0.5})


def test_report_without_a_bound_is_refused():
    with pytest.raises(PersoError, match="at_least"):
        notebook.report("identity", 0.5)


def test_verdict_states_negative_results_too(capsys):
    notebook.verdict("keys decide where", True)
    notebook.verdict("values decide what", torch.tensor(False))
    assert capsys.readouterr().out.splitlines() == [
        "✓ keys decide where",
        "✗ values decide what (not in our small world)",
    ]


@pytest.mark.parametrize(
    ("interval", "bound", "outcome"),
    [
        ((0.2, 0.1, 0.3), {"above": 0}, "supported"),
        ((0.2, -0.1, 0.3), {"above": 0}, "undecided"),
        ((-0.2, -0.3, -0.1), {"above": 0}, "contradicted"),
        ((-0.2, -0.3, -0.1), {"below": 0}, "supported"),
        ((0.2, 0.1, 0.3), {"below": 0}, "contradicted"),
        ((1.1, 1.0, 1.2), {"below": 1.15}, "undecided"),
        ((0.1, 0.0, 0.2), {"above": 0}, "undecided"),  # an end on the bound
    ],
)
def test_claim_has_three_outcomes(interval, bound, outcome, capsys):
    notebook.claim("keys decide where", interval, **bound)
    printed = capsys.readouterr().out
    assert printed.split()[0] == outcome
    mean, low, high = interval
    assert f"keys decide where: {mean:+.2f} [{low:+.2f}, {high:+.2f}]" in printed


def test_claim_without_digits_is_the_same_on_every_machine(capsys):
    notebook.claim("it is liked", (0.2, 0.1, 0.3), above=0, digits=False)
    assert capsys.readouterr().out == "supported     it is liked\n"


@pytest.mark.parametrize("bounds", [{}, {"above": 0, "below": 1}])
def test_claim_needs_one_bound(bounds):
    with pytest.raises(PersoError, match="either above or below"):
        notebook.claim("it is liked", (0.2, 0.1, 0.3), **bounds)
