import copy
import math
import warnings

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of, state_hash
from diffusers import DDPMScheduler
from one_batch import batch_of, losses_of
from tiny_pipeline import weights_hash
from transformers import CLIPTextConfig, CLIPTextModel

from perso_lite import (
    ExtendedTextualInversion,
    PersoError,
    TextBoost,
    TextualInversion,
    attached,
    encode_prompts,
    fit,
    generate,
)
from perso_lite.checkpoints import begin_training, training_record
from perso_lite.conditioning.lora import LoraLayers
from perso_lite.conditioning.neutral_captions import TEMPLATES
from perso_lite.conditioning.new_words import as_read
from perso_lite.methods.textboost.causality import from_word_on
from perso_lite.methods.textboost.knowledge import shipped_captions, unlike
from perso_lite.methods.textboost.norms import capped, mean_norm
from perso_lite.methods.textboost.timesteps import snr_probabilities
from perso_lite.methods.textboost.word_with_lora import TARGETS

PROMPTS = ["a teddy on a beach", "a cat", ""]
OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}


def make(base, placeholder_token="<toy>", seed=None, class_word="teddy", **options):
    """A method for one picture; with a seed, as if it had learned something."""
    options = {"picture": 0, "num_augmentations": 8, **options}
    method = TextBoost(base, class_word, placeholder_token, **options)
    return method if seed is None else disturbed(method, 0.2, seed)


def states_of(base, *methods, prompts=PROMPTS):
    with torch.no_grad(), attached(base, *methods):
        return encode_prompts(base, list(prompts))


# -- LoRA ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "width", "inner", "targets", "rank", "count"),
    [
        (12, 768, 3072, TARGETS, 4, 663_552),
        (12, 768, 3072, TARGETS[:3], 4, 221_184),
        (23, 1024, 4096, TARGETS, 4, 1_695_744),
        (23, 1024, 4096, TARGETS[:3], 4, 565_248),
        (23, 1024, 4096, ("k_proj", "v_proj"), 1, 94_208),
        (23, 1024, 4096, ("fc2",), 1, 117_760),
    ],
    ids=["SD 1", "SD 1 q k v", "SD 2", "SD 2 q k v", "later: k v", "later: fc2"],
)
def test_lora_has_as_many_numbers_as_was_reported(
    layers, width, inner, targets, rank, count
):
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
    )
    with torch.device("meta"):
        encoder = CLIPTextModel(config)
    names = [n for n, _ in encoder.named_modules() if n.endswith(tuple(targets))]
    lora = LoraLayers(encoder, names, rank)
    assert sum(p.numel() for p in lora.matrices.parameters()) == count


def test_targets_are_those_layers_of_every_layer(tiny):
    method = make(tiny, targets=["fc2"], rank=2)
    names = [name.rpartition(".layers.")[2] for name in method.lora.layers]
    assert names == ["0.mlp.fc2", "1.mlp.fc2"]
    assert len(make(tiny).lora.layers) == 12
    assert method.targets == ["fc2"] and make(tiny).targets == list(TARGETS)


def test_a_is_drawn_with_the_deviation_of_the_released_code_and_b_is_zero(tiny):
    pairs = make(tiny, seed=None).matrices.values()
    thin = torch.cat([pair["A"].weight.flatten() for pair in pairs])
    assert abs(thin.std() - 1 / 4) < 0.01
    assert all(not pair["B"].weight.any() for pair in pairs)
    one, other = make(tiny), TextBoost(tiny, "teddy", seed=1)
    assert state_hash(one) == state_hash(make(tiny)) != state_hash(other)


def test_untrained_it_reads_prompts_as_the_base_does(tiny):
    method = make(tiny)
    assert torch.equal(states_of(tiny, method), states_of(tiny))
    said = ["a <toy> on a beach", "a <TOY> on a beach"]
    class_twice = encode_prompts(tiny, ["a teddy teddy on a beach"])
    assert torch.equal(
        states_of(tiny, method, prompts=said), class_twice.expand(2, -1, -1)
    )
    alone = make(tiny, with_class_word=False)
    wanted = encode_prompts(tiny, [PROMPTS[0]])
    assert torch.equal(states_of(tiny, alone, prompts=said[:1]), wanted)


