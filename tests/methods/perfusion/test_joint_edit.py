import copy
import warnings

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of

from perso_lite import (
    Perfusion,
    PersoError,
    TextualInversion,
    attached,
    encode_prompts,
    generate,
    record_attention,
    swap_keys_values,
)
from perso_lite.conditioning.cross_attention import cross_attention_layers, shared_by
from perso_lite.methods.perfusion.joint_edit import KEY, joint_edit
from perso_lite.methods.perfusion.rank_one import EDITS

PROMPT = "a <toy> on a beach"
BOTH = "a <toy> next to a <pet>"
OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}
KINDS = ("to_k", "to_v")


@pytest.fixture
def toy(tiny, covariance):
    return disturbed(Perfusion(tiny, "teddy", covariance=covariance), 0.5, 1)


@pytest.fixture
def pet(tiny, covariance):
    settings = {"beta": 0.6, "tau": 0.1, "covariance": covariance}
    return disturbed(Perfusion(tiny, "dog", "<pet>", **settings), 0.5, 2)


def projections(base, kind):
    layers = cross_attention_layers(base.unet)
    return [getattr(base.unet.get_submodule(layer.name), kind) for layer in layers]


def projected(base, prompts, **options):
    """What keys and values a drawing is made of: (layers * texts, tokens, width)."""
    made = {kind: [] for kind in KINDS}
    hooks = [
        module.register_forward_hook(
            lambda *call, kind=kind: made[kind].append(call[2])
        )
        for kind in KINDS
        for module in projections(base, kind)
    ]
    try:
        generate(base, prompts, num_inference_steps=1, **options)
    finally:
        for hook in hooks:
            hook.remove()
    return {kind: torch.cat(outputs) for kind, outputs in made.items()}


def formula(states, weight, concepts, kind, part):
    """Equation 4 in float64, by the Gram matrix."""
    e, inverse = states.double(), concepts[0].covariance.inverse.double()
    inputs = torch.stack([concept.target_input for concept in concepts]).double()
    gram = inputs @ inverse @ inputs.T
    overlap = e @ inverse @ inputs.T  # (batch, tokens, concepts)
    answer = (e - overlap @ torch.linalg.inv(gram) @ inputs) @ weight.double().T
    for j, concept in enumerate(concepts):
        share = overlap[..., j, None] / gram[j, j]
        beta, tau = concept.gate_settings
        target = concept.targets(kind)[part].double()
        answer = answer + torch.sigmoid((share - beta) / tau) * target
    return answer


# -- what reaches the layers -----------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("tokens", ["<toy>", "<toy> <pet>"])
def test_every_projection_answers_as_the_equation_says(tiny, toy, pet, tokens):
    concepts = [toy, pet][: len(tokens.split())]
    with attached(tiny, *concepts):
        states = encode_prompts(tiny, [f"a {tokens} on a beach", "a cat"])
        for kind in KINDS:
            for i, module in enumerate(projections(tiny, kind)):
                part = slice(32 * i, 32 * i + 32)  # every layer is 32 wide
                wanted = formula(states, module.weight, concepts, kind, part)
                assert torch.allclose(module(states).double(), wanted, atol=1e-4)
                plain = states @ module.weight.T
                assert (wanted - plain).abs().max() > 0.05
    assert i == 15


def test_the_edit_is_made_once_a_call_of_the_unet(tiny, toy, pet, monkeypatch):
    seen = []

    def spy(states, *others):
        seen.append(states.shape)
        return exact(states, *others)

    exact = EDITS["exact"]
    monkeypatch.setitem(EDITS, "exact", spy)
    with attached(tiny, toy, pet):
        generate(tiny, [BOTH, "a cat"], num_inference_steps=3)
        assert seen == [(4, 24, 32)] * 3  # with the negative half of guidance
        seen.clear()
        pet.key_locking = "global"
        generate(tiny, BOTH, num_inference_steps=3, guidance_scale=1.0)
        assert seen == [(1, 24, 32)] * 6  # keys and values read different texts


