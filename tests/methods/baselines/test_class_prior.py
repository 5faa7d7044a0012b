import pytest
import torch

from perso_lite import CustomDiffusion, DreamBoothLoRA, PersoError, fit
from perso_lite.conditioning.words import single_token_id
from perso_lite.methods.baselines.class_prior import ClassPrior, rare_and_class_vectors
from perso_lite.world.words import RESERVED_WORDS

KINDS = {
    DreamBoothLoRA: {"identifier_token": "weird"},
    CustomDiffusion: {"initializer_token": "weird"},
}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def make(request, tiny):
    """Builds each method that preserves its class, on the tiny base."""

    def make(**options):
        return request.param(tiny, "teddy", **KINDS[request.param], **options)

    return make


def test_class_pictures_are_the_untouched_bases_and_always_the_same(make, tiny):
    method = make(prior_pictures=3)
    again, fewer = ClassPrior("teddy", 3), ClassPrior("teddy", 2)
    for prior in (method.prior, again, fewer):
        prior.draw(tiny)
    drawn = method.prior.examples.mean
    assert drawn.shape == (3, 4, 8, 8)
    assert torch.equal(drawn, again.examples.mean)
    assert torch.allclose(drawn[:2], fewer.examples.mean, atol=1e-5)
    cats = ClassPrior("cat", 3)
    cats.draw(tiny)
    assert not torch.allclose(cats.examples.mean, drawn, atol=1e-3)


def test_they_are_drawn_once_before_the_first_step_and_never_saved(
    make, tiny, concept, tmp_path
):
    method = make(prior_pictures=2)
    assert method.prior.examples is None
    names = method.state_dict().keys()
    steps = fit(method, concept, steps=2, batch_size=1)
    next(steps)
    drawn = method.prior.examples.mean.clone()
    untouched = ClassPrior("teddy", 2)
    untouched.draw(tiny)
    assert torch.equal(drawn, untouched.examples.mean)
    next(steps)
    assert torch.equal(method.prior.examples.mean, drawn)
    assert method.state_dict().keys() == names


def test_its_loss_is_part_of_the_steps(make, concept):
    steps = list(fit(make(prior_pictures=2), concept, steps=2, batch_size=1))
    for step in steps:
        assert step.extra_loss > 0
        assert step.loss == pytest.approx(float(step.losses.mean()) + step.extra_loss)
    doubled = make(prior_pictures=2, prior_weight=2.0)
    first = next(fit(doubled, concept, batch_size=1))
    assert first.extra_loss == pytest.approx(2 * steps[0].extra_loss)
    other_seed = next(fit(make(prior_pictures=2), concept, batch_size=1, seed=1))
    assert other_seed.extra_loss != steps[0].extra_loss


def test_its_loss_depends_on_the_generator_alone(make, tiny):
    method = make(prior_pictures=2)
    method.prior.draw(tiny)

    def loss(seed):
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(len(seen))  # the global one does not matter
        with torch.no_grad(), method.attach(tiny):
            return method.extra_loss(generator).item()

    seen = []
    for seed in (0, 1, 2, 0):
        seen.append(loss(seed))
    assert seen[0] == seen[3]
    assert len({*seen}) == 3


def test_without_class_pictures_there_is_no_such_loss(make, concept):
    method = make(prior_pictures=0)
    assert method.extra_loss(torch.Generator()) is None
    (step,) = fit(method, concept, steps=1, batch_size=1)
    assert step.extra_loss == 0
    assert method.prior.examples is None


def test_a_loss_before_the_pictures_is_refused(make):
    with pytest.raises(PersoError, match="not drawn yet"):
        make().extra_loss(torch.Generator())


def test_rare_and_class_vectors_are_rows_of_the_table(tiny):
    vectors = rare_and_class_vectors(tiny, "weird", "teddy")
    table = tiny.text_encoder.get_input_embeddings().weight
    rows = [single_token_id(tiny.tokenizer, word) for word in ("weird", "teddy")]
    assert torch.equal(vectors, table[rows])


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_base_has_a_rare_word_that_it_never_saw(base, kind):
    settings = kind(base, "teddy").settings()
    assert {*settings.values()} & {*RESERVED_WORDS}


def test_words_that_are_not_one_token_are_refused(tiny):
    with pytest.raises(PersoError, match=r'"zqx" is not one token.*another rare word'):
        rare_and_class_vectors(tiny, "zqx", "teddy")
    with pytest.raises(PersoError, match=r'"okapi" is not one token.*wider kind'):
        rare_and_class_vectors(tiny, "weird", "okapi")