@torch.no_grad()
def test_two_concepts_add_up(tiny):
    one, two = make(tiny, "<one>", seed=0), make(tiny, "<two>", seed=1)
    two.lora_scale = 0.5
    name = next(iter(one.lora.layers))
    plain = tiny.text_encoder.get_submodule(name)
    x = torch.randn(2, 5, plain.in_features, generator=torch.Generator().manual_seed(0))
    wanted = plain(x)
    for method, scale in ((one, 1.0), (two, 0.5)):
        a, b = method.matrices[name.replace(".", "_")].values()
        wanted = wanted + scale * (x @ a.weight.T @ b.weight.T)
    for methods in ((one, two), (two, one)):
        with attached(tiny, *methods):
            assert torch.allclose(plain(x), wanted, atol=1e-5)


@torch.no_grad()
def test_weights_with_b_a_added_read_the_same(tiny, own_tiny):
    method = make(tiny, seed=0)
    for name, layer in method.lora.layers.items():
        merged = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        own_tiny.text_encoder.get_submodule(name).weight.add_(merged)
    merged, ours = states_of(own_tiny), states_of(tiny, method)
    assert torch.allclose(merged, ours, atol=1e-4)
    assert not torch.allclose(ours, states_of(tiny), atol=1e-2)


@torch.no_grad()
def test_lora_on_all_positions_moves_the_start_of_every_prompt_alike(tiny):
    """The start token sees nothing of a prompt: what changes it changes all of them."""
    moved = (states_of(tiny, make(tiny, seed=0)) - states_of(tiny))[:, 0]
    assert moved[0].norm() > 0.1
    assert torch.allclose(moved, moved[:1].expand_as(moved), atol=1e-5)


def test_scale_0_is_the_base_with_the_word(tiny):
    method = make(tiny, seed=0)
    plain = states_of(tiny)
    method.lora_scale = 0.0
    assert torch.equal(states_of(tiny, method), plain)
    word = states_of(tiny, method, prompts=["a <toy>"])
    with torch.no_grad():
        method.vectors += 1
    assert not torch.equal(states_of(tiny, method, prompts=["a <toy>"]), word)


def test_words_of_other_methods_follow_the_scale(tiny):
    """XTI keeps what it encodes; it has to notice LoRA that comes, goes or changes."""
    word = disturbed(ExtendedTextualInversion(tiny, "dog", "<dog>"), 1.0)
    method, pictures = make(tiny, seed=0), []
    with attached(tiny, word, method):
        for scale in (1.0, 0.5, 1.0):
            method.lora_scale = scale
            pictures.append(generate(tiny, "a <dog>", **OPTIONS))
    whole, half, again = pictures
    assert torch.equal(whole, again) and (whole - half).abs().max() > 1e-4


# -- words of other concepts -----------------------------------------------------------


def first_projection_of(base, prompt, *methods):
    """What the first layer that LoRA changes returns for a prompt, (tokens, dim)."""
    seen = []
    layer = base.text_encoder.get_submodule(next(iter(methods[-1].lora.layers)))
    with attached(base, *methods):  # the hook comes last, so it sees what LoRA added
        hook = layer.register_forward_hook(lambda *call: seen.append(call[2][0]))
        try:
            encode_prompts(base, [prompt])
        finally:
            hook.remove()
    return seen[0]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["another method", "another of its own"])
@pytest.mark.parametrize("prompt", ["a <dog> and a <toy>", "a <toy> and a <dog>"])
def test_lora_is_left_out_at_words_of_others(tiny, kind, prompt):
    if kind == "another method":
        other = TextualInversion(tiny, "dog", "<dog>")
    else:
        other = make(tiny, "<dog>", class_word="dog", with_class_word=False)  # B is 0
    method = make(tiny, seed=0)
    with attached(tiny, other, method):
        said = tiny.maybe_convert_prompt(prompt, tiny.tokenizer)
        ids = tiny.tokenizer(said, padding="max_length", return_tensors="pt").input_ids
        place = other.tokens.places(tiny.tokenizer, ids)[0]
    with_lora = first_projection_of(tiny, prompt, other, method)
    method.lora_scale = 0.0
    without = first_projection_of(tiny, prompt, other, method)
    assert place.sum() == 1 and torch.equal(with_lora[place], without[place])
    moved = (with_lora - without).abs().amax(1)
    assert (moved[~place] > 1e-4).all()


