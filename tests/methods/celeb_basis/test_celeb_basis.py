"""Celeb Basis: the equation, where coefficients come from, and its files."""

import copy
import functools
import itertools
import warnings

import pytest
import torch
from before_and_after import disturbed, state_hash
from face_helpers import sees, sees_one_face
from one_batch import batch_of, losses_of
from PIL import Image

from perso_lite import (
    PersoError,
    TextualInversion,
    attached,
    encode_prompts,
    fit,
    load_method,
)
from perso_lite.concepts import Concept
from perso_lite.conditioning.words import vectors_of
from perso_lite.files.tensors import read_tensors
from perso_lite.method import View
from perso_lite.methods.celeb_basis import word_in_basis
from perso_lite.methods.celeb_basis.celeb_basis import RELEASED_SETTINGS, CelebBasis
from perso_lite.methods.celeb_basis.coefficients import CoefficientNetwork, on_sphere
from perso_lite.methods.celeb_basis.photo import canvas_views, pasted_box


@pytest.fixture(autouse=True)
def kept_basis(name_basis, monkeypatch):
    monkeypatch.setattr(word_in_basis, "basis_of", lambda _: name_basis)


@pytest.fixture(scope="module")
def photo(concept):
    """One picture of the concept, as if it was a person."""
    return Concept("somebody", "person", concept.images[:1], concept.masks[:1])


@pytest.fixture
def make(tiny):
    return functools.partial(CelebBasis, tiny, "teddy")


def from_network(tiny, token="<toy>", **options):
    options = {"face_encoder": sees_one_face(), "source": "network", **options}
    return CelebBasis(tiny, "teddy", token, **options)


# -- the equation ----------------------------------------------------------------------


def test_vectors_are_at_the_radius_from_the_mean_in_each_slot(make, name_basis):
    person = disturbed(make(training_radius=1.5), 1.0)
    lengths = name_basis.lengths[:, person.num_components - 1]
    moved = person.vectors() - name_basis.mean
    assert torch.allclose(moved.norm(dim=1), 1.5 * lengths)
    assert torch.allclose(person.coefficients().norm(dim=1), 1.5 * lengths)
    person.radius = 0.25
    assert torch.allclose(person.coefficients().norm(dim=1), 0.25 * lengths)
    person.train()  # the radius for drawing is not that of training
    assert torch.allclose(person.coefficients().norm(dim=1), 1.5 * lengths)
    person.eval().radius = 0
    assert torch.equal(person.vectors(), name_basis.mean)


def test_without_a_radius_the_length_is_learned(make):
    person = disturbed(make(training_radius=None), 1.0)
    assert torch.equal(person.coefficients(), person.weights)


def test_only_the_direction_counts_and_the_gradient_keeps_the_length():
    h = torch.randn(2, 16, dtype=torch.float64, requires_grad=True)
    a = on_sphere(h, 1.5)
    assert torch.allclose(on_sphere(7 * h, 1.5), a)
    (a * torch.randn(2, 16, dtype=torch.float64)).sum().backward()
    assert ((h.grad * h).sum(1).abs() < 1e-10).all() and h.grad.any()
    assert torch.equal(on_sphere(torch.zeros(2, 3), 1.0), torch.zeros(2, 3))


def test_a_name_to_start_from_is_read_as_the_name(tiny, make, name_basis):
    name, p = name_basis.names[3], name_basis.num_components
    person = make("<toy>", p, initializer_name=name, training_radius=None)
    assert torch.allclose(person.vectors(), vectors_of(tiny, name), atol=1e-5)
    with person.attach(tiny):
        states = encode_prompts(tiny, ["a photo of <toy> on the beach"])
    wanted = encode_prompts(tiny, [f"a photo of {name} on the beach"])
    assert torch.allclose(states, wanted, atol=1e-4)