def test_every_target_learns_as_far_as_its_gate_is_open(tiny, toy):
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    made, hooks = [], []
    with toy.attach(tiny):
        states = encode_prompts(tiny, [PROMPT])
        for module in projections(tiny, "to_v"):
            keep = module.register_forward_hook(
                lambda *call: (call[2].retain_grad(), made.append(call[2]))[:0] or None
            )
            hooks.append(keep)
        tiny.unet(latents, 500, states).sample.square().mean().backward()
    for hook in hooks:
        hook.remove()
    metric = toy.covariance.inverse @ toy.target_input
    share = states @ metric / (toy.target_input @ metric)  # (1, tokens)
    gates = torch.sigmoid((share - toy.beta) / toy.tau)[..., None]
    wanted = torch.cat([(gates * h.grad).sum((0, 1)) for h in made])
    error = (toy.target_values.grad - wanted).abs().max()
    assert error < 1e-4 * wanted.abs().max()
    assert toy.target_values.grad.abs().min() > 0
    assert toy.embedding.grad.abs().max() > 0
    assert toy.target_keys.grad is None and toy.target_input.grad is None


def test_gradient_checkpointing_gives_the_same_gradients(own_tiny, toy):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    calls, gradients = [], []
    module = projections(own_tiny, "to_v")[0]
    module.register_forward_pre_hook(lambda *_: calls.append(1))
    for on in (False, True):
        if on:
            own_tiny.unet.enable_gradient_checkpointing()
        toy.zero_grad()
        with toy.attach(own_tiny):
            states = encode_prompts(own_tiny, [PROMPT, "a <toy>"])
            # a second call before going back, as a class prior's
            first, second = (own_tiny.unet(latents, t, states).sample for t in (9, 500))
            (first.square().mean() + second.square().mean()).backward()
        gradients.append([toy.embedding.grad.clone(), toy.target_values.grad.clone()])
    assert len(calls) == 2 + 4  # it did run again
    for plain, again in zip(*gradients, strict=True):
        assert torch.allclose(
            again, plain, rtol=1e-4, atol=1e-4 * plain.abs().max().item()
        )
        assert plain.abs().max() > 0


# -- precision -------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_half_precision_keeps_the_metric_in_float32(tiny, toy, pet, monkeypatch, how):
    wanted, dtypes = [], []
    with attached(tiny, toy, pet):
        states = encode_prompts(tiny, [BOTH])
        wanted = [
            module(states) for kind in KINDS for module in projections(tiny, kind)
        ]

    def spy(*given):
        product = given[0] @ given[0].mT  # what autocast would compute in half
        results = exact(*given)
        dtypes.extend(tensor.dtype for tensor in (product, *given, *results))
        return results

    exact, base = EDITS["exact"], copy.deepcopy(tiny)
    monkeypatch.setitem(EDITS, "exact", spy)
    half = how == "bfloat16"
    if half:
        base.unet.to(torch.bfloat16)
        states = states.to(torch.bfloat16)
    with (
        attached(base, toy, pet),
        torch.autocast("cpu", torch.bfloat16, enabled=not half),
    ):
        got = [module(states) for kind in KINDS for module in projections(base, kind)]
    assert set(dtypes) == {torch.float32}
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.float() - other).norm() < 1e-2 * other.norm()


# -- drawing ---------------------------------------------------------------------------


def test_the_stock_pipeline_draws_what_generate_draws(tiny, toy, pet):
    options = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "pt"}
    for locking in ("local", "global"):
        toy.key_locking = locking
        with attached(tiny, toy, pet):
            got = generate(tiny, BOTH, (3,), negative_prompt="a <pet>", **options)
            noise = torch.Generator().manual_seed(3)
            wanted = tiny(BOTH, negative_prompt="a <pet>", generator=noise, **options)
        assert torch.allclose(got, wanted.images, atol=1e-4)


def test_a_batch_draws_what_each_prompt_draws_alone(tiny, toy, pet):
    pet.key_locking = "global"
    prompts = ["a <toy> on a beach", "a <pet> in snow", "a cat", BOTH]
    with attached(tiny, toy, pet):
        together = generate(tiny, prompts, **OPTIONS)
        alone = torch.cat([generate(tiny, prompt, **OPTIONS) for prompt in prompts])
    assert torch.allclose(together, alone, atol=1e-4)
    differences = (together[:, None] - together[None]).abs().flatten(2).amax(2)
    assert (differences + torch.eye(4) > 1e-3).all()


