"""What cannot be done is refused at once, in a sentence, with exit code 2."""

import re
import shlex
from pathlib import Path

import pytest
from bad_inputs import all_places

from perso_lite import load_method, sampling, training
from perso_lite.__main__ import main
from perso_lite.methods.baselines import class_prior
from perso_lite.methods.perfusion import covariance
from perso_lite.pretrain import loop, pictures

LEARN = "personalize {photos} --class-word cat --out {new} --steps 1"
RESUME = (
    "personalize {photos} --class-word teddy --placeholder-token '<toy>' --resume --out"
)
CONVERT = "convert --class-word teddy --out {new}"
DRAW = "generate --concept {toy} --prompt 'a <toy>' --out {out} --steps 1"
TOUR = "tour --concept dotty-teddy --method textual-inversion --out {out}"

# name: (command line, a word that the sentence says)
REFUSED = {
    # -- the command line itself
    "no command": ("", "COMMAND"),
    "unknown command": ("paint", "paint"),
    "unknown option": (f"{LEARN} --colour red", "--colour"),
    "no pictures": ("personalize --out {new}", "pictures"),
    "no out": ("personalize {photos}", "--out"),
    "no prompt": ("generate --concept {toy} --out {out}", "--prompt"),
    "no concept": ("generate --prompt 'a cat' --out {out}", "--concept"),
    "not UTF-8": (f"{LEARN} --class-word {{surrogate}}", "UTF-8"),
    "prompt not UTF-8": (f"{DRAW} --prompt {{surrogate}}", "UTF-8"),
    # -- numbers
    "0 steps": (f"{LEARN} --steps 0", "--steps is 0"),
    "-1 steps": (f"{LEARN} --steps -1", "--steps is -1"),
    "half a step": (f"{LEARN} --steps 0.5", "whole number"),
    "steps in words": (f"{LEARN} --steps ten", "whole number"),
    "steps of 5,000 digits": (f"{LEARN} --steps {'9' * 5000}", "whole number"),
    "seed of 65 bits": (f"{LEARN} --seed {2**64}", "18446744073709551615"),
    "negative seed": (f"{LEARN} --seed -1", "--seed is -1"),
    "0 vectors": (f"{LEARN} --num-vectors 0", "--num-vectors is 0"),
    "1,000 vectors": (f"{LEARN} --num-vectors 1000", "num_vectors is 1000"),
    "vectors, no room for others": (f"{LEARN} --num-vectors 22", "cut off"),
    "tour of 0 steps": (f"{TOUR} --steps 0", "--steps is 0"),
    "drawing in 0 steps": (f"{DRAW} --steps 0", "--steps is 0"),
    "drawing in 1,001 steps": (f"{DRAW} --steps 1001", "up to 1000"),
    "drawing with a seed of 65 bits": (f"{DRAW} --seeds 1 {2**64}", "--seeds"),
    "no seed": (f"{DRAW} --seeds", "--seeds"),
    "guidance not a number": (f"{DRAW} --guidance nan", "finite"),
    "guidance infinite": (f"{DRAW} --guidance inf", "finite"),
    "guidance in words": (f"{DRAW} --guidance strong", "finite"),
    # -- words
    "unknown class word": (f"{LEARN} --class-word okapi", "initializer_token"),
    "class word of two": (f"{LEARN} --class-word 'coffee mug'", "initializer_token"),
    "empty class word": (f"{LEARN} --class-word ' '", "class word"),
    "no class word": ("personalize {photos} --out {new}", "class_word"),
    "class word of 300": (f"{LEARN} --class-word {{name}}", "not one token"),
    "initializer unknown": (f"{LEARN} --initializer-token okapi", "not one token"),
    "initializer of two": (f"{LEARN} --initializer-token 'a cat'", "not one token"),
    "class word of 400 kB": (f"{LEARN} --class-word {{long_word}}", "not one token"),
    "LoRA, rare word unknown": (f"{LEARN} --method dreambooth-lora", "not one token"),
    "LoRA, other start": (
        f"{LEARN} --method dreambooth-lora --initializer-token snow",
        "--initializer-token",
    ),
    "Custom Diffusion, class word of two": (
        f"{LEARN} --method custom-diffusion --class-word 'cat dog' "
        "--initializer-token snow",
        "class word",
    ),
    "placeholder bare": (f"{LEARN} --placeholder-token toy", "angle brackets"),
    "placeholder with a blank": (f"{LEARN} --placeholder-token '<a b>'", "blank"),
    "placeholder empty": (f"{LEARN} --placeholder-token ''", "angle brackets"),
    "placeholder in upper case": (f"{LEARN} --placeholder-token '<Toy>'", "lower"),
    "placeholder known": (f"{LEARN} --placeholder-token '<|endoftext|>'", "already"),
    "placeholder of 300": (f"{LEARN} --placeholder-token {{name}}", "angle brackets"),
    "unknown method": (f"{LEARN} --method hypnosis", "choose from"),
    "vectors for a LoRA": (f"{LEARN} --method neti --num-vectors 2", "--num-vectors"),
    "vectors for Perfusion": (
        f"{LEARN} --method perfusion --num-vectors 2",
        "--num-vectors",
    ),
    "prompt without the word": (f"{DRAW} --prompt 'a cat'", "does not mention"),
    "empty prompt": (f"{DRAW} --prompt ''", "does not mention"),
    "prompt of 400 kB": (f"{DRAW} --prompt {{long}}", "characters"),
    "word of 400 kB": (f"{DRAW} --prompt {{long_word}}", "characters"),
    "400 kB without the word": (
        "generate --concept {toy} --prompt {long} --out {out} "
        "--placeholder-token '<b>'",
        "does not mention",
    ),
    "more names than concepts": (
        f"{DRAW} --placeholder-token '<a>' --placeholder-token '<b>'",
        "one --placeholder-token for each",
    ),
    "two concepts of one name": (f"{DRAW} --concept {{toy}}", "already"),
    "tour of no such toy": ("tour --concept no-such-toy --out {out}", "shipped"),
    "tour of a long name": ("tour --concept {name} --out {out}", "shipped"),
    # -- pictures
    "no such folder": ("personalize {absent} --class-word cat --out {new}", "folder"),
    "folder of 300": ("personalize {name} --class-word cat --out {new}", "folder"),
    "a file, no folder": ("personalize {file} --class-word cat --out {new}", "folder"),
    "a pipe, no folder": ("personalize {pipe} --class-word cat --out {new}", "folder"),
    "no picture": ("personalize {nothing} --class-word cat --out {new}", "0 tried"),
    "in sub-folders": ("personalize {inner} --class-word cat --out {new}", "folders"),
    "no extension": ("personalize {bare} --class-word cat --out {new}", "extension"),
    "masks alone": ("personalize {masks} --class-word cat --out {new}", "_mask"),
    "damaged": ("personalize {damaged} --class-word cat --out {new}", "2 tried"),
    "pipes": ("personalize {pipes} --class-word cat --out {new}", "0 tried"),
    # -- places to write
    "out below a file": (f"{LEARN} --out {{below}}", "cannot be written"),
    "out in /proc": (f"{LEARN} --out /proc/x/new.safetensors", "cannot be written"),
    "out in a read-only folder": (f"{LEARN} --out /proc/self/new", "cannot be written"),
    "drawing in a read-only folder": (f"{DRAW} --out /proc/self", "cannot be written"),
    "out is a device": (f"{LEARN} --out /dev/full", "device"),
    "out is a pipe": (f"{LEARN} --out {{pipe}}", "pipe"),
    "out is a folder": (f"{LEARN} --out {{nothing}}", "folder"),
    "out has 300 letters": (f"{LEARN} --out {{name}}.safetensors", "cannot be written"),
    "tour below a file": (f"{TOUR} --out {{below}}", "cannot be written"),
    "drawing below a file": (f"{DRAW} --out {{below}}", "cannot be written"),
    "drawing onto a file": (f"{DRAW} --out {{file}}", "cannot be written"),
    "drawing in /proc": (f"{DRAW} --out /proc/x", "cannot be written"),
    "drawing onto a device": (f"{DRAW} --out /dev/full", "cannot be written"),
    "drawing to 300 letters": (f"{DRAW} --out {{name}}", "cannot be written"),
    # -- checkpoints to go on from
    "resume a finished file": (f"{RESUME} {{finished}}", "finished concept"),
    "resume a torn file": (f"{RESUME} {{halved}}", "not a whole"),
    "resume without settings": (f"{RESUME} {{unset}}", "settings"),
    "resume another method": (f"{RESUME} {{finished}} --method neti", "finished"),
    "resume another training": (f"{RESUME} {{strange}}", "begun with"),
    "resume a list": (f"{RESUME} {{listed}}", "training"),
    "resume a damaged state": (f"{RESUME} {{damaged_state}}", "go on from"),
    # -- concept files
    "nothing to resume": (f"{LEARN} --resume", "no checkpoint"),
    "a device as a file": (
        "generate --concept /dev/zero --prompt 'a <toy>' --out {out}",
        "device",
    ),
    # -- convert
    "convert nothing": (f"{CONVERT} {{absent}}", "no file"),
    "convert an empty folder": (f"{CONVERT} {{nothing}}", "of no known kind"),
    "convert a name of 300": (f"{CONVERT} {{name}}", "no file"),
    "convert a pipe": (f"{CONVERT} {{pipe}}", "pipe"),
    "convert a device": (f"{CONVERT} /dev/zero", "device"),
    "convert one of ours": (f"{CONVERT} {{toy}}", "written by perso_lite"),
    "convert a torn file": (f"{CONVERT} {{torn}}", "not a whole"),
    "convert a deep file": (f"{CONVERT} {{header_deep}}", "not a whole"),
    "convert a text": (f"{CONVERT} {{file}}", "plain tensors"),
    "convert code": (f"{CONVERT} {{code}}", "plain tensors"),
    "convert to nowhere": (
        f"{CONVERT} {{foreign}} --out {{below}}",
        "cannot be written",
    ),
    "convert onto itself": (f"{CONVERT} {{foreign}} --out {{foreign}}", "another name"),
    "convert for no class": (f"{CONVERT} {{foreign}} --class-word ' '", "class word"),
    "convert with a rare word": (
        f"{CONVERT} {{foreign}} --identifier-token sks",
        "--identifier-token",
    ),
    # -- covariance
    "captions absent": ("covariance {absent}", "no file"),
    "captions a folder": ("covariance {photos}", "a folder"),
    "captions a pipe": ("covariance {pipe}", "pipe"),
    "captions a device": ("covariance /dev/zero", "device"),
    "captions not UTF-8": ("covariance {latin}", "UTF-8"),
    "captions too few": ("covariance {few}", "too few"),
    "captions in one line": ("covariance {endless_line}", "characters"),
    "captions, no such base": ("covariance {few} --base {absent}", "model_index.json"),
    # -- evaluate
    "evaluate nothing": ("evaluate", "evaluate base"),
    "evaluate unknown": ("evaluate beauty", "evaluate base"),
    "evaluate 0 seeds": ("evaluate base --seeds 0", "--seeds is 0"),
    "evaluate 0 prompts": ("evaluate base --prompts 0", "--prompts is 0"),
    "evaluate 0 processes": ("evaluate base --processes 0", "--processes is 0"),
    "evaluate 0 steps": ("evaluate methods --steps 0", "--steps is 0"),
    "evaluate 1,001 steps": ("evaluate base --steps 1001 --prompts 1", "1000"),
    "evaluate no guidance": ("evaluate pairs --guidance nan", "finite"),
    "evaluate no base": ("evaluate base --base {absent}", "model_index.json"),
    "evaluate below a file": ("evaluate base --out {below}", "cannot be written"),
    "methods unknown": ("evaluate methods --methods hypnosis", "choose from"),
    "methods of no concept": ("evaluate methods --concepts nobody", "nobody"),
    "methods trained never": ("evaluate methods --training-steps 0", "is 0"),
    "methods to a device": ("evaluate methods --out /dev/full", "cannot be written"),
    "tradeoff unknown group": ("evaluate tradeoff --groups all", "choose from"),
    "tradeoff of no concept": ("evaluate tradeoff --concepts nobody", "nobody"),
    "tradeoff below a file": ("evaluate tradeoff --out {below}", "cannot be written"),
    "neti of no concept": ("evaluate neti --concepts nobody", "nobody"),
    "neti in /proc": ("evaluate neti --out /proc/x", "cannot be written"),
    "tradeoff of damaged parts": (
        "evaluate tradeoff --groups ends --out {scores}",
        "ends.json",
    ),
    "pairs without files": ("evaluate pairs --tradeoff {absent}", "no file"),
    "pairs onto a folder": ("evaluate pairs --out {nothing}", "folder"),
    # -- pretrain
    "unknown stage": ("pretrain --stages sleep", "choose from"),
    "strange size": ("pretrain --size 100", "--size"),
    "no pictures to paint": ("pretrain --pictures 0", "--pictures is 0"),
    "batch of 0": ("pretrain --unet-batch 0", "--unet-batch is 0"),
    "rate not a number": ("pretrain --unet-rate nan", "finite"),
    "seconds infinite": ("pretrain --unet-seconds inf", "finite"),
    "fewer than no steps": ("pretrain --clip-steps -1", "--clip-steps is -1"),
    "steps and seconds": ("pretrain --unet-steps 1 --unet-seconds 1", "not allowed"),
    "folder below a file": ("pretrain --folder {below}", "cannot be written"),
    "output below a file": ("pretrain --output {below}/base", "cannot be written"),
    "output is a file": ("pretrain --folder {out} --output {file}", "no folder"),
    "start from nowhere": ("pretrain --folder {out} --start-from {absent}", "index"),
    "start from .bin": ("pretrain --folder {out} --start-from {bins}", ".bin"),
}

