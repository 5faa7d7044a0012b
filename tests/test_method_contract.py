"""What every method promises, tested on every method.

A new method is one row in `ROWS`. What is particular to a method is tested in
`tests/methods`.
"""

import functools
import inspect
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of, state_hash
from diffusers import StableDiffusionPipeline
from face_helpers import sees_one_face
from one_batch import batch_of, losses_of

from perso_lite import METHODS, PersoError, attached, fit, generate, load_method
from perso_lite.base import fingerprint, load_base
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.methods.perfusion.covariance import covariance_of
from perso_lite.sampling import inference_parameters

NAN = float("nan")
STEPS = 4


@dataclass(frozen=True)
class Row:
    """What has to be known of a method to hold it to the contract.

    Attributes:
        starts_from: the setting that names the word it starts from.
        learns: pattern of the names in its state that training moves.
        falls_with: learning rates with which the loss of one batch falls.
        noise: on all that it learns; with it, something else is drawn.
        unusual: another than the default value for each of its settings.
        refused: settings out of range, and what the refusal says.
        drawing: for each inference parameter, a value that draws something else, and
            one out of range.
        settings: those it needs on the tiny base.
        words_only: whether prompts without its word are drawn as by the base.
        any_class_word: whether its class word may be several tokens.
        start_refused: what is said of "zqx", if it is to start from that.
    """

    starts_from: str
    learns: str
    falls_with: Mapping[str, float]
    noise: float
    unusual: Mapping[str, object]
    refused: tuple[tuple[Mapping[str, object], str], ...] = ()
    drawing: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    words_only: bool = False
    any_class_word: bool = False
    start_refused: str = '"zqx" is not one token of this base'


OF_PRIOR = {"prior_pictures": 3, "prior_batch_size": 1, "prior_weight": 0.5}
REFUSED_BY_PRIOR = (
    ({"prior_pictures": -1}, "prior_pictures is -1 .* set prior_pictures=0"),
    ({"prior_batch_size": 0}, "prior_batch_size 0: .* of at least 1"),
)