def test_the_edit_is_gone_when_the_last_concept_goes(tiny, toy, pet):
    with toy.attach(tiny):
        wanted = generate(tiny, PROMPT, **OPTIONS)
        with pet.attach(tiny):
            assert len(shared_by(tiny.unet, KEY).concepts) == 2
            assert not torch.equal(generate(tiny, PROMPT, **OPTIONS), wanted)
        assert torch.equal(generate(tiny, PROMPT, **OPTIONS), wanted)
    assert KEY not in vars(tiny.unet)


# -- global key locking ----------------------------------------------------------------


def test_global_keys_are_the_class_words_and_values_are_not(tiny, toy):
    prompts = ["a <toy> next to a <toy>", "a cat", PROMPT]
    plain = projected(tiny, [text.replace("<toy>", "teddy") for text in prompts])
    with toy.attach(tiny):
        local = projected(tiny, prompts)
        toy.key_locking = "global"  # while attached
        of_class = projected(tiny, prompts)
        disturbed(toy, 0.5, 3)
        toy.target_input += torch.randn(32, generator=torch.Generator().manual_seed(4))
        moved = projected(tiny, prompts)
    assert torch.equal(of_class["to_k"], plain["to_k"])
    assert torch.equal(moved["to_k"], plain["to_k"])
    assert not torch.equal(local["to_k"], plain["to_k"])
    assert torch.equal(of_class["to_v"], local["to_v"])
    assert not torch.equal(moved["to_v"], local["to_v"])


def test_rows_are_recognised_under_guidance_in_the_stock_pipeline(tiny, toy):
    made = []
    toy.key_locking = "global"
    module = projections(tiny, "to_k")[5]
    with torch.no_grad(), toy.attach(tiny):
        hook = module.register_forward_hook(lambda *call: made.append(call[2]))
        options = {"num_inference_steps": 2, "num_images_per_prompt": 2}
        tiny([PROMPT, "a cat"], negative_prompt=["a hat", "a <toy>"], **options)
        hook.remove()
        texts = ["a hat"] * 2 + ["a teddy"] * 2 + ["a teddy on a beach"] * 2
        states = encode_prompts(tiny, [*texts, *["a cat"] * 2])
        wanted = states @ module.weight.T
    assert len(made) == 2
    assert all(torch.allclose(keys, wanted, atol=1e-5) for keys in made)


@torch.no_grad()
def test_one_concept_local_and_one_global(tiny, toy, pet):
    pet.key_locking = "global"
    with attached(tiny, toy, pet):
        got = projected(tiny, BOTH, guidance_scale=1.0)
        states = encode_prompts(tiny, ["a <toy> next to a dog", BOTH])
    for kind, text, concepts in (("to_k", 0, [toy]), ("to_v", 1, [toy, pet])):
        for i, module in enumerate(projections(tiny, kind)):
            part = slice(32 * i, 32 * i + 32)
            wanted = formula(states[text], module.weight, concepts, kind, part)
            assert torch.allclose(got[kind][i].double(), wanted, atol=1e-4)


@torch.no_grad()
def test_locks_can_be_changed_in_the_middle_of_a_drawing(tiny, toy, pet):
    module = projections(tiny, "to_k")[0]
    wanted = module(encode_prompts(tiny, ["a teddy next to a dog"]))
    with attached(tiny, toy, pet):
        states = encode_prompts(tiny, [BOTH])  # the same for all steps
        local = module(states)
        pet.key_locking = "global"
        mixed = module(states)
        toy.key_locking = "global"
        assert torch.allclose(module(states), wanted, atol=1e-5)
        toy.key_locking = pet.key_locking = "local"
        assert torch.equal(module(states), local)
    assert not torch.equal(mixed, local) and not torch.allclose(mixed, wanted)


# -- other edits -----------------------------------------------------------------------


def test_other_edits_can_be_compared(tiny, toy, pet):
    drawn = {}
    for edit in EDITS:
        with joint_edit(tiny, edit), attached(tiny, toy, pet):
            drawn[edit] = generate(tiny, BOTH, **OPTIONS)
    with attached(tiny, toy, pet):
        assert torch.equal(generate(tiny, BOTH, **OPTIONS), drawn["exact"])
    pictures = list(drawn.values())
    for i, one in enumerate(pictures):
        assert all((one - other).abs().max() > 1e-4 for other in pictures[i + 1 :])