@torch.no_grad()
def test_with_causality_preserved_a_word_before_its_own_stays(tiny):
    other = TextualInversion(tiny, "dog", "<dog>")
    method, prompt = make(tiny, seed=0, causality_preserved=True), "a <dog> and a <toy>"
    whole = states_of(tiny, other, method, prompts=[prompt])
    method.lora_scale = 0.0
    assert torch.equal(
        whole[:, :5], states_of(tiny, other, method, prompts=[prompt])[:, :5]
    )


# -- causality -------------------------------------------------------------------------


def test_lora_acts_from_the_first_new_word_to_the_end_token():
    start, end, word = 5, 6, 9
    ids = torch.tensor(
        [
            [start, 1, word, 2, end, end],  # padded with end tokens
            [start, 1, 2, end, end, end],
            [start, word + 1, 2, end, 0, 0],  # padded with another
            [start, 1, word + 2, end, 0, 0],  # of another concept
        ]
    )
    wanted = [[0, 0, 1, 1, 1, 0], [0] * 6, [0, 1, 1, 1, 0, 0], [0] * 6]
    places = from_word_on(ids, word, 2, end)
    assert places.shape == (4, 6, 1) and places[..., 0].tolist() == wanted


def test_with_causality_preserved_only_what_follows_the_word_changes(tiny):
    method = make(tiny, seed=0, causality_preserved=True)
    assert torch.equal(states_of(tiny, method), states_of(tiny))
    prompt = ["a photo of <toy> on a beach"]
    with torch.no_grad():
        whole = states_of(tiny, method, prompts=prompt)
        method.lora_scale = 0.0
        word_only = states_of(tiny, method, prompts=prompt)
    assert torch.equal(whole[:, :4], word_only[:, :4])
    assert not torch.isclose(whole[:, 4:10], word_only[:, 4:10], atol=1e-4).all(2).any()
    batch = states_of(tiny, make(tiny, seed=0, causality_preserved=True),
                      prompts=[*PROMPTS, *prompt])  # fmt: skip
    assert torch.allclose(batch[-1:], whole, atol=1e-6)


def test_causality_preserved_it_keeps_nothing_else_and_learns(tiny, concept):
    method = make(tiny, causality_preserved=True)
    steps = list(fit(method, concept, steps=2, batch_size=2))
    assert [step.extra_loss for step in steps] == [0, 0]
    assert any(pair["B"].weight.any() for pair in method.matrices.values())
    assert torch.equal(states_of(tiny, method), states_of(tiny))


# -- timesteps -------------------------------------------------------------------------


@pytest.fixture
def probabilities(tiny):
    return snr_probabilities(
        DDPMScheduler.from_config(tiny.scheduler.config).alphas_cumprod
    )


def test_timesteps_have_the_papers_distribution(probabilities, tiny):
    p, t = probabilities, torch.arange(1000)
    assert p.sum().item() == pytest.approx(1) and p[0] == 0 and (p.diff() > 0).all()
    wanted = {1: 0.0867, 10: 0.3024, 100: 0.6141, 250: 0.7895, 500: 0.9995,
              750: 1.2308, 999: 1.5472}  # fmt: skip
    for timestep, value in wanted.items():
        assert 1000 * p[timestep].item() == pytest.approx(value, abs=1e-4)
    assert (p * t).sum().item() == pytest.approx(584.3, abs=0.05)
    assert p[500:].sum().item() == pytest.approx(0.6224, abs=5e-5)
    assert p[:100].sum().item() == pytest.approx(0.0472, abs=5e-5)
    assert int((p.cumsum(0) < 0.5).sum()) == 616
    abar = DDPMScheduler.from_config(tiny.scheduler.config).alphas_cumprod.double()
    log_snr = (abar / (1 - abar)).log()
    assert log_snr[0].item() == pytest.approx(7.0694, abs=1e-4)
    ratio = (log_snr[0] - log_snr[900]) / (log_snr[0] - log_snr[100])
    assert (p[900] / p[100]).item() == pytest.approx(ratio.item())


def test_a_schedule_that_ends_in_pure_noise_is_no_problem():
    p = snr_probabilities(torch.tensor([0.99, 0.5, 0.0]))
    assert p.isfinite().all() and p[0] == 0


