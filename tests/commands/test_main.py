import importlib
import inspect
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from PIL import Image
from tiny_pipeline import WORDS

from perso_lite import METHODS, CustomDiffusion, fit, load_method
from perso_lite.__main__ import main
from perso_lite.commands.personalize import learn
from perso_lite.methods.perfusion import covariance

DESCRIBED = (
    '{"name": "disc", "class_word": "teddy", "placeholder_token": "<disc>",'
    ' "pictures": [{"file": "0.png", "mask": "0.png", "caption": "a teddy"}]}'
)


@pytest.fixture
def pictures(concept, tmp_path):
    """The concept as a user's folder."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for index, image in enumerate(concept.images):
        image.save(folder / f"{index}.png")
    return folder


@pytest.fixture
def command(tiny_folder, tmp_path):
    """Run a command in this process on the tiny base."""

    def run(*arguments):
        return main([*map(str, arguments), "--base", str(tiny_folder)])

    return run


@pytest.fixture
def learned(command, pictures, tmp_path):
    """A concept file made by the command line."""
    out = tmp_path / "toy.safetensors"
    arguments = ["personalize", pictures, "--class-word", "teddy"]
    assert command(*arguments, "--out", out, "--steps", 2) == 0
    return out


def test_personalize_writes_a_concept_and_tells_how_to_draw_it(
    command, pictures, tiny, capsys, tmp_path
):
    out = tmp_path / "toy.safetensors"
    arguments = ["personalize", pictures, "--class-word", "teddy"]
    assert command(*arguments, "--out", out, "--steps", 2) == 0
    assert load_method(out, tiny).training_record["steps"] == 2
    said = capsys.readouterr()
    assert str(out.stat().st_size) in said.out
    assert f"--concept {out} --prompt" in said.out
    assert "2/2" in said.err
    assert not list(tmp_path.glob("*checkpoint*"))


def test_generate_draws_every_prompt_with_every_seed(command, learned, tmp_path):
    out = tmp_path / "out"
    prompts = ["--prompt", "a <toy>", "--prompt", "a <toy> on a beach"]
    options = ["--seeds", 1, 2, "--steps", 1, "--out", out]
    assert command("generate", "--concept", learned, *prompts, *options) == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "00_seed1.png",
        "00_seed2.png",
        "01_seed1.png",
        "01_seed2.png",
    ]
    assert Image.open(out / names[0]).size == (32, 32)


def test_a_concept_is_called_like_its_file(command, pictures, tmp_path, tiny):
    out = tmp_path / "My Cat.safetensors"
    arguments = ["personalize", pictures, "--class-word", "cat", "--steps", 1]
    assert command(*arguments, "--out", out) == 0
    assert load_method(out, tiny).placeholder_token == "<my-cat>"
    assert command(*arguments, "--out", out, "--placeholder-token", "<tom>") == 0
    assert load_method(out, tiny).placeholder_token == "<tom>"


def test_generate_with_two_concepts_of_one_name(command, learned, tmp_path, capsys):
    both = ["generate", "--concept", learned, "--concept", learned, "--steps", 1]
    draw = [*both, "--prompt", "a <toy> and a <b>", "--out", tmp_path / "out"]
    assert command(*draw) == 2
    assert "already in the vocabulary" in capsys.readouterr().err
    names = ["--placeholder-token", "<toy>", "--placeholder-token", "<b>"]
    assert command(*draw, *names) == 0
    assert command(*draw, "--placeholder-token", "<b>") == 2


def test_each_method_is_given_only_what_it_takes(
    command, pictures, tmp_path, tiny, monkeypatch
):
    small = partial(CustomDiffusion, initializer_token="weird", prior_pictures=1)
    small.name, small.SIZES = CustomDiffusion.name, CustomDiffusion.SIZES
    monkeypatch.setitem(METHODS, "custom_diffusion", small)
    out = tmp_path / "toy.safetensors"
    arguments = ["personalize", pictures, "--class-word", "teddy", "--steps", 1]
    arguments += ["--out", out, "--method"]
    assert command(*arguments, "custom-diffusion") == 0
    assert load_method(out, tiny).settings()["prior_pictures"] == 1
    assert command(*arguments, "textual-inversion", "--num-vectors", 2) == 0
    assert len(load_method(out, tiny).vectors) == 2


def test_options_of_training_are_passed_on_and_recorded(
    command, pictures, tiny, capsys, tmp_path
):
    out = tmp_path / "toy.safetensors"
    arguments = ["personalize", pictures, "--class-word", "teddy", "--out", out]
    arguments += ["--steps", 2, "--flips", "--crops", 1, "--gradient-accumulation", 2]
    arguments += ["--learning-rate-schedule", "cosine", "--warmup-steps", 1]
    assert command(*arguments, "--learnable-property", "style", "--auto-mask") == 0
    record = load_method(out, tiny).training_record
    wanted = {
        "flips": True, "crops": 1, "gradient_accumulation": 2, "warmup_steps": 1,
        "learning_rate_schedule": "cosine", "learnable_property": "style", "steps": 2,
    }  # fmt: skip
    assert record.items() >= wanted.items()
    said = capsys.readouterr().out
    assert '3 of 3 pictures had no mask: made one where "teddy"' in said
    assert command(*arguments) == 0
    other = load_method(out, tiny).training_record
    assert other["pictures"] != record["pictures"]  # its hash takes in the masks


def test_masks_that_are_there_are_kept(command, pictures, concept, capsys, tmp_path):
    for index, mask in enumerate(concept.masks):
        mask.save(pictures / f"{index}_mask.png")
    arguments = ["personalize", pictures, "--class-word", "teddy", "--auto-mask"]
    out = tmp_path / "toy.safetensors"
    assert command(*arguments, "--out", out, "--steps", 1) == 0
    assert "all pictures have masks; none was made" in capsys.readouterr().out


def test_tour_lays_out_one_sheet(command, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (pictures / "concept.json").write_text(DESCRIBED)
    options = ["--steps", 2, "--method", "textual-inversion"]
    assert command("tour", "--concept", pictures, *options) == 0
    names = sorted(path.name for path in (tmp_path / "tour").iterdir())
    assert names == ["disc.png", "disc.safetensors"]
    table = capsys.readouterr().out
    assert "textual-inversion" in table
    assert str((tmp_path / "tour" / "disc.safetensors").stat().st_size) in table


@pytest.mark.slow
def test_the_tour_learns_with_perfusion_and_a_covariance_of_own_captions(
    command, pictures, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(covariance, "COVARIANCE_FOLDER", tmp_path / "covariance")
    out = tmp_path / "tour"
    (pictures / "concept.json").write_text(DESCRIBED)
    tour = ["tour", "--concept", pictures, "--steps", 1, "--out", out]
    captions = tmp_path / "captions.txt"
    random.seed(0)
    lines = [" ".join(random.choices(WORDS, k=6)) for _ in range(200)]
    captions.write_text("\n".join([*lines, "", "  "]))
    assert command("covariance", captions) == 0
    (kept,) = (tmp_path / "covariance").iterdir()
    assert str(kept) in capsys.readouterr().out
    assert command(*tour) == 0
    assert "perfusion" in capsys.readouterr().out
    assert (out / "disc.safetensors").is_file()
    # below the four prompts, a row that shows the gate opening
    with_gate = Image.open(out / "disc.png").height
    assert command(*tour, "--method", "textual-inversion") == 0
    assert with_gate > Image.open(out / "disc.png").height + 60


LEARN = ["personalize", "{pictures}", "--class-word", "cat", "--out", "{out}"]
LORA = ["--method", "dreambooth-lora"]
DRAW = ["--prompt", "a <toy>", "--out", "{empty}"]
REFUSED = {
    "no picture": ["personalize", "{empty}", *LEARN[2:]],
    "no class word": ["personalize", "{pictures}", "--out", "{out}"],
    "unknown class word": [*LEARN, "--class-word", "okapi"],
    "last class word unknown": [*LEARN, "--class-word", "teddy okapi"],
    "unwritable": [*LEARN, "--out", "/dev/null/x"],
    "out is a folder": [*LEARN, "--out", "{empty}"],
    "unknown method": [*LEARN, "--method", "hypnosis"],
    "vectors for another method": [*LEARN, *LORA, "--num-vectors", "2"],
    "identifier unknown": [*LEARN, *LORA],
    "placeholder taken": [*LEARN, "--placeholder-token", "<|endoftext|>"],
    "upper case": [*LEARN, "--placeholder-token", "<Toy>"],
    "nothing to resume": [*LEARN, "--resume"],
    "no such concept": ["tour", "--concept", "no-such-toy", "--out", "{out}"],
    "no such file": ["generate", "--concept", "{out}", *DRAW],
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_said_in_a_sentence(
    case, command, pictures, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    places = {
        "empty": tmp_path / "empty",
        "out": tmp_path / "toy.safetensors",
        "pictures": pictures,
    }
    before = sorted(tmp_path.rglob("*"))
    assert command(*(text.format(**places) for text in REFUSED[case])) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("perso_lite: ")
    assert len(said.err.strip().splitlines()) == 1
    assert said.err.strip().endswith(".")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_prompt_without_the_placeholder_is_refused(
    command, learned, tmp_path, capsys
):
    arguments = ["generate", "--concept", learned, "--out", tmp_path / "out"]
    assert command(*arguments, "--prompt", "a teddy on a beach") == 2
    assert "does not mention <toy>" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ctrl_c_keeps_the_checkpoint_and_resume_goes_on(
    pictures, tiny_folder, tmp_path, tiny
):
    out = tmp_path / "toy.safetensors"
    checkpoint = tmp_path / "toy.checkpoint.safetensors"
    arguments = [sys.executable, "-m", "perso_lite", "personalize", str(pictures)]
    arguments += ["--class-word", "teddy", "--out", str(out), "--steps", "100000"]
    arguments += ["--base", str(tiny_folder)]
    running = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            if checkpoint.exists() or running.poll() is not None:
                break
            time.sleep(0.1)
        os.kill(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    assert "Traceback" not in said
    assert f"checkpoint is {checkpoint}" in said
    assert not out.exists()
    steps = load_method(checkpoint, tiny).training_record["steps"]
    resumed = [*arguments[3:], "--resume"]
    resumed[resumed.index("100000")] = str(steps + 1)
    assert main(resumed) == 0
    assert load_method(out, tiny).training_record["steps"] == steps + 1
    assert not checkpoint.exists()


def test_a_warning_is_a_sentence_too(command, pictures, tmp_path, capsys):
    (pictures / "damaged.png").write_bytes(b"")
    arguments = ["personalize", pictures, "--class-word", "teddy", "--steps", 1]
    assert command(*arguments, "--out", tmp_path / "toy.safetensors") == 0
    said = capsys.readouterr().err
    assert "damaged.png cannot be read" in said
    assert "concepts.py" not in said


@pytest.mark.slow
def test_loading_the_base_says_nothing(tiny_folder):
    program = "import sys, perso_lite; perso_lite.load_base(sys.argv[1])"
    loading = [sys.executable, "-c", program, str(tiny_folder)]
    result = subprocess.run(loading, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_importing_the_package_is_cheap():
    program = "import sys, perso_lite; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


TRAINING = [
    "--placeholder-token",
    "<a>",
    "--num-vectors",
    "2",
    "--seed",
    "1",
    "--resume",
]


@pytest.mark.parametrize(
    "arguments",
    [
        ["tour", *TRAINING, "--steps", "3", "--method", "neti"],
        ["personalize", "photos", "--out", "a.safetensors", *TRAINING],
        ["generate", "--concept", "a", "--prompt", "b", "--out", "c", "--seeds", "1"],
        ["covariance", "captions.txt", "--base", "b"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_option_reaches_the_function_it_is_for(monkeypatch, arguments):
    reached = []

    class Module:
        def __init__(self, name):
            self.module = importlib.import_module(f"perso_lite.{name}")

        def __getattr__(self, name):
            signature = inspect.signature(getattr(self.module, name))
            return lambda **options: reached.append(signature.bind(**options).arguments)

    monkeypatch.setattr("perso_lite.__main__.import_quietly", Module)
    assert main(arguments) == 0
    (options,) = reached
    if arguments[0] in ("tour", "personalize"):
        training = options["training"]
        assert {"placeholder_token", "num_vectors", "seed", "resume"} <= {*training}
        bound = inspect.signature(learn).bind(None, None, None, **training)
        options = bound.arguments.get("options", {})
        assert {*options} <= {*inspect.signature(fit).parameters}
