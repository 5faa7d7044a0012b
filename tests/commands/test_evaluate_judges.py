from argparse import Namespace

import pytest
import torch
from judge_helpers import untrained_judges

from perso_lite import PersoError
from perso_lite.commands import evaluate
from perso_lite.commands.evaluations import evaluate_judges
from perso_lite.commands.evaluations.evaluate_judges import measured
from perso_lite.evaluation import judging
from perso_lite.evaluation.tradeoff import interval, load_results
from perso_lite.evaluation.trials import FOILS, MORPHS
from perso_lite.world.looks import MARKS
from perso_lite.world.shapes import PATTERNS
from perso_lite.world.toys import TOYS

POINTS = [*(f"choice: {kind}" for kind in FOILS), *(f"tau: {kind}" for kind in MORPHS)]


@pytest.fixture(scope="module")
def judges(tiny):
    return untrained_judges(tiny.tokenizer)


@pytest.fixture
def unseen(monkeypatch):
    """Pictures of 8 pixels, for metrics that look at scenes instead."""
    painted = judging.painted
    monkeypatch.setattr(judging, "painted", lambda scenes: painted(scenes, 8))


def identity(thing):
    own = thing.instance
    named = [list(TOYS).index(thing.class_word), MARKS.index(own.mark)]
    named.append(PATTERNS.index(thing.pattern or "plain"))
    return [*named, *own.numbers, *own.main, *own.accent, *own.mark_color]


def oracle(shown):
    """Sees the parameters of toys, and nothing of scenes."""
    return torch.tensor([identity(scene.things[0]) for scene in shown.scenes])


def coin(shown):
    return torch.rand(len(shown.scenes), 4)


def means(points, metric):
    return {
        name: torch.tensor([v for row in scores[metric] for v in row]).mean().item()
        for name, scores in points.items()
    }


def test_the_oracle_is_always_right_and_a_coin_half_the_time(judges, unseen, tmp_path):
    torch.manual_seed(0)
    options = Namespace(triplets=96, morphs=8, seed=0, out=tmp_path)
    points = measured(options, judges, {"oracle": oracle, "coin": coin})
    assert [*points] == POINTS
    assert set(means(points, "oracle").values()) == {1.0}
    tossed = means(points, "coin")
    assert sum(tossed[p] for p in POINTS[:6]) / 6 == pytest.approx(0.5, abs=0.1)
    assert sum(tossed[p] for p in POINTS[6:]) / 2 == pytest.approx(0, abs=0.15)


def test_who_sees_scenes_alone_falls_for_the_reference_scene(judges, unseen, tmp_path):
    def scene(shown):
        return torch.tensor([s.mood for s in shown.scenes])

    options = Namespace(triplets=12, morphs=2, seed=0, out=tmp_path)
    points = measured(options, judges, {"scene": scene})
    for name, share in means(points, "scene").items():
        if name.startswith("choice"):  # no difference in the right candidate's scene
            assert share == (0 if "reference" in name else 0.5)
    assert means(points, "scene")["tau: fixed scene"] == 0
    assert measured(options, judges, {}) == points  # the parts are kept


@pytest.mark.slow
def test_it_is_written_as_results_and_can_be_repeated(judges, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_judges, "load_judges", lambda: judges)
    monkeypatch.setattr(judging, "local_dino", lambda: None)
    numbers = ["--triplets", "7", "--morphs", "1"]
    for name in ("a", "b"):
        evaluate.main(["judges", *numbers, "--out", str(tmp_path / name)])
    texts = [(tmp_path / name / "judges.json").read_text() for name in ("a", "b")]
    assert texts[0] == texts[1]
    results = load_results(tmp_path / "a" / "judges.json")
    assert [*results] == POINTS
    for point, scores in results.items():
        assert {*scores} >= {"instance masked", "CLIP-I", "pixels", "histogram"}
        lists = scores["CLIP-I"]
        assert len(lists) == len(TOYS)
        assert sum(map(len, lists)) == (2 if point == POINTS[0] else 1)
        mean, low, high = interval(results, point, "CLIP-I")
        assert low <= mean <= high


def test_no_triplets_are_refused(tmp_path):
    with pytest.raises(PersoError, match="--triplets"):
        evaluate.main(["judges", "--triplets", "0", "--out", str(tmp_path)])