def test_timesteps_are_drawn_with_it_unless_it_is_switched_off(tiny):
    weighted, uniform = make(tiny), make(tiny, snr_weighting=False)
    means = [
        method.draw_timesteps(20_000, 1000, torch.Generator().manual_seed(0))
        for method in (weighted, uniform)
    ]
    assert means[0].float().mean().item() == pytest.approx(584.3, abs=6)
    assert (means[0] >= 500).float().mean().item() == pytest.approx(0.6224, abs=0.012)
    assert means[1].float().mean().item() == pytest.approx(499.5, abs=6)
    assert means[0].shape == (20_000,) and means[0].min() > 0


# -- knowledge preservation ------------------------------------------------------------


def test_the_loss_is_0_of_equal_1_of_orthogonal_and_2_of_opposite_states():
    x = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(0))
    assert unlike(x, x) == 0
    assert unlike(x, -x).item() == pytest.approx(2, abs=1e-5)
    one, other = torch.eye(16)[:2]
    assert unlike(one[None, None], other[None, None]).item() == pytest.approx(1)
    y = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1))
    wanted = (1 - torch.cosine_similarity(x, y, dim=-1)).sum() / (3 * 7)
    assert unlike(x, y).item() == pytest.approx(wanted.item(), abs=1e-5)
    assert unlike(3 * x, 0.2 * y).item() == pytest.approx(wanted.item(), abs=1e-5)


def test_it_is_0_before_training_and_reaches_lora_alone(tiny, concept):
    method = make(tiny)
    method.before_training(concept)
    with method.training_step(torch.Generator()):
        loss = method.extra_loss(torch.Generator().manual_seed(0))
    assert loss.item() < 1e-10
    disturbed(method, 0.2)
    with method.training_step(torch.Generator()):
        loss = method.extra_loss(torch.Generator().manual_seed(0))
    loss.backward()
    assert loss > 1e-3
    assert all(p.grad.any() for p in method.matrices.parameters())
    assert method.vectors.grad is None or not method.vectors.grad.any()


def test_the_total_loss_is_that_of_denoising_and_lambda_times_it(tiny, concept):
    found = []
    for weight in (0.1, 1.0, 0.0):
        method = make(tiny, seed=0, knowledge_preservation=weight)
        (step,) = fit(method, concept, steps=1, batch_size=2)
        assert step.loss == pytest.approx(step.losses.mean().item() + step.extra_loss)
        found.append(step.extra_loss)
    assert found[1] == pytest.approx(10 * found[0]) and found[0] > 0 == found[2]


def test_without_it_the_text_encoder_is_asked_once_less(tiny, concept):
    counts = []
    for weight in (0.1, 0.0):
        method, calls = make(tiny, knowledge_preservation=weight), []
        steps = fit(method, concept, steps=2, batch_size=1)
        next(steps)
        hook = tiny.text_encoder.register_forward_hook(lambda *_, c=calls: c.append(1))
        next(steps)
        hook.remove()
        counts.append(len(calls))
    assert counts == [2, 1]


def test_captions_are_empty_of_the_class_or_general(tiny):
    method = make(tiny, knowledge_captions=["a cat", "a dog"])
    drawn, generator = [], torch.Generator().manual_seed(0)
    for _ in range(1000):
        drawn += method.knowledge.draw(generator)
    of_class = {template.format("teddy") for template in TEMPLATES}
    shares = [
        sum(text in texts for text in drawn) / len(drawn)
        for texts in ({""}, of_class, {"a cat"}, {"a dog"})
    ]
    assert shares == pytest.approx([0.1, 0.1, 0.4, 0.4], abs=0.02)
    assert of_class <= {*drawn} and not any("<" in text for text in drawn)


def test_the_shipped_captions_are_plain_and_in_the_words_of_the_base(base):
    captions = shipped_captions()
    assert len({*captions}) == len(captions) == 400
    for text in captions:
        assert as_read(text) == text and "<" not in text and "{" not in text
        assert len(base.tokenizer(text).input_ids) <= base.tokenizer.model_max_length
        words = text.replace("-", " - ").replace(",", " ,").split()
        assert len(base.tokenizer.tokenize(text)) == len(words), text


def test_asked_before_it_was_prepared_it_says_so(tiny):
    method = make(tiny)
    with method.attach(tiny), pytest.raises(PersoError, match="before_training"):
        method.extra_loss(torch.Generator())