# what is wrong with a folder's captions or description: a word of the sentence
FOLDERS = {
    "metadata_latin": "metadata.jsonl",
    "metadata_list": "Line 1",
    "metadata_number": "5 is no text",
    "metadata_nameless": "'file_name' is missing",
    "metadata_torn": "Line 1",
    "metadata_deep": "Line 1",
    "metadata_endless": "characters",
    "described_list": "holds a list",
    "described_deep": "concept.json",
    "described_empty": "concept.json",
    "described_nameless": "'name' is missing",
    "described_number": "5 is no text",
    "described_token": "is no text",
    "described_pictures": "concept.json",
    "described_latin": "UTF-8",
    "described_absent": "readable picture",
    "described_device": "readable picture",
}
# what is wrong with a concept file: a word of the sentence
FILES = {
    "absent": "no file",
    "nothing": "of no known kind",
    "name": "no file",
    "pipe_file": "pipe",
    "torn": "not a whole",
    "altered": "altered",
    "void": "not a whole",
    "pickled": "not a whole",
    "endless": "not a whole",
    "header_list": "not a whole",
    "header_deep": "not a whole",
    "binary_text": "not a whole",
    "foreign": "class word",
    "unknown_method": "hypnosis",
    "future": "version",
    "other_base": "base",
    "other_method": "settings",
    "no_settings": "lacks",
    "settings_list": "settings",
    "settings_deep": "settings",
    "settings_text": "settings",
    "settings_strange": "speed",
    "settings_typed": "settings",
    "settings_word": "5",
    "settings_vectors": "settings",
    "settings_rank": "settings",
    "settings_seed": "settings",
    "settings_beta": "beta",
    "training_list": "training",
    "blank_token": "blank",
    "no_class": "class word",
    "not_finite": "not finite",
    "narrow": "other shapes",
    "no_tensors": "other shapes",
}
# what is wrong with a base: a word of the sentence
BASES = {
    "absent": "model_index.json",
    "name": "model_index.json",
    "file": "model_index.json",
    "photos": "model_index.json",
    "pipe": "model_index.json",
    "index_list": "model_index.json",
    "index_deep": "model_index.json",
    "index_number": "model_index.json",
    "index_torn": "model_index.json",
    "index_types": "model_index.json",
    "index_absent": "Stable Diffusion",
    "index_library": "model_index.json",
    "index_latin": "model_index.json",
    "text_torn": "model_index.json",
    "text_config": "model_index.json",
    "unet_torn": "model_index.json",
    "unet_deep": "model_index.json",
    "words_torn": "model_index.json",
    "bins": "save_pretrained",
    "xl": "XL",
}
REFUSED |= {
    **{
        f"folder {name}": (
            f"personalize {{{name}}} --out {{new}}"
            + (" --class-word cat" if name.startswith("metadata") else ""),
            word,
        )
        for name, word in FOLDERS.items()
    },
    **{
        f"file {name}": (
            f"generate --concept {{{name}}} --prompt 'a <toy>' --out {{out}}",
            word,
        )
        for name, word in FILES.items()
    },
    **{
        f"base {name}": (f"{LEARN} --base {{{name}}}", word)
        for name, word in BASES.items()
    },
}

