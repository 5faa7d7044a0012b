import pytest

from perso_lite.commands import evaluate, measuring
from perso_lite.commands import evaluate_tradeoff as tradeoff
from perso_lite.commands.evaluations import evaluate_neti
from perso_lite.evaluation.tradeoff import load_results


@pytest.fixture
def small(monkeypatch):
    """One toy, two prompts, one or two steps of everything."""
    monkeypatch.setattr(measuring, "toys", lambda: ["dotty-teddy"])
    prompts = ["a photo of a {}", "a {} in the snow"]
    monkeypatch.setattr(tradeoff, "concept_prompts", lambda: prompts)
    monkeypatch.setattr(evaluate_neti, "LENGTHS", (1, 2))
    monkeypatch.setattr(evaluate_neti, "EQUAL_STEPS", 1)
    monkeypatch.setattr(evaluate_neti, "TRUNCATIONS", (4, 0))


@pytest.mark.slow
def test_words_are_measured_in_all_spaces_and_with_all_dials(small, tmp_path):
    options = ["--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    evaluate.main(["neti", *options])
    found = load_results(tmp_path / "neti.json")
    assert list(found) == [
        "neti 1", "neti 2", "neti truncated 4", "neti truncated 0",
        "neti drawn without bypass", "neti without dropout",
        "neti without dropout truncated 4", "neti without dropout truncated 0",
        "neti knows neither", "neti knows timestep", "neti knows layer",
        "neti knows no bypass", "neti from a random start", "xti 1", "xti 2",
        "xti shared 1", "xti shared 2",
    ]  # fmt: skip
    names = ("instance", "clip_image", "clip_text")
    scores = {
        point: [scores[name][0].tolist() for name in names]
        for point, scores in found.items()
    }
    assert all(len(values) == 2 for point in scores.values() for values in point)
    assert len({str(values) for values in scores.values()}) == len(scores)
    assert (tmp_path / "dotty-teddy-neti.safetensors").exists()
