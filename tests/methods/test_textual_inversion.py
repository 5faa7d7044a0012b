import pytest
import torch
from before_and_after import disturbed
from safetensors.torch import load_file, save_file

from perso_lite import PersoError, TextualInversion, attached, fit, generate
from perso_lite.conditioning.words import single_token_id

OPTIONS = {"num_inference_steps": 3, "output_type": "pt"}


@pytest.fixture
def method(tiny):
    """Three vectors, moved away from where they started."""
    return disturbed(TextualInversion(tiny, "teddy", num_vectors=3), 1.0)


def test_it_holds_only_its_vectors_and_they_start_as_the_class_word(tiny):
    method = TextualInversion(tiny, "teddy", num_vectors=2)
    assert [tuple(p.shape) for p in method.parameters()] == [(2, 32)]
    row = single_token_id(tiny.tokenizer, "teddy")
    start = tiny.text_encoder.get_input_embeddings().weight[row]
    assert torch.equal(method.vectors, start.expand(2, -1))


def test_the_initializer_token_replaces_a_class_word_of_several_tokens(tiny):
    with pytest.raises(PersoError, match="initializer_token"):
        TextualInversion(tiny, "stuffed giraffe")
    method = TextualInversion(tiny, "stuffed giraffe", initializer_token="teddy")
    assert method.class_word == "stuffed giraffe"


def test_before_training_the_word_is_the_class_word(tiny):
    wanted = generate(tiny, "a teddy on a beach", **OPTIONS)
    with TextualInversion(tiny, "teddy").attach(tiny):
        got = generate(tiny, "a <toy> on a beach", **OPTIONS)
    assert torch.equal(got, wanted)


def test_each_of_its_vectors_learns(tiny, concept):
    method = TextualInversion(tiny, "teddy", num_vectors=2)
    start = method.vectors.detach().clone()
    next(fit(method, concept, batch_size=2))
    assert (method.vectors - start).abs().amax(dim=1).min() > 0


def test_the_stock_call_works_while_attached(tiny, method):
    with method.attach(tiny):
        images = tiny(
            ["a <toy> on a beach", "a cat"],
            negative_prompt=["a <toy>", "a hat"],
            num_inference_steps=2,
            num_images_per_prompt=2,
        ).images
    assert len(images) == 4


def test_two_concepts_attach_together_in_any_order(tiny, method):
    other = TextualInversion(tiny, "dog", "<other>")
    prompt = "a <toy> next to a <other>"
    with attached(tiny, method, other):
        one_way = generate(tiny, prompt, **OPTIONS)
    with attached(tiny, other, method):
        other_way = generate(tiny, prompt, **OPTIONS)
    assert torch.equal(one_way, other_way)
    with method.attach(tiny):
        wanted = generate(tiny, "a <toy> next to a dog", **OPTIONS)
    assert torch.equal(one_way, wanted)


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_the_stock_pipeline_reads_our_learned_embeds(
    own_tiny, method, tmp_path, num_vectors
):
    method = TextualInversion(own_tiny, "teddy", num_vectors=num_vectors)
    with torch.no_grad():
        method.vectors += torch.linspace(-1, 1, 32)
    prompts = ["a <toy> on a beach", "a hat next to a <toy>"]
    with method.attach(own_tiny):
        wanted = generate(own_tiny, prompts, **OPTIONS)
    path = method.to_learned_embeds(tmp_path)
    assert path.name == "learned_embeds.safetensors"
    assert {k: tuple(v.shape) for k, v in load_file(path).items()} == {
        "<toy>": (num_vectors, 32)
    }
    own_tiny.load_textual_inversion(str(tmp_path))
    assert torch.equal(generate(own_tiny, prompts, **OPTIONS), wanted)


def test_learned_embeds_come_back(tiny, method, tmp_path):
    path = method.to_learned_embeds(tmp_path / "toy.safetensors")
    back = TextualInversion.from_learned_embeds(path, tiny, "teddy")
    assert back.placeholder_token == "<toy>"
    assert torch.equal(back.vectors, method.vectors)


def test_a_flat_vector_of_another_tool_is_read(tiny, tmp_path):
    path = tmp_path / "flat.safetensors"
    save_file({"<flat>": torch.ones(32)}, path)
    method = TextualInversion.from_learned_embeds(path, tiny, "teddy")
    assert torch.equal(method.vectors, torch.ones(1, 32))


def test_learned_embeds_that_cannot_fit_are_refused(tiny, tmp_path):
    wide, two = tmp_path / "wide.safetensors", tmp_path / "two.safetensors"
    save_file({"<toy>": torch.ones(1, 768)}, wide)
    save_file({"<a>": torch.ones(1, 32), "<b>": torch.ones(1, 32)}, two)
    with pytest.raises(PersoError, match="width 768, but this base has 32"):
        TextualInversion.from_learned_embeds(wide, tiny, "teddy")
    with pytest.raises(PersoError, match="does not hold one word"):
        TextualInversion.from_learned_embeds(two, tiny, "teddy")


# -- words that were learned elsewhere -------------------------------------------------


def write_plain(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


VECTORS = torch.arange(64.0).view(2, 32)


@pytest.mark.parametrize(
    ("name", "content", "token"),
    [
        ("learned_embeds.bin", {"<cat-toy>": VECTORS}, "<cat-toy>"),
        ("learned_embeds.bin", {"<cat-toy>": VECTORS[0]}, "<cat-toy>"),
        ("my Cat.pt", {"string_to_param": {"*": VECTORS}, "name": "My Cat"}, "<mycat>"),
        ("other.pt", {"string_to_param": {"*": VECTORS}, "step": 3}, "<other>"),
    ],
)
def test_words_of_public_libraries_are_read(tiny, tmp_path, name, content, token):
    path = write_plain(tmp_path / name, content)
    method = TextualInversion.from_learned_embeds(path, tiny, "teddy")
    assert method.placeholder_token == token
    assert torch.equal(method.vectors, VECTORS[: method.num_vectors])
    if name.startswith("learned"):
        folder = TextualInversion.from_learned_embeds(tmp_path, tiny, "teddy")
        assert torch.equal(folder.vectors, method.vectors)


class Code:
    """Would leave a file if it was unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_file_is_not_run(tiny, tmp_path):
    trace = tmp_path / "trace"
    path = write_plain(tmp_path / "word.pt", {"<toy>": Code(trace)})
    with pytest.raises(PersoError, match="more than plain tensors"):
        TextualInversion.from_learned_embeds(path, tiny, "teddy")
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"<a>": 3},
        {"<a>": VECTORS, "<b>": VECTORS},
        {"<a>": VECTORS[None]},
        {"string_to_param": [VECTORS]},
        {"string_to_param": {}},
    ],
)
def test_other_content_is_refused_in_a_sentence(tiny, tmp_path, content):
    path = write_plain(tmp_path / "learned_embeds.bin", content)
    with pytest.raises(PersoError, match="does not hold one word"):
        TextualInversion.from_learned_embeds(path, tiny, "teddy")


def test_a_file_cut_short_is_refused(tiny, tmp_path):
    path = write_plain(tmp_path / "word.pt", {"<toy>": VECTORS})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PersoError, match="cut short"):
        TextualInversion.from_learned_embeds(path, tiny, "teddy")


@pytest.mark.parametrize("num_vectors", [0, -1, 1.5, True, 23, 1000, 10**9])
def test_a_word_has_as_many_vectors_as_a_prompt_can_hold(tiny, num_vectors):
    with pytest.raises(PersoError, match=r"num_vectors is .*(whole number|22 tokens)"):
        TextualInversion(tiny, "teddy", num_vectors=num_vectors)
