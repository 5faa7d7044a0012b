"""The panel of people: points of the space drawn, learned people unchanged."""

import dataclasses

import numpy as np
import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of, state_hash
from panel_helpers import pictures_after

from perso_lite import CelebBasis, PersoError, generate
from perso_lite.conditioning.words import vectors_of
from perso_lite.method import state_of
from perso_lite.methods.celeb_basis.basis import build_basis
from perso_lite.methods.celeb_basis.by_hand import (
    PersonByHand,
    distance_from_mean,
    nearest_name,
    vectors_by_name,
)
from perso_lite.teaching import panels
from perso_lite.teaching.method_panels import celeb_basis as panel_of_people
from perso_lite.teaching.method_panels.celeb_basis import (
    MEAN,
    MIX,
    draw_person,
    moved_by,
    person_explorer,
)

QUICK = {"num_inference_steps": 1, "guidance_scale": 2.0}
SAMPLING = (1, 2.0)
PROMPT = "a photo of {} on a beach"


@pytest.fixture(autouse=True)
def kept_basis(name_basis, monkeypatch):
    monkeypatch.setattr(panel_of_people, "basis_of", lambda _: name_basis)


@pytest.fixture
def person(tiny, name_basis):
    options = {"num_components": 20, "basis": name_basis}
    return disturbed(CelebBasis(tiny, "teddy", "<somebody>", **options), 0.5)


@pytest.fixture
def draw(tiny, name_basis, person):
    """Draws one figure; every argument has a value to start from."""
    known = vectors_by_name(tiny, name_basis)
    first, second, *_ = known

    def drawn(**given):
        values = {"start": MEAN, "first_name": first, "second_name": second, "mix": 0.5}
        values |= {"radius": "as it is", "prompt": PROMPT, "seed": 1}
        moves = {"slot_1_direction_1": 0.0, "slot_2_direction_1": 0.0}
        values |= moves | given
        return draw_person(tiny, [person], name_basis, known, SAMPLING, **values)

    return drawn


def picture_in(figure):
    """What was drawn, as numbers (height, width, 3)."""
    (shown,) = (image.get_array() for axes in figure.axes for image in axes.images)
    return shown


def bars_in(figure):
    """The heights of the bars of both slots."""
    charts = [axes for axes in figure.axes if axes.patches and not axes.images]
    tall = [[p for p in axes.patches if p.get_width() == 0.7] for axes in charts]
    return torch.tensor([[float(b.get_height()) for b in bars] for bars in tall])


def written(base, prompt, seed=1):
    (picture,) = generate(base, prompt, (seed,), *SAMPLING)
    return np.asarray(picture)


# -- points of the space ---------------------------------------------------------------


def test_a_slider_moves_exactly_its_coefficient(tiny, name_basis, draw):
    start = next(iter(vectors_by_name(tiny, name_basis).values()))
    moves = {f"slot_{k}_direction_{j}": 0.0 for k in (1, 2) for j in (1, 2, 3)}
    still = PersonByHand(tiny, name_basis, start, moved_by(name_basis, moves))
    moved = moved_by(name_basis, moves | {"slot_2_direction_3": -1.5})
    person = PersonByHand(tiny, name_basis, start, moved)
    before, after = still.coefficients(), person.coefficients()
    assert (before != after).nonzero().tolist() == [[1, 2]]
    expected = before[1, 2] - 1.5 * name_basis.deviations[1, 2]
    assert torch.equal(after[1, 2], expected)
    of_vectors = name_basis.encode(person.vectors())  # what is drawn has them, too
    assert torch.allclose(of_vectors, after, atol=1e-5)

    figure = draw(start=MIX, mix=0.0, slot_2_direction_1=2.0)
    differ = bars_in(figure) - bars_in(draw(start=MIX, mix=0.0))
    assert differ[1, 0] == pytest.approx(2, abs=1e-5)
    assert differ.count_nonzero() == 1


@pytest.mark.parametrize(("t", "index"), [(0.0, 0), (1.0, 1)])
def test_the_ends_of_a_mix_are_the_names_as_written(tiny, name_basis, draw, t, index):
    assert name_basis.num_components == min(name_basis.ranks)  # all directions
    name = list(vectors_by_name(tiny, name_basis))[index]
    figure = draw(start=MIX, mix=t)
    assert np.array_equal(picture_in(figure), written(tiny, PROMPT.format(name)))
    assert f" {name}: cosine 1.00" in figure.get_suptitle()


def test_names_are_their_own_vectors_or_what_the_basis_holds(tiny, name_basis):
    whole = vectors_by_name(tiny, name_basis)
    assert list(whole) == list(name_basis.names)
    for name, vectors in whole.items():
        assert torch.equal(vectors, vectors_of(tiny, name))
    few = name_basis.first(4)
    for name, vectors in vectors_by_name(tiny, few).items():
        inside = few.decode(few.encode(whole[name]))
        assert torch.equal(vectors, inside) and not torch.allclose(vectors, whole[name])


