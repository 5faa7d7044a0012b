import pytest

from perso_lite import comparison, front, spaces
from perso_lite.evaluation.tradeoff import load_front


@pytest.fixture
def small(monkeypatch):
    """One toy, two prompts, one or two steps of everything."""
    monkeypatch.setattr(front, "toys", lambda: ["dotty-teddy"])
    prompts = ["a photo of a {}", "a {} in the snow"]
    monkeypatch.setattr(front, "concept_prompts", lambda: prompts)
    monkeypatch.setattr(spaces, "LENGTHS", (1, 2))
    monkeypatch.setattr(spaces, "EQUAL_STEPS", 1)
    monkeypatch.setattr(spaces, "TRUNCATIONS", (4, 0))


def test_words_are_measured_in_all_spaces_and_with_all_dials(small, tmp_path):
    options = ["--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    comparison.main(["neti", *options])
    found = load_front(tmp_path / "neti.json")
    assert list(found) == [
        "neti 1", "neti 2", "neti truncated 4", "neti truncated 0",
        "neti drawn without bypass", "neti without dropout",
        "neti without dropout truncated 4", "neti without dropout truncated 0",
        "neti knows neither", "neti knows timestep", "neti knows layer",
        "neti knows no bypass", "neti from a random start", "xti 1", "xti 2",
        "xti shared 1", "xti shared 2",
    ]  # fmt: skip
    scores = {point: scores["instance"][0].tolist() for point, scores in found.items()}
    assert all(len(values) == 2 for values in scores.values())
    assert len({tuple(values) for values in scores.values()}) == len(scores)
    assert (tmp_path / "dotty-teddy-neti.safetensors").exists()