BAR = re.compile(r"\r[^\r\n]*%\|[^\r\n]*\n?")  # a progress bar


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_folder, tiny):
    return all_places(tmp_path_factory.mktemp("bad"), tiny_folder, tiny)


@pytest.fixture
def command(places, tiny_folder, tmp_path, monkeypatch):
    """Run a command line in an empty folder, where nothing may be learned or drawn."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(covariance, "COVARIANCE_FOLDER", tmp_path / "covariance")

    def run(line: str) -> int:
        arguments = [part.format(**places) for part in shlex.split(line)]
        if line.startswith(("tour", "pers", "gen", "cov", "conv", "evaluate ")):
            named = "--base" in arguments or (len(arguments) < 3 and "evaluate" in line)
            arguments += [] if named else ["--base", str(tiny_folder)]
        return main(arguments)

    return run


@pytest.fixture
def idle(monkeypatch):
    """Whatever takes long fails."""

    def forbidden(*args, **options):
        raise AssertionError("began to learn, draw or paint")

    for module, name in (
        (training, "train_step"),
        (sampling, "denoise"),
        (class_prior, "denoise"),
        (loop, "take_step"),
        (pictures, "_painted"),
    ):
        monkeypatch.setattr(module, name, forbidden)


def listing(*folders):
    return sorted(path for folder in folders for path in folder.rglob("*"))


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_a_sentence(
    name, command, idle, places, capfd, tmp_path
):
    line, word = REFUSED[name]
    folders = tmp_path, Path(places["file"]).parent
    before = listing(*folders)
    assert command(line) == 2
    out, said = capfd.readouterr()
    assert out == ""
    said = BAR.sub("", said)
    assert word in said
    assert said.startswith("perso_lite: ")
    assert said.endswith(".\n")
    assert said.count("\n") == 1
    assert len(said) <= 400 + len("perso_lite: ")
    for trace in ("Traceback", "</w>", "\\n", "Error("):
        assert trace not in said
    assert listing(*folders) == before


# name: (command line, a word of a warning, or "" for none)
ACCEPTED = {
    "captions with a byte-order mark": (
        "personalize {metadata_bom} --class-word cat --out {new} --steps 1",
        "",
    ),
    "class word with a blank": (f"{LEARN} --class-word 'cat '", ""),
    "class word of two": (
        f"{LEARN} --class-word 'coffee mug' --initializer-token cat",
        "",
    ),
    "captions of other tools": (
        "personalize {captions_txt} --class-word cat --out {new} --steps 1",
        "metadata.jsonl alone",
    ),
    "captions in a table": (
        "personalize {captions_csv} --class-word cat --out {new} --steps 1",
        "metadata.jsonl alone",
    ),
    "a damaged picture among others": (
        "personalize {one_damaged} --class-word cat --out {new} --steps 1",
        "left out",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_can_be_understood_is_accepted(name, command, places, capfd, tiny):
    line, word = ACCEPTED[name]
    try:
        assert command(line) == 0
        learned = load_method(places["new"], tiny)
    finally:
        Path(places["new"]).unlink(missing_ok=True)
    said = BAR.sub("", capfd.readouterr().err)
    assert said.count("perso_lite: ") == (1 if word else 0)
    assert word in said
    assert learned.class_word == ("coffee mug" if "mug" in line else "cat")


def test_the_table_covers_every_command_and_method():
    lines = [line for line, _ in REFUSED.values()]
    known = {line.split()[0] for line in lines if line}
    commands = {"tour", "personalize", "generate", "convert", "covariance"}
    assert known == commands | {"pretrain", "evaluate", "paint"}
    kinds = {line.split()[1] for line in lines if line.startswith("evaluate ")}
    assert kinds == {"base", "methods", "tradeoff", "neti", "pairs", "beauty"}
    methods = {"neti", "perfusion", "dreambooth-lora", "custom-diffusion"}
    assert all(any(f"--method {name}" in line for line in lines) for name in methods)
    assert len(lines) >= 100
