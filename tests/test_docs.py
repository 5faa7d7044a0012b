"""What the Markdown files say: examples run, paths exist, lists agree with the code."""

import inspect
import re
from pathlib import Path

import pytest
import torch
import yaml

import perso_lite
from perso_lite import METHODS, Method, fit, generate, load_method

ROOT = Path(__file__).parents[1]
README, PROVENANCE = ROOT / "README.md", ROOT / "data" / "PROVENANCE.md"
LIBRARY = ROOT / "notebooks" / "LIBRARY.md"
HOW_TO = ROOT / "perso_lite" / "methods" / "README.md"
TEACHING, MEASURED = (ROOT / folder / "README.md" for folder in ("notebooks", "data"))
DOCUMENTS = [README, TEACHING, LIBRARY, MEASURED, HOW_TO, PROVENANCE]
# folders that a path begins with; behind a slash they are part of another place's
IN_ROOT = r"(?<![\w./-])(?:perso_lite|data|notebooks)"
IN_DATA = r"`(?:base|concepts|covariance|judges|pictures|prompts|results)"


def code_blocks(document, language=""):
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.M | re.S)
    return [code for its_language, code in blocks if its_language == language]


def paths_in(document, first_folder):
    found = re.findall(rf"{first_folder}/[\w./-]*", document.read_text())
    return sorted({path.strip("`.") for path in found})


def hook_table():
    """By hook, in the table's order: the cell that says which methods override it."""
    return dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", HOW_TO.read_text(), re.M))


@pytest.fixture
def scaled_word():
    """The class of the example in methods/README.md."""
    (example,) = code_blocks(HOW_TO, "python")
    names = {"__name__": "example"}
    exec(example, names)
    return names["ScaledWord"]


def test_the_example_method_learns_draws_and_is_read_back(
    scaled_word, tiny, concept, tmp_path, monkeypatch
):
    def picture(word):
        options = {"num_inference_steps": 2, "output_type": "pt"}
        return generate(tiny, f"a photo of a {word}", **options)

    before = picture("teddy")
    method = scaled_word(tiny, "teddy", "<toy>")
    with method.attach(tiny):
        assert torch.equal(picture("<toy>"), before)  # it starts as its class word
    steps = list(fit(method, concept, steps=2, batch_size=1))
    assert len(steps) == 2 and method.scale != 1
    with method.attach(tiny):
        drawn = picture("<toy>")
        method.strength = 0
        assert torch.equal(picture("<toy>"), before)
    assert not torch.equal(drawn, before)
    assert torch.equal(picture("teddy"), before)

    monkeypatch.setitem(METHODS, method.name, scaled_word)
    method.strength = 1
    method.save(tmp_path / "toy.safetensors")
    with load_method(tmp_path / "toy.safetensors", tiny).attach(tiny):
        assert torch.equal(picture("<toy>"), drawn)


def test_fit_calls_the_hooks_in_the_order_of_the_table(scaled_word, tiny, concept):
    called = []

    class Watched(scaled_word):
        def __getattribute__(self, name):
            if name in hooks:
                called.append(name)
            return super().__getattribute__(name)

    hooks = hook_table()
    list(fit(Watched(tiny, "teddy", "<toy>"), concept, steps=1, batch_size=1))
    assert list(dict.fromkeys(called)) == list(hooks)


def test_the_table_names_every_hook_and_the_methods_that_override_it():
    source = inspect.getsource(Method)
    asked_by_fit = source.split("# -- what fit asks for")[1].split("# -- what every")[0]
    assert sorted(hook_table()) == sorted(re.findall(r"    def (\w+)", asked_by_fit))
    for hook, cell in hook_table().items():
        own = {
            kind.__name__
            for kind in METHODS.values()
            if getattr(kind, hook) is not getattr(Method, hook)
        }
        everybody = {kind.__name__ for kind in METHODS.values()}
        named = set(re.findall(r"`(\w+)`", cell))
        assert own == (everybody if cell == "every method" else named), hook


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_paths_exist(document):
    paths = paths_in(document, IN_ROOT)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_paths_in_the_data_folder_exist():
    paths = paths_in(PROVENANCE, IN_DATA)
    assert paths
    assert [path for path in paths if not (ROOT / "data" / path).exists()] == []


def test_files_named_beside_their_folder_exist():
    lists = re.findall(r"((?:`\w+\.py`(?:, )?)+) in `([\w/]+)`", LIBRARY.read_text())
    assert lists
    for files, folder in lists:
        for name in re.findall(r"`(\w+\.py)`", files):
            assert (ROOT / folder / name).is_file(), f"{folder}{name}"


def test_the_map_of_the_library_is_complete():
    (tree,) = (b for b in code_blocks(LIBRARY) if b.startswith("perso_lite/"))
    named = re.findall(r"^  ([\w.]+)", tree, re.M)
    present = [p.name for p in (ROOT / "perso_lite").iterdir() if p.name[0] != "_"]
    assert sorted(named) == sorted(name for name in present if name != "py.typed")


def test_code_in_the_librarys_readme_compiles():
    blocks = code_blocks(LIBRARY, "python")
    assert blocks
    for block in blocks:
        compile(block, LIBRARY, "exec")


def test_the_first_page_has_the_two_commands():
    tour, tests = code_blocks(README, "bash")
    assert tour.endswith("&& python -m perso_lite tour\n")
    assert tests.endswith("&& pytest -n 2\n")


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    required = {"cff-version", "message", "title", "authors"}
    assert required <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == perso_lite.__version__
    project = (ROOT / "pyproject.toml").read_text()
    assert f'Repository = "{citation["repository-code"]}"' in project
    assert f'version = "{citation["version"]}"' in project
    papers = re.findall(r"\d{4}\.\d{5}", README.read_text())
    cited = [reference["url"].rsplit("/")[-1] for reference in citation["references"]]
    assert sorted(papers) == sorted(cited)


def test_no_number_is_left_to_be_filled_in():
    for document in DOCUMENTS:
        assert not re.search(r"_MINUTES|TODO|\?\?", document.read_text()), document