ROWS = {
    "textual_inversion": Row(
        starts_from="initializer_token",
        learns="vectors",
        falls_with={"learning_rate": 0.1},
        noise=1.0,
        unusual={"num_vectors": 3, "initializer_token": "cat", "learning_rate": 0.1},
        refused=(({"num_vectors": 0}, "num_vectors is 0"),),
        words_only=True,
    ),
    "dreambooth_lora": Row(
        starts_from="identifier_token",
        learns=r"matrices\..*",
        falls_with={"learning_rate": 2e-3},
        noise=0.3,
        unusual={
            "identifier_token": "cropped", "rank": 2, "learning_rate": 0.1, **OF_PRIOR,
            "layer_ranks": {
                "unet.conv_in": 2, "text_encoder.encoder.layers.0.mlp.fc1": 3,
            },
        },
        refused=(
            ({"rank": 0}, "rank is 0"),
            ({"layer_ranks": {"unet.conv": 2}}, '"conv", which is no linear'),
            *REFUSED_BY_PRIOR,
        ),
        drawing={"lora_scale": (0.5, NAN)},
        settings={"identifier_token": "weird", "prior_pictures": 2},
    ),
    "custom_diffusion": Row(
        starts_from="initializer_token",
        learns=r"modifier|deltas\..*",
        falls_with={"learning_rate": 2e-2},
        noise=0.1,
        unusual={"initializer_token": "cropped", "learning_rate": 0.1, **OF_PRIOR},
        refused=REFUSED_BY_PRIOR,
        settings={"initializer_token": "weird", "prior_pictures": 2},
    ),
    "perfusion": Row(
        starts_from="initializer_token",
        learns="embedding|target_input|target_values",
        falls_with={"learning_rate": 0.1, "embedding_learning_rate": 0.1},
        noise=0.5,
        unusual={
            "initializer_token": "cat", "key_locking": "global", "learning_rate": 0.1,
            "embedding_learning_rate": 0.2, "training_beta": 0.5, "training_tau": 0.3,
            "beta": 0.5, "tau": 0.2, "decay": 0.9, "masked_loss": False,
            "target_positions": 24, "covariance_in_file": True,
        },
        refused=(
            ({"beta": -0.1}, "beta is -0.1"), ({"beta": NAN}, "beta is nan"),
            ({"tau": 0}, "tau is 0"), ({"tau": float("inf")}, "tau is inf"),
            ({"training_beta": 1.1}, "beta is 1.1"), ({"training_tau": 0}, "tau is 0"),
            ({"decay": 1.0}, "decay is 1.0"),
            ({"target_positions": -1}, "target_positions is -1"),
            ({"key_locking": "lokal"}, '"lokal", but .* local or global'),
        ),
        drawing={
            "beta": (0.4, 2), "tau": (0.3, -1), "key_locking": ("global", "trained"),
        },
    ),
    "extended_textual_inversion": Row(
        starts_from="initializer_token",
        learns="table",
        falls_with={"learning_rate": 0.1},
        noise=1.0,
        unusual={"initializer_token": "cat", "shared": True, "learning_rate": 0.1},
        words_only=True,
    ),
    "neti": Row(
        starts_from="initializer_token",
        learns=r"mapper\.(encoding\.1|hidden\.\d|output)\..*",
        falls_with={"learning_rate": 8e-3},
        noise=0.3,
        unusual={
            "initializer_token": "cat", "bypass": False, "bypass_alpha": 0.4,
            "truncation_idx": 50, "norm_mode": "word", "seed": 7, "over_time": False,
            "over_layers": False, "nested_dropout": 0.2, "positional_encoding": False,
            "start_at_class": False, "learning_rate": 0.1,
        },
        refused=(
            ({"truncation_idx": -1}, "truncation_idx is -1"),
            ({"bypass_alpha": NAN}, "bypass_alpha is nan"),
            ({"bypass_alpha": float("inf")}, "bypass_alpha is inf"),
            ({"norm_mode": "both"}, 'norm_mode is "both"'),
        ),
        drawing={"bypass_alpha": (1.0, -0.1), "truncation_idx": (8, 129)},
        words_only=True,
    ),
    "catversion": Row(
        starts_from="initializer_token",
        learns="prefix_keys|prefix_values",
        falls_with={"learning_rate": 0.3},
        noise=1.0,
        unusual={
            "initializer_token": "cat", "caption": "templates", "layers": [1],
            "prefix_length": 2, "prefix_logit_bias": 1.5, "clean_unconditional": False,
            "trained": "values", "init_std": 0.4, "learning_rate": 0.2, "seed": 7,
        },
        refused=(
            ({"layers": [2]}, r"layers is \[2\], .* layers 0 to 1"),
            ({"layers": []}, r"layers is \[\]"), ({"layers": [-1]}, "layers is"),
            ({"layers": [1, 1]}, "each once"), ({"layers": ["1"]}, "layers is"),
            ({"prefix_length": 0}, "prefix_length is 0"),
            ({"prefix_logit_bias": NAN}, "prefix_logit_bias is nan"),
            ({"prefix_logit_bias": float("inf")}, "prefix_logit_bias is inf"),
            ({"prefix_logit_bias": "1"}, "prefix_logit_bias is '1'"),
            ({"caption": "class"}, '"class"; choose from word, templates, empty'),
            ({"trained": "none"}, '"none"; choose from both, keys, values'),
            ({"init_std": -1}, "init_std is -1"), ({"seed": -1}, "seed is -1"),
        ),
        drawing={"prefix_logit_bias": (2.0, NAN)},
        words_only=True,
        any_class_word=True,
    ),
    "textboost": Row(
        starts_from="initializer_token",
        learns=r"vectors|matrices\..*",
        falls_with={"learning_rate": 0.01, "embedding_learning_rate": 0.1},
        noise=0.3,
        unusual={
            "num_vectors": 2, "initializer_token": "cat", "with_class_word": False,
            "targets": ["fc2"], "rank": 2, "augmentation": "words",
            "augmentation_probability": 0.5, "num_augmentations": 3,
            "knowledge_preservation": 2.0, "knowledge_batch_size": 2,
            "snr_weighting": False, "causality_preserved": True, "picture": 1,
            "learning_rate": 0.1, "embedding_learning_rate": 0.2, "seed": 7,
            "max_vector_norm": 0.4,
        },
        refused=(
            ({"rank": 0}, "rank is 0"), ({"num_vectors": 0}, "num_vectors is 0"),
            ({"max_vector_norm": -1}, "max_vector_norm is -1"),
            ({"targets": []}, r"targets is \[\]"), ({"targets": ["to_k"]}, "to_k"),
            ({"augmentation": "flips"}, '"flips"; choose from tokens, words, silent'),
            ({"augmentation_probability": 1.1}, "augmentation_probability is 1.1"),
            ({"augmentation_probability": NAN}, "augmentation_probability is nan"),
            ({"num_augmentations": 0}, "num_augmentations is 0"),
            ({"knowledge_preservation": -1}, "knowledge_preservation is -1"),
            ({"knowledge_batch_size": 0}, "knowledge_batch_size is 0"),
            ({"knowledge_captions": []}, "no knowledge_captions"),
            ({"knowledge_captions": ["a <TOY>"]}, "knowledge_captions has"),
            ({"picture": -1}, "picture is -1"), ({"seed": -1}, "seed is -1"),
        ),
        drawing={"lora_scale": (0.5, NAN)},
        settings={"num_augmentations": 8, "picture": 0},
    ),
    "celeb_basis": Row(
        starts_from="initializer_name",
        learns="weights",
        falls_with={"learning_rate": 0.3},
        noise=1.0,
        unusual={
            "num_components": 6, "source": "network", "initializer_name": "cat clean",
            "training_radius": 2.0, "radius": 0.5, "caption": "face of",
            "canvas_views": 3, "decay": 0.9, "check_face": False,
            "learning_rate": 0.1, "seed": 7,
        },
        refused=(
            ({"num_components": 99}, "num_components is 99, but the names have only"),
            ({"num_components": 0}, "num_components is 0"),
            ({"source": "photo"}, 'source is "photo"; choose from free, network'),
            ({"initializer_name": "cat"}, 'name "cat" is 1 words'),
            ({"training_radius": 0}, "training_radius is 0"),
            ({"training_radius": NAN}, "radius is nan"),
            ({"radius": -1}, "radius is -1"), ({"radius": "1"}, "radius is '1'"),
            ({"caption": "class"}, '"class"; choose from name, neutral, face of'),
            ({"canvas_views": -1}, "canvas_views is -1"), ({"seed": -1}, "seed is -1"),
            ({"decay": 1.0}, "decay is 1.0"), ({"decay": -0.1}, "decay is -0.1"),
        ),
        drawing={"radius": (4.0, NAN)},
        words_only=True,
        any_class_word=True,
        start_refused='The name "zqx" is 1 words',
    ),
}  # fmt: skip