def test_a_mix_is_on_the_line_between_the_names(tiny, name_basis, draw):
    first, second, *_ = vectors_by_name(tiny, name_basis).values()
    a, b = (name_basis.encode(v) / name_basis.deviations for v in (first, second))
    expected = (0.7 * a + 0.3 * b)[:, :8]
    assert torch.allclose(bars_in(draw(start=MIX, mix=0.3)), expected, atol=1e-4)


def test_radius_0_is_the_mean_person(tiny, draw, name_basis):
    mean = CelebBasis(tiny, "teddy", "<mean>", radius=0, basis=name_basis)
    with mean.attach(tiny):
        own = written(tiny, PROMPT.format("<mean>"))
    figure = draw(start=MIX, radius=0.0, slot_1_direction_1=3.0)
    assert np.array_equal(picture_in(figure), own)
    assert figure.get_suptitle().startswith("The mean person")
    assert np.array_equal(picture_in(draw()), own)


def test_the_radius_is_the_length_of_both_slots(tiny, draw):
    for start in (MIX, "<somebody>"):
        figure = draw(start=start, radius=1.5)
        assert "\n1.50 times as far from the mean" in figure.get_suptitle()


def test_a_learned_person_is_drawn_as_attached_and_stays_so(tiny, draw, person):
    before, kept = snapshot_of(tiny), (state_of(person), state_hash(person))
    with person.attach(tiny):
        own = written(tiny, PROMPT.format("<somebody>"))
    assert np.array_equal(picture_in(draw(start="<somebody>")), own)
    at_1 = picture_in(draw(start="<somebody>", radius=1.0))  # as it was trained
    assert np.abs(at_1.astype(int) - own).max() <= 1
    moved = draw(start="<somebody>", radius=2.0, slot_1_direction_1=3.0)
    assert not np.array_equal(picture_in(moved), own)
    assert changes(tiny, before) == []
    assert (state_of(person), state_hash(person)) == kept


def test_the_nearest_name_has_the_largest_cosine(tiny, name_basis):
    known = vectors_by_name(tiny, name_basis)
    name = list(known)[5]
    a = name_basis.encode(known[name])
    found, cosine = nearest_name(name_basis, 0.3 * a, known)
    assert found == name and cosine == pytest.approx(1, abs=1e-5)
    assert nearest_name(name_basis, 0 * a, known) is None
    assert distance_from_mean(name_basis, 2 * a) == pytest.approx(
        2 * distance_from_mean(name_basis, a)
    )


# -- the panel -------------------------------------------------------------------------


def test_every_control_changes_the_picture(tiny, name_basis, person):
    names = name_basis.names[:3]
    panel = person_explorer(tiny, person, names=names, components=1, **QUICK)
    assert repr(panel) == (
        f"Panel(start='<somebody>', first_name={names[0]!r}, "
        f"second_name={names[1]!r}, mix=0.0, slot_1_direction_1=0.0, "
        f"slot_2_direction_1=0.0, radius='as it is', prompt={PROMPT!r}, seed=0)"
    )
    changed = {"start": MIX, "mix": 0.5, "first_name": names[2]}
    changed |= {"second_name": names[0], "slot_1_direction_1": 1.5, "radius": 2.0}
    changed |= {"slot_2_direction_1": -1.0, "prompt": "{} in snow", "seed": 2}
    seen = pictures_after(panel, changed)
    assert len(set(seen)) == 10
    assert panel.controls["start"].options == (MEAN, "<somebody>", MIX)


def test_further_training_changes_the_picture(tiny, person):
    panel = person_explorer(tiny, person, **QUICK)
    panel.controls["start"].value = "<somebody>"
    before = panel.picture.value
    disturbed(person, 1.0, seed=1)
    panel.refresh()
    assert panel.error is None and panel.picture.value != before


def test_a_prompt_without_a_place_is_an_error_in_the_picture(tiny):
    panel = person_explorer(tiny, **QUICK)
    panel.controls["prompt"].value = "a photo of nobody"
    assert isinstance(panel.error, PersoError)
    panel.controls["prompt"].value = PROMPT
    assert panel.error is None


def test_what_does_not_fit_together_is_refused(tiny, name_basis, person):
    stranger = dataclasses.replace(name_basis, text_fingerprint="0" * 16)
    other = build_basis(tiny, name_basis.names[:20])
    nameless = dataclasses.replace(name_basis, names=())
    wrong = [
        ((), {"basis": stranger}, "of the text encoder 0000"),
        ((person,), {"basis": other}, "coefficients in another basis"),
        ((person, person), {}, "Two people are called <somebody>"),
        ((), {"basis": nameless}, "does not say of which names"),
        ((), {"names": ["teddy teddy"]}, '"teddy teddy" is no name of this basis'),
        ((), {"names": []}, "names is empty"),
        ((), {"components": 33}, "components is 33, but a whole number from 1 up to"),
        ((person,), {"components": 21}, "components is 21"),
        ((), {"components": 0}, "components is 0"),
        ((), {"prompt": "a beach"}, 'The prompt "a beach" has no {}'),
    ]
    for people, given, sentence in wrong:
        with pytest.raises(PersoError, match=sentence.replace("{}", r"\{\}")):
            person_explorer(tiny, *people, **QUICK, **given)


def test_panels_offers_it():
    assert "person_explorer" in panels.__all__
    assert panels.person_explorer is person_explorer