def test_two_thirds_of_the_width_unless_names_have_fewer_directions(tiny, make):
    assert make().num_components == 21  # of 32
    few = word_in_basis.basis_of(tiny).first(5)
    assert make(basis=few).num_components == 5


# -- in prompts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    ["a <toy> on the beach", "<TOY>", "<toy> and <toy>", "a cat next to a <toy>,"],
)
def test_the_word_is_two_tokens_wherever_it_stands(tiny, make, prompt):
    person = disturbed(make(), 1.0)
    with person.attach(tiny):
        ids = tiny.tokenizer(prompt).input_ids
        first = tiny.tokenizer.convert_tokens_to_ids("<toy>")
        assert ids.count(first) == ids.count(first + 1) == prompt.lower().count("<toy>")
        assert all(ids[i + 1] == first + 1 for i, t in enumerate(ids) if t == first)
        found = tiny.text_encoder.get_input_embeddings()(torch.tensor([ids]))[0]
        assert torch.allclose(found[ids.index(first)], person.vectors()[0])
        assert torch.allclose(found[ids.index(first) + 1], person.vectors()[1])
        written = prompt.lower().replace("<toy>", "<toy> <toy>_1")
        assert tiny.tokenizer(written).input_ids == ids  # as stock pipelines write it
        place = person.tokens.places(tiny.tokenizer, torch.tensor([ids]))
        assert place.sum() == ids.count(first)


def test_a_word_at_the_end_of_a_long_prompt_is_not_cut_in_two(tiny, make):
    person, read = make(), tiny.tokenizer.model_max_length - 2
    with person.attach(tiny):
        encode_prompts(tiny, ["cat " * (read - 2) + "<toy>"])
        with pytest.raises(PersoError, match="its <toy>_1 is cut off"):
            encode_prompts(tiny, ["cat " * (read - 1) + "<toy>"])


def test_two_people_meet_in_one_prompt_in_either_order(tiny, make):
    one, two = disturbed(make("<one>"), 1.0), disturbed(make("<two>"), 1.0, seed=1)
    states = []
    for pair in itertools.permutations([one, two]):
        with attached(tiny, *pair):
            states.append(encode_prompts(tiny, ["a <one> and a <two>"]))
    assert torch.equal(*states)


def test_one_file_is_refused_twice_under_one_word_and_welcome_under_two(
    tiny, make, tmp_path
):
    path = tmp_path / "person.safetensors"
    disturbed(make(), 1.0).save(path)
    same, again = load_method(path, tiny), load_method(path, tiny)
    refused = pytest.raises(PersoError, match="already in the vocabulary")
    with refused, attached(tiny, same, again):
        pass
    other = load_method(path, tiny, "<twin>")
    with attached(tiny, same, other):
        states = encode_prompts(tiny, ["a <toy>", "a <twin>"])
    assert torch.equal(states[0], states[1])


# -- where coefficients come from ------------------------------------------------------


def test_numbers_of_both_sources_at_the_papers_sizes():
    network = CoefficientNetwork(512, 512)
    assert sum(p.numel() for p in network.parameters()) == 525_312
    assert network(torch.randn(512)).numel() == 1024
    assert network.weight.std().item() == pytest.approx(1, abs=0.01)
    assert not network.bias.any()