# pairs that cannot be attached together, and what the refusal says
REFUSED_PAIRS: dict[frozenset[str], str] = {}

PLAIN = ["a teddy on a beach", "a cat"]
SAYING = ["a <toy> on a beach", "a cat"]


def make(name, base, class_word="teddy", placeholder_token="<toy>", **options):
    """A method that has learned nothing."""
    options = {**ROWS[name].settings, **options}
    return METHODS[name](base, class_word, placeholder_token, **options)


def make_learned(name, *given):
    """As if it had learned something."""
    return disturbed(make(name, *given), ROWS[name].noise)


def losses_in(steps):
    return [(step.index, step.loss, step.extra_loss) for step in steps]


def train(method, concept, **options):
    """All losses, and a hash of what was learned."""
    options = {"steps": STEPS, "batch_size": 2, **options}
    return losses_in(fit(method, concept, **options)), state_hash(method)


def draw(base, prompts):
    options = {"num_inference_steps": 1, "guidance_scale": 1.0, "output_type": "pt"}
    return generate(base, prompts, **options)


def draw_attached(method, prompts):
    with method.attach(method.base):
        return draw(method.base, prompts)


def differ(one, other):
    return (one - other).abs().max() > 1e-5  # rounding: 1e-6


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


@pytest.fixture(scope="module", autouse=True)
def kept_covariance(covariance, tmp_path_factory):
    """Where Perfusion looks for it, there is the covariance of the tiny base."""
    folder = tmp_path_factory.mktemp("covariance")
    covariance.save(folder)
    found = functools.partial(covariance_of, folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perso_lite.methods.perfusion.perfusion.covariance_of", found)
        yield


@pytest.fixture(scope="module", autouse=True)
def kept_for_people(name_basis):
    """Where Celeb Basis looks, there are a basis and a face network."""
    module = "perso_lite.methods.celeb_basis"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{module}.word_in_basis.basis_of", lambda _: name_basis)
        encoder = sees_one_face()
        patch.setattr(f"{module}.celeb_basis.load_face_encoder", lambda _: encoder)
        yield


@pytest.fixture(scope="module")
def untouched(tiny):
    """The tiny base before any of these tests: whoever leaves something is seen."""
    return snapshot_of(tiny)


@pytest.fixture(scope="module")
def alone(tiny, concept):
    """What comes of a training that nothing disturbs, by the name of the method."""
    return functools.cache(lambda name: train(make(name, tiny), concept))


@pytest.fixture(scope="module")
def learned(tiny):
    """Methods to attach and read only, as if they had learned something."""
    return functools.cache(lambda name, *given: make_learned(name, tiny, *given))


def test_every_method_is_held_to_the_contract():
    assert ROWS.keys() == METHODS.keys()


# -- training --------------------------------------------------------------------------


def test_training_moves_what_learns_and_no_weight_of_the_base(name, own_tiny, concept):
    before, method = snapshot_of(own_tiny), make(name, own_tiny)
    start = {key: value.clone() for key, value in method.state_dict().items()}
    train(method, concept, steps=2)
    moved = {k for k, v in method.state_dict().items() if not torch.equal(v, start[k])}
    assert moved == {key for key in start if re.fullmatch(ROWS[name].learns, key)}
    assert not any(module.training for module in method.modules())
    assert changes(own_tiny, before) == []


def test_gradients_reach_what_is_in_a_group_and_nothing_else(
    name, tiny, concept, untouched
):
    method = make_learned(name, tiny)
    batch = batch_of(method, concept)
    with method.training_step(torch.Generator().manual_seed(0)):
        losses_of(method, batch).mean().backward()
    names = {id(parameter): key for key, parameter in method.named_parameters()}
    grouped = [names[id(p)] for g in method.parameter_groups() for p in g["params"]]
    learning = {key for key, p in method.named_parameters() if p.requires_grad}
    reached = {key for key, p in method.named_parameters() if p.grad is not None}
    assert sorted(grouped) == sorted(learning) == sorted(reached)
    assert all(method.get_parameter(key).grad.any() for key in reached)
    assert changes(tiny, untouched) == []


def test_the_loss_on_one_batch_falls(name, tiny, concept):
    method = make(name, tiny, **ROWS[name].falls_with)
    batch, losses = batch_of(method, concept), []
    optimizer = torch.optim.AdamW(method.parameter_groups())
    with method.attach(tiny):
        for _ in range(12):
            losses.append(losses_of(method, batch).mean())
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
    assert losses[-1] < losses[0] - 0.005  # what learns nothing stays to the last bit


def test_a_batch_and_a_generator_decide_the_losses(name, tiny, concept):
    method = make_learned(name, tiny)
    method.before_training(concept)
    batch, found = batch_of(method, concept), []
    for noise in (1, 2):
        torch.manual_seed(noise)  # of nobody's business
        state = torch.get_rng_state()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad(), method.training_step(generator):
            losses, extra = losses_of(method, batch), method.extra_loss(generator)
        timesteps = method.draw_timesteps(8, 1000, generator)
        extra = torch.zeros(()) if extra is None else extra
        found.append([losses, extra, timesteps, generator.get_state()])
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one, again) for one, again in zip(*found, strict=True))


