import pytest

from perso_lite import load_concept
from perso_lite.commands import learned
from perso_lite.files import DATA_FOLDER


@pytest.fixture
def one_toy(monkeypatch):
    monkeypatch.setattr(learned, "toys", lambda: ["dotty-teddy"])


def test_files_of_the_measurements_get_the_names_that_notebooks_open(one_toy, tmp_path):
    names = ["dotty-teddy-perfusion-local", *learned.FIRST_WORDS]
    for name in names:
        (tmp_path / f"{name}.safetensors").write_text(name)
    learned.keep_learned(tmp_path, tmp_path / "shipped")
    kept = {path.stem: path.read_text() for path in (tmp_path / "shipped").iterdir()}
    assert kept == {
        "dotty-teddy-perfusion": "dotty-teddy-perfusion-local",
        **{name: name for name in learned.FIRST_WORDS},
    }


def test_the_sheet_shows_what_was_learned_beside_what_it_was_learned_from(
    one_toy, base, monkeypatch
):
    drawn = []

    def generate(base, prompts):
        drawn.extend(base.tokenizer.tokenize(prompts[0]))
        return [load_concept("dotty-teddy").images[0]] * len(prompts)

    monkeypatch.setattr(learned, "generate", generate)
    sheet = learned.learned_sheet(base, DATA_FOLDER / "learned")
    assert "<dotty-teddy>" in drawn  # attached while it is drawn
    assert sheet.width > 4 * 160