def test_the_network_is_one_layer_with_a_slope():
    network = CoefficientNetwork(3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
        network.bias.copy_(torch.tensor([0.5, -1.0]))
    found = network(torch.tensor([2.0, 0.0, 9.0]))
    assert torch.allclose(found, torch.tensor([[2.5], [-0.2]]))


def test_free_weights_are_all_that_a_file_holds(make, name_basis, tmp_path):
    path = tmp_path / "person.safetensors"
    person = make(num_components=8)
    person.save(path)
    tensors, header = read_tensors(path)
    assert {k: v.shape for k, v in tensors.items()} == {"celeb_basis.weights": (2, 8)}
    fingerprint = name_basis.first(8).fingerprint
    assert header["perso_lite.name_basis_fingerprint"] == fingerprint


def test_training_reaches_the_network_and_not_the_face_encoder(tiny, photo):
    person = from_network(tiny)
    person.before_training(photo)
    assert person.feature.norm() == pytest.approx(1)
    batch = batch_of(person, photo)
    with person.training_step(torch.Generator()):
        losses_of(person, batch).mean().backward()
    assert person.network.weight.grad.any() and person.network.bias.grad.any()
    assert {id(p) for p in person.parameters()} == {
        id(p) for p in person.network.parameters()
    }
    assert all(p.grad is None for p in person.face_encoder.parameters())
    assert not [key for key in person.state_dict() if "encoder" in key]


def test_a_free_person_learns_alone_and_a_shared_network_moves_both(tiny, photo):
    free = [CelebBasis(tiny, "teddy", token) for token in ("<one>", "<two>")]
    first = from_network(tiny, "<one>")
    shared = [first, from_network(tiny, "<two>", network=first.network)]
    other = Concept("other", "person", [Image.new("RGB", (32, 32), "teal")], [None])
    for (one, two), moves in ((free, False), (shared, True)):
        for person, pictures in ((one, photo), (two, other)):
            person.before_training(pictures)
        with torch.no_grad():
            before = two.train().coefficients().clone()
        list(fit(one, photo, 1, batch_size=1))
        with torch.no_grad():
            after = two.coefficients()
        assert torch.equal(after, before) != moves


def test_a_shared_network_of_another_size_is_refused(tiny):
    with pytest.raises(PersoError, match="shared network makes 10 numbers"):
        from_network(tiny, network=CoefficientNetwork(64, 5))


def test_people_are_trained_in_turn(tiny, photo):
    first = from_network(tiny, "<one>")
    second = from_network(tiny, "<two>", network=first.network)
    runs = [fit(person, photo, 2, batch_size=1) for person in (first, second)]
    steps = list(zip(*runs, strict=True))
    assert [step.index for pair in steps for step in pair] == [0, 0, 1, 1]


def test_the_network_is_thrown_away_and_the_person_stays(tiny, photo, tmp_path):
    learned = from_network(tiny, decay=0.5)
    list(fit(learned, photo, 2, batch_size=1))
    person, path = learned.without_network(), tmp_path / "person.safetensors"
    assert torch.allclose(person.vectors(), learned.vectors(), atol=1e-6)
    assert person.state_dict().keys() == {"weights"}
    person.save(path)
    assert torch.equal(load_method(path, tiny).vectors(), person.vectors())
    assert path.stat().st_size < 5000


def test_the_average_follows_with_its_decay(make, photo):
    person = make(decay=0.75, training_radius=None)
    start = person.weights.detach().clone()
    with torch.no_grad():
        person.weights.fill_(2.0)
    for _ in range(3):
        person.train().after_step(0, [], None)
    wanted = 0.75**3 * start + (1 - 0.75**3) * 2
    assert torch.allclose(person.eval().coefficients(), wanted)
    assert torch.equal(make(decay=0.0).state_dict()["weights"], start)


def test_the_average_begins_at_the_radius_with_the_first_prediction(tiny, photo):
    for person in (from_network(tiny), CelebBasis(tiny, "teddy", decay=0.9)):
        person.before_training(photo)
        lengths = person.average.norm(dim=1, keepdim=True)
        assert torch.allclose(lengths, person.lengths)
        with torch.no_grad():
            first = person.train().coefficients()
        assert torch.allclose(person.average, first)


def test_an_average_is_resumed_exactly(tiny, photo, tmp_path):
    path = tmp_path / "half.safetensors"
    options = {"source": "network", "decay": 0.9}
    whole = from_network(tiny, **options)
    list(fit(whole, photo, 4, batch_size=1))
    half = from_network(tiny, **options)
    list(fit(half, photo, 2, batch_size=1, checkpoint=path, checkpoint_every=2))
    again = from_network(tiny, **options)
    list(fit(again, photo, 4, batch_size=1, resume=path))
    assert state_hash(again) == state_hash(whole)


# -- the photo -------------------------------------------------------------------------


@pytest.mark.parametrize(("faces", "said"), [(0, "no face"), (2, "several faces")])
def test_a_photo_without_one_face_is_refused(tiny, photo, concept, faces, said):
    person = CelebBasis(tiny, "teddy", face_encoder=sees(faces))
    with pytest.raises(PersoError, match=f"Picture 0 of somebody .* shows {said}"):
        next(fit(person, photo, 1))
    second = CelebBasis(tiny, "teddy", face_encoder=sees(1, faces))
    with pytest.raises(PersoError, match=f"Picture 1 of red-disc .* shows {said}"):
        next(fit(second, concept, 1))
    unchecked = CelebBasis(tiny, "teddy", face_encoder=sees(faces), check_face=False)
    assert next(fit(unchecked, photo, 1, batch_size=1)).index == 0


def test_what_needs_a_face_network_is_refused_without_one(tiny, photo):
    with pytest.raises(PersoError, match="No face network knows pictures of this base"):
        CelebBasis(tiny, "teddy", source="network")
    with pytest.raises(PersoError, match="No face network"):
        next(fit(CelebBasis(tiny, "teddy", check_face=True), photo, 1))


def test_captions_are_those_of_a_name_of_the_others_or_as_released(make, photo):
    names, neutral, released = (
        make(caption=kind).captions(photo)[0] for kind in ("name", "neutral", "face of")
    )
    assert names == ["a photo of <toy>", "a picture of <toy>", "an image of <toy>",
                     "<toy>"]  # fmt: skip
    assert len(neutral) == len(released) == 27
    assert "a photo of a face of <toy> teddy" in released


def test_a_photo_is_pasted_on_black_and_nowhere_else():
    image = Image.new("RGB", (40, 40), (200, 150, 100))
    views = canvas_views(View(image, None, ["<toy>"]), 20, 64, 0)
    again = canvas_views(View(image, None, ["<toy>"]), 20, 64, 0)
    for view, same in zip(views, again, strict=True):
        assert view.captions == ["<toy>"] and view.image.size == (64, 64)
        assert view.image.tobytes() == same.image.tobytes()
        left, top, right, bottom = view.mask.getbbox()
        assert 0 < right - left <= 64 and 7 <= bottom - top <= 64
        black = view.image.copy()
        black.paste((0, 0, 0), (left, top, right, bottom))
        assert black.getextrema() == ((0, 0),) * 3
        assert min(low for low, _ in view.image.crop(view.mask.getbbox())
                   .getextrema()) > 0  # fmt: skip
    assert len({view.image.tobytes() for view in views}) == 20


def test_boxes_have_the_sizes_of_the_released_code():
    generator = torch.Generator().manual_seed(0)
    boxes = [pasted_box(512, generator) for _ in range(300)]
    for left, top, width, height in boxes:
        assert 0 <= left <= 512 - width and 0 <= top <= 512 - height
        assert 51 < height <= 512
        assert width == 512 or 0.89 * height < width < 1.11 * height
    heights = torch.tensor([float(height) for *_, height in boxes])
    assert heights.mean() == pytest.approx(0.55 * 512, rel=0.1)


def test_the_face_network_sees_the_photo_and_training_the_canvas(make, photo):
    seen = []
    encoder = sees_one_face()
    encoder.count = lambda pictures: seen.append(pictures) or torch.tensor([1])
    person = make(canvas_views=3, face_encoder=encoder)
    person.before_training(photo)
    assert torch.equal(seen[0], photo.pixels(128))
    assert len(person.views(photo)) == 3


# -- files -----------------------------------------------------------------------------


def test_a_file_with_coefficients_in_another_basis_is_refused(
    tiny, make, name_basis, tmp_path, monkeypatch
):
    path = tmp_path / "person.safetensors"
    make().save(path)
    other = copy.copy(name_basis)
    object.__setattr__(other, "mean", name_basis.mean + 1)
    monkeypatch.setattr(word_in_basis, "basis_of", lambda _: other)
    with pytest.raises(
        PersoError, match=r"coefficients in the basis .* another person"
    ):
        load_method(path, tiny)


def checkpoint_of_ten(path, people, p=6):
    """As the released code saves: ten places, those not used with the same noise."""
    noise = 10 * torch.randn(2, 1, p, generator=torch.Generator().manual_seed(9))
    torch.save({"id_coefficients": [*people, *[noise] * (10 - len(people))]}, path)


def test_a_released_checkpoint_is_read_person_by_person(tiny, tmp_path, name_basis):
    generator, path = torch.Generator().manual_seed(0), tmp_path / "embeddings.pt"
    people = [torch.randn(2, 1, 6, generator=generator) / 6**0.5 for _ in range(2)]
    checkpoint_of_ten(path, people)
    for index, wanted in enumerate(people):
        person = CelebBasis.from_released(path, tiny, "person", "<toy>", index)
        assert torch.equal(person.coefficients(), wanted[:, 0])
        along = torch.einsum("kp,kpd->kd", wanted[:, 0], name_basis.vectors[:, :6])
        assert torch.allclose(person.vectors(), name_basis.mean + along)
    single = tmp_path / "id_coefficient_fp16_000.pt"
    torch.save(people[1].half(), single)
    person = CelebBasis.from_released(single, tiny)
    assert torch.equal(person.coefficients(), people[1][:, 0].half().float())
    with pytest.raises(PersoError, match=r"Person 2 of .* was never trained"):
        CelebBasis.from_released(path, tiny, person=2)
    with pytest.raises(PersoError, match="person is 10"):
        CelebBasis.from_released(path, tiny, person=10)


def test_what_is_no_released_file_is_refused(tiny, tmp_path):
    path = tmp_path / "wrong.pt"
    wrong = ({"id_embeddings": []}, torch.zeros(2, 6), {"id_coefficients": [1]})
    for content in wrong:
        torch.save(content, path)
        with pytest.raises(PersoError, match="holds no coefficients of Celeb Basis"):
            CelebBasis.from_released(path, tiny)
    checkpoint_of_ten(path, [torch.ones(2, 1, 40) / 40], 40)
    with pytest.raises(PersoError, match="num_components is 40"):
        CelebBasis.from_released(path, tiny)


def test_the_released_settings_are_settings(tiny):
    person = CelebBasis(
        tiny, "teddy", face_encoder=sees_one_face(), **RELEASED_SETTINGS
    )
    assert person.settings() | RELEASED_SETTINGS == person.settings()
    assert person.learning_rate == 0.01


# -- beside others ---------------------------------------------------------------------


def warnings_of(base, prompts, *methods):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.no_grad(), attached(base, *methods):
            for prompt in prompts:
                encode_prompts(base, [prompt])
    return [
        str(w.message) for w in caught if "a person and a concept" in str(w.message)
    ]


def test_a_person_beside_a_concept_of_another_method_gets_a_warning(tiny):
    two = [CelebBasis(tiny, "teddy", token) for token in ("<ann>", "<ben>")]
    other = TextualInversion(tiny, "dog", "<dog>")
    each_alone = ["<ann> next to <ben>", "a <dog> and a cat", "<ben>", ""]
    for methods in ([*two, other], [other, *two], [two[0], other, two[1]]):
        assert warnings_of(tiny, each_alone, *methods) == []
        beside = ["<ann> next to a <dog>", "a <dog> next to <ben>"]
        (sentence,) = warnings_of(tiny, each_alone + beside, *methods)
        assert "pictures of their own" in sentence