def test_the_global_generator_neither_matters_nor_moves(name, tiny, concept, alone):
    wanted = alone(name)
    torch.manual_seed(1234)
    state = torch.get_rng_state()
    assert train(make(name, tiny), concept) == wanted
    assert torch.equal(torch.get_rng_state(), state)


def test_trainings_side_by_side_give_what_each_gives_alone(tiny, concept, alone):
    methods = {name: make(name, tiny) for name in ROWS}
    runs = [fit(method, concept, STEPS, batch_size=2) for method in methods.values()]
    in_turn = zip(*runs, strict=True)  # a step of each, and so on
    of_each = zip(*in_turn, strict=True)
    for (name, method), steps in zip(methods.items(), of_each, strict=True):
        assert (losses_in(steps), state_hash(method)) == alone(name), name


def test_resuming_gives_what_an_undisturbed_run_gives(
    name, tiny, concept, alone, tmp_path
):
    path, interrupted = tmp_path / "half.safetensors", make(name, tiny)
    options = {"batch_size": 2, "checkpoint": path, "checkpoint_every": 2}
    steps = fit(interrupted, concept, STEPS, **options)
    losses, kept = losses_in([next(steps), next(steps)]), state_hash(interrupted)
    next(steps)  # one more than is kept
    loaded = load_method(path, tiny)
    assert loaded.training_record["steps"] == 2
    assert state_hash(loaded) == kept != state_hash(interrupted)
    rest, state = train(make(name, tiny), concept, resume=path)
    assert (losses + rest, state) == alone(name)