# -- training --------------------------------------------------------------------------


def test_only_vectors_and_lora_change(own_tiny, concept):
    method, before = make(own_tiny), snapshot_of(own_tiny)
    table = own_tiny.text_encoder.get_input_embeddings().weight.clone()
    hashed, start = weights_hash(own_tiny), method.vectors.detach().clone()
    list(fit(method, concept, steps=3, batch_size=2))
    assert weights_hash(own_tiny) == hashed and changes(own_tiny, before) == []
    assert torch.equal(own_tiny.text_encoder.get_input_embeddings().weight, table)
    assert not torch.equal(method.vectors[0], start[0])


def test_vectors_have_no_weight_decay_and_a_rate_that_falls_in_a_line(tiny, concept):
    method = make(tiny)
    record = training_record(concept, 250, seed=0, batch_size=1)
    state = begin_training(method, record, 250)
    vectors, matrices = state.optimizer.param_groups
    assert vectors["weight_decay"] == 0 and vectors["params"] == [method.vectors]
    rates = []
    for _ in range(250):
        rates.append([vectors["lr"], matrices["lr"]])
        state.optimizer.step()
        state.schedule.step()
    of_vectors, of_lora = zip(*rates, strict=True)
    for step, rate in {0: 1e-3, 125: 5e-4, 249: 4e-6}.items():
        start = method.embedding_learning_rate
        assert of_vectors[step] == pytest.approx(start * rate / 1e-3)
    assert sum(of_vectors) == pytest.approx(125.5 * method.embedding_learning_rate)
    assert {*of_lora} == {method.learning_rate}


def test_longer_vectors_are_shortened_and_others_stay():
    vectors = torch.tensor([[3.0, 4], [0.3, 0.4], [0, 0], [0, 2]])
    cut = capped(vectors, 2.0)
    assert torch.allclose(cut[0], torch.tensor([1.2, 1.6]))  # the same direction
    assert torch.equal(cut[1:], vectors[1:])
    assert cut[0].norm() == pytest.approx(2)


def test_after_each_step_no_vector_is_longer_than_asked_for(tiny, concept):
    table = tiny.text_encoder.get_input_embeddings().weight
    most = mean_norm(tiny)
    assert most == pytest.approx(table.norm(dim=-1).mean().item())
    longest = {}
    for name, limit in {"capped": most, "free": None}.items():
        method = make(tiny, max_vector_norm=limit, embedding_learning_rate=1.0)
        for _ in fit(method, concept, steps=2, batch_size=2):
            longest[name] = method.vectors.detach().norm(dim=-1).max().item()
    assert longest["capped"] <= most * (1 + 1e-6) < longest["free"]


def test_a_training_of_another_length_is_not_gone_on_with(tiny, concept, tmp_path):
    path = tmp_path / "half.safetensors"
    options = {"batch_size": 1, "checkpoint": path, "checkpoint_every": 1}
    next(fit(make(tiny), concept, 2, **options))
    with pytest.raises(PersoError, match="schedule steps 2"):
        next(fit(make(tiny), concept, 4, batch_size=1, resume=path))


def test_of_several_pictures_it_learns_one_and_says_which(tiny, concept):
    images = concept.images
    with pytest.warns(UserWarning, match="one picture: the first of the 3 of red-disc"):
        (view,) = make(tiny, picture=None, augmentation="none").views(concept)
    assert view.image is images[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (view,) = make(tiny, picture=2, augmentation="none").views(concept)
        assert view.image is images[2]
        single = copy.copy(concept)
        single.images, single.masks = images[:1], concept.masks[:1]
        (view,) = make(tiny, picture=None, augmentation="none").views(single)
    with pytest.raises(PersoError, match="picture is 3, but red-disc has 3"):
        make(tiny, picture=3).views(concept)


def test_what_it_learns_is_in_the_captions_that_it_trains_on(tiny, concept):
    batch = batch_of(make(tiny, augmentation_probability=0.8), concept, 8)
    assert all("<toy>" in text for text in batch.captions)
    assert any("<toy-" in text for text in batch.captions)
    assert math.isfinite(losses_in_training(make(tiny), batch).mean())


@torch.no_grad()
def losses_in_training(method, batch):
    with method.training_step(torch.Generator()):
        return losses_of(method, batch)