def test_an_unknown_edit_is_refused(tiny):
    refused = pytest.raises(PersoError, match='no edit "exakt"; choose from exact')
    before = snapshot_of(tiny)
    with refused, joint_edit(tiny, "exakt"):
        pass
    assert changes(tiny, before) == []


# -- beside others ---------------------------------------------------------------------


def test_attention_is_recorded_beside_it(tiny, toy):
    maps = []
    for shift in (0.0, 1.0):
        with torch.no_grad():
            toy.target_keys += shift
        with toy.attach(tiny):
            wanted = generate(tiny, PROMPT, **OPTIONS)
            with record_attention(tiny) as recorded:
                assert torch.equal(generate(tiny, PROMPT, **OPTIONS), wanted)
            maps.append(recorded.word("<toy>"))
    assert maps[0].isfinite().all()
    assert (maps[0] - maps[1]).abs().max() > 1e-4  # of the edited keys


def test_keys_and_values_are_exchanged_for_edited_ones(tiny, toy):
    other = "a <toy> in snow"
    with toy.attach(tiny):
        plain, wanted = (generate(tiny, text, **OPTIONS) for text in (PROMPT, other))
        with swap_keys_values(tiny, keys=PROMPT, values=PROMPT):
            assert torch.equal(generate(tiny, PROMPT, **OPTIONS), plain)
        with swap_keys_values(tiny, keys=other, values=other):
            assert torch.equal(generate(tiny, PROMPT, **OPTIONS), wanted)
        with swap_keys_values(tiny, values=other):
            mixed = generate(tiny, PROMPT, **OPTIONS)
        toy.key_locking = "global"
        of_class = generate(tiny, other, **OPTIONS)
        with swap_keys_values(tiny, keys=other, values=other):
            assert torch.equal(generate(tiny, PROMPT, **OPTIONS), of_class)
    pictures = (plain, wanted, mixed, of_class)
    for i, one in enumerate(pictures):
        assert not any(torch.equal(one, after) for after in pictures[i + 1 :])


def test_how_concepts_are_edited_is_said_before_they_are_attached(tiny, toy):
    late = joint_edit(tiny, "rome")
    with toy.attach(tiny), pytest.raises(PersoError, match="joint_edit first"), late:
        pass
    with joint_edit(tiny, "rome") as edit, toy.attach(tiny):
        assert edit.concepts == [toy]
    assert "joint_edit" not in vars(tiny.unet)


def states_and_warnings(base, prompts, *methods):
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        with attached(base, *methods):
            states = encode_prompts(base, prompts)
    return states, [str(w.message) for w in caught if "gate" in str(w.message)]


def test_a_gate_that_stays_shut_beside_another_word_is_no_secret(tiny, toy):
    other = TextualInversion(tiny, "dog", "<dog>")
    alone, beside = "a <dog> and a cat", "a <dog> next to a <toy>"
    states, silent = states_and_warnings(tiny, [alone, PROMPT], other, toy)
    assert silent == []
    with toy.attach(tiny), other.attach(tiny):
        place = toy.tokens.places(tiny.tokenizer, prompt_ids(tiny, beside))
    states, _ = states_and_warnings(tiny, [beside], other, toy)
    toy.target_input.copy_(states[place][0])  # i* is the word's own state: s is 1
    assert states_and_warnings(tiny, [beside], other, toy)[1] == []
    toy.target_input.mul_(2)  # s is 0.5
    for beta, count in ((0.45, 0), (0.55, 1)):
        toy.beta = beta
        changed, said = states_and_warnings(tiny, [beside, beside], toy, other)
        assert len(said) == count and torch.equal(changed[:1], states)
    assert "Say <toy> first" in said[0] and "beta=0.40" in said[0]
    toy.train()  # training says one word at a time, with a gate of its own
    assert states_and_warnings(tiny, [beside], other, toy)[1] == []


def prompt_ids(base, prompt):
    text = base.maybe_convert_prompt(prompt, base.tokenizer)
    return base.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