@pytest.mark.slow
def test_resuming_with_every_option_of_fit_is_exact_too(name, tiny, concept, tmp_path):
    options = {"gradient_accumulation": 2, "flips": True, "crops": 1}
    options |= {"learning_rate_schedule": "cosine", "warmup_steps": 1}
    losses, state = train(make(name, tiny), concept, **options)
    path, interrupted = tmp_path / "half.safetensors", make(name, tiny)
    kept = {"batch_size": 2, "checkpoint": path, "checkpoint_every": 2}
    steps = fit(interrupted, concept, STEPS, **options, **kept)
    for _ in range(3):
        next(steps)
    resumed = train(make(name, tiny), concept, resume=path, **options)
    assert resumed == (losses[2:], state)


# -- attaching -------------------------------------------------------------------------


@pytest.mark.parametrize("raised", ["nowhere", "inside", "in a layer"])
def test_attaching_leaves_everything_as_it_was(name, tiny, learned, untouched, raised):
    method, plain = learned(name), draw(tiny, PLAIN)
    try:
        with method.attach(tiny):
            said, inside = draw(tiny, SAYING), draw(tiny, PLAIN)
            assert {"tokenizer", "hooks"} <= {*changes(tiny, untouched)}
            if raised == "in a layer":
                (layer, *_) = cross_attention_layers(tiny.unet)
                projection = tiny.unet.get_submodule(f"{layer.name}.to_v")
                breaking = projection.register_forward_pre_hook(lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    draw(tiny, SAYING)
                breaking.remove()
                assert torch.equal(draw(tiny, SAYING), said)
            if raised != "nowhere":
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert raised != "nowhere"
    assert changes(tiny, untouched) == []
    assert torch.equal(draw(tiny, PLAIN), plain)
    assert differ(said[0], plain[0]) and differ(said[0], inside[0])
    words_only = ROWS[name].words_only
    assert torch.equal(inside, plain) if words_only else differ(inside, plain)
    assert torch.equal(said[1], inside[1])  # each row of a batch for itself


def test_a_pipeline_with_a_concept_is_not_saved(name, tiny, learned, tmp_path):
    method = learned(name)
    # of the same parts: diffusers notes in a pipeline's configuration that it was saved
    sharing = StableDiffusionPipeline(**tiny.components, requires_safety_checker=False)
    with (
        method.attach(tiny),
        pytest.raises(PersoError, match="cannot be saved while"),
    ):
        sharing.save_pretrained(tmp_path)
    with pytest.raises(PersoError, match=r"model_index\.json"):
        load_base(tmp_path)  # what was written is not taken for a base
    sharing.save_pretrained(tmp_path)
    assert fingerprint(load_base(tmp_path, device="cpu")) == fingerprint(tiny)


PAIRS = [  # with Textual Inversion, and slowly with every other
    pytest.param(
        pair,
        id=" and ".join(pair),
        marks=[pytest.mark.slow] * ("textual_inversion" not in pair),
    )
    for pair in itertools.combinations_with_replacement(METHODS, 2)
]


@pytest.mark.parametrize("pair", PAIRS)
def test_two_in_one_prompt_are_drawn_and_nothing_is_left(
    tiny, learned, untouched, pair
):
    one = learned(pair[0], "teddy", "<one>")
    two = learned(pair[1], "dog", "<two>")
    drawn = []
    prompts = ["a <one> and a <two>", "a teddy and a <two>", "a <one> and a dog"]
    for outer, inner in ((one, two), (two, one)):
        if refusal := REFUSED_PAIRS.get(frozenset(pair)):
            with pytest.raises(PersoError, match=refusal), attached(tiny, outer, inner):
                draw(tiny, prompts)
        else:
            word = f"a {outer.placeholder_token} on a beach"
            with outer.attach(tiny):
                single = draw(tiny, word)
                with inner.attach(tiny):
                    drawn.append(draw(tiny, prompts))
                assert torch.equal(draw(tiny, word), single)
            both, without_one, without_two = drawn[-1]
            assert differ(both, without_one) and differ(both, without_two)
        assert changes(tiny, untouched) == []
    if drawn:
        assert not differ(*drawn)  # in whichever order they were attached


def test_a_word_that_is_taken_is_refused_and_the_first_goes_on(name, tiny, learned):
    method, twin = learned(name), make(name, tiny, "dog")
    wanted = draw_attached(method, SAYING)
    with method.attach(tiny):
        before = snapshot_of(tiny)
        taken = pytest.raises(PersoError, match="already in the vocabulary")
        with taken, twin.attach(tiny):
            pass
        assert changes(tiny, before) == []
        assert torch.equal(draw(tiny, SAYING), wanted)


# -- files -----------------------------------------------------------------------------


def test_a_saved_concept_is_loaded_as_it_was(name, tiny, concept, tmp_path):
    path, unusual = tmp_path / "toy.safetensors", ROWS[name].unusual
    method = make(name, tiny, **unusual)
    train(method, concept, steps=1)
    disturbed(method, ROWS[name].noise).save(path)
    loaded, renamed = load_method(path, tiny), load_method(path, tiny, "<pet>")
    assert type(loaded) is METHODS[name] and not loaded.training
    assert loaded.settings() == method.settings() == unusual
    assert loaded.header() == method.header()
    wanted = draw_attached(method, SAYING)
    for same in (loaded, renamed):
        assert state_hash(same) == state_hash(method)
        said = [text.replace("<toy>", same.placeholder_token) for text in SAYING]
        assert torch.equal(draw_attached(same, said), wanted)


def test_every_setting_has_an_unusual_value(name, tiny):
    given = inspect.signature(METHODS[name]).parameters
    method, unusual = make(name, tiny), ROWS[name].unusual
    assert {*METHODS[name].SETTINGS} <= {*method.settings()} == {*unusual}
    for setting, value in unusual.items():
        assert given[setting].default != value != method.settings()[setting]
    for setting in METHODS[name].SETTINGS:
        assert getattr(method, setting) == method.settings()[setting]
        assert f"{setting}: " in METHODS[name].__doc__


# -- inference parameters --------------------------------------------------------------


def test_inference_parameters_draw_something_else_and_are_set_back(name, tiny, learned):
    method, drawing = learned(name), ROWS[name].drawing
    assert {*drawing} == {*METHODS[name].INFERENCE_PARAMETERS}
    assert all(each.meaning for each in METHODS[name].INFERENCE_PARAMETERS.values())
    configuration, pictures = method.configuration(), []
    with method.attach(tiny):
        wanted = draw(tiny, SAYING)
        for parameter, (value, _) in drawing.items():
            with inference_parameters(method, **{parameter: value}):
                assert (
                    getattr(method, parameter)
                    == method.configuration()[parameter]
                    == value
                )
                pictures.append(draw(tiny, SAYING))
        others = {parameter: value for parameter, (value, _) in drawing.items()}
        with pytest.raises(KeyError), inference_parameters(method, **others):
            raise KeyError
        assert method.configuration() == configuration
        assert torch.equal(draw(tiny, SAYING), wanted)
    assert all(differ(*pair) for pair in itertools.combinations([wanted, *pictures], 2))


@pytest.mark.parametrize(
    ("name", "parameter"),
    [(name, each) for name, row in ROWS.items() for each in row.drawing],
)
def test_inference_parameters_out_of_range_are_refused_and_stay(name, parameter, tiny):
    method, (value, wrong) = make(name, tiny), ROWS[name].drawing[parameter]
    setattr(method, parameter, value)
    refused, also = (pytest.raises(PersoError, match=parameter) for _ in range(2))
    with refused:
        setattr(method, parameter, wrong)
    with also, inference_parameters(method, **{parameter: wrong}):
        pass
    assert getattr(method, parameter) == value


def test_only_inference_parameters_are_set(name, tiny):
    method = make(name, tiny)
    refused = pytest.raises(PersoError, match="no inference parameter class_word")
    with refused, inference_parameters(method, class_word="cat"):
        pass
    assert method.class_word == "teddy"


# -- mistakes --------------------------------------------------------------------------

SEVERAL_TOKENS = (
    {"class_word": "stuffed giraffe"},
    'giraffe" is not one token of this base',
)
REFUSED = [
    pytest.param(name, options, message, id=f"{name}-{message}")
    for name, row in ROWS.items()
    for options, message in (
        *row.refused,
        ({"placeholder_token": "toy"}, "must stand in angle brackets"),
        ({"placeholder_token": "<a toy>"}, "hold no blank"),
        ({"placeholder_token": "<Toy>"}, "must be in lower case"),
        ({"placeholder_token": "<|endoftext|>"}, "already in the vocabulary"),
        ({row.starts_from: "zqx"}, row.start_refused),
        *(() if row.any_class_word else (SEVERAL_TOKENS,)),
    )
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_what_cannot_be_built_is_refused_with_a_sentence(
    tiny, untouched, name, options, message
):
    options = {"class_word": "teddy", **ROWS[name].settings, **options}
    with pytest.raises(PersoError, match=message) as refusal:
        METHODS[name](tiny, **options)
    sentence = str(refusal.value)
    assert len(sentence) < 400 and sentence.endswith((".", "?"))
    assert changes(tiny, untouched) == []


@pytest.mark.parametrize("given", ["teddy ", " teddy", "\tteddy\n"])
@pytest.mark.parametrize("name", METHODS)
def test_blanks_around_the_class_word_do_not_matter(tiny, name, given):
    method = make(name, tiny, class_word=given)
    assert method.class_word == "teddy"


@pytest.mark.parametrize(
    "name", ["textual_inversion", "perfusion", "extended_textual_inversion", "neti"]
)
def test_a_class_word_of_two_words_starts_from_the_last(tiny, name):
    method = make(name, tiny, class_word="snow  teddy")
    assert (method.class_word, method.initializer_token) == ("snow teddy", "teddy")
