import unicodedata

import pytest
import torch

from perso_lite import PersoError, TextualInversion, encode_prompts
from perso_lite.conditioning.neutral_captions import TEMPLATES
from perso_lite.conditioning.new_words import token_names, words_of
from perso_lite.conditioning.tokens import (
    LearnedTokens,
    check_placeholder,
    words_of_others,
)
from perso_lite.conditioning.words import single_token_id


def test_there_are_27_different_templates_with_one_slot():
    assert len(set(TEMPLATES)) == 27
    assert all(template.count("{}") == 1 for template in TEMPLATES)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("toy", "inside other words"),
        ("<my toy>", "blank"),
        ("<toy", "brackets"),
        ("", "brackets"),
        ("<Toy>", "lower-cases"),
        ("<|endoftext|>", "already in the vocabulary"),
    ],
)
def test_placeholders_that_would_be_misread_are_refused(tiny, token, why):
    with pytest.raises(PersoError, match=why):
        check_placeholder(tiny.tokenizer, token)


def test_a_known_word_is_one_token(tiny):
    number = single_token_id(tiny.tokenizer, "teddy")
    assert tiny.tokenizer.decode([number]).strip() == "teddy"


@pytest.mark.parametrize("word", ["giraffe", "teddy cat", "", "Ω"])
def test_a_word_that_is_not_one_token_is_refused(tiny, word):
    with pytest.raises(PersoError, match="initializer_token"):
        single_token_id(tiny.tokenizer, word)


def test_a_misspelled_word_gets_a_suggestion(tiny):
    with pytest.raises(PersoError, match="near in spelling: teddy"):
        single_token_id(tiny.tokenizer, "tedy")


def test_a_token_with_a_known_words_vector_reads_like_that_word(tiny):
    table = tiny.text_encoder.get_input_embeddings().weight
    vector = table[single_token_id(tiny.tokenizer, "dog")][None]
    wanted = encode_prompts(tiny, ["a photo of a dog on a beach"])
    with LearnedTokens(["<toy>"]).attached(tiny, lambda: vector):
        got = encode_prompts(tiny, ["a photo of a <toy> on a beach"])
    assert torch.equal(got, wanted)


def test_several_vectors_stand_side_by_side(tiny):
    table = tiny.text_encoder.get_input_embeddings().weight
    ids = [single_token_id(tiny.tokenizer, word) for word in ("dog", "hat", "cat")]
    wanted = encode_prompts(tiny, ["a photo of a dog hat cat on a beach"])
    tokens = LearnedTokens(token_names("<toy>", 3))
    with tokens.attached(tiny, lambda: table[ids]):
        got = encode_prompts(tiny, ["a photo of a <toy> on a beach"])
    assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a <TOY> on a beach", "a <toy> on a beach"),
        ("<Toy>, a <tOy>", "<toy>, a <toy>"),
        ("a <CAFÉ> and a <toy>", "a <café> and a <toy>"),
        (unicodedata.normalize("NFD", "a <CafÉ>"), "a <café>"),
        ("a <TOY> <TOY>_1 <TOY>_2 hat", "a <toy> hat"),  # as stock pipelines write it
    ],
)
def test_a_word_is_the_same_in_any_case_and_form(tiny, text, plain):
    generator = torch.Generator().manual_seed(0)
    toy, cafe = (LearnedTokens(token_names(t, 3)) for t in ("<toy>", "<café>"))
    vectors = torch.randn(2, 3, 32, generator=generator)
    with (
        toy.attached(tiny, lambda: vectors[0]),
        cafe.attached(tiny, lambda: vectors[1]),
    ):
        assert torch.equal(encode_prompts(tiny, [text]), encode_prompts(tiny, [plain]))
        ids = tiny.tokenizer([text, plain]).input_ids
        assert ids[0] == ids[1]
        assert tiny.tokenizer.tokenize(text) == tiny.tokenizer.tokenize(plain)
    assert "toy" not in str(tiny.tokenizer.get_added_vocab())


def test_other_text_is_read_as_by_the_tokenizer_itself(tiny):
    texts = ["A Cat on a beach, <toys> <toy", "", "a <toy>_7"]
    wanted = tiny.tokenizer(texts).input_ids
    with LearnedTokens(token_names("<hat>", 2)).attached(
        tiny, lambda: torch.zeros(2, 32)
    ):
        assert tiny.tokenizer(texts).input_ids == wanted
        assert tiny.tokenizer(texts[0]).input_ids == wanted[0]


def test_ids_are_decoded_as_by_the_tokenizer_itself(tiny):
    texts = ["a red teddy, on a beach", "a cat"]
    ids = tiny.tokenizer(texts).input_ids
    wanted = [tiny.tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    assert wanted[1] == "a cat"
    vectors = torch.zeros(2, 32)
    with LearnedTokens(token_names("<hat>", 2)).attached(tiny, lambda: vectors):
        decode = tiny.tokenizer.decode
        assert [decode(row, skip_special_tokens=True) for row in ids] == wanted
        assert "<hat>" in decode(tiny.tokenizer("a <hat>").input_ids)


def test_nested_tokens_have_vectors_of_their_own(tiny):
    table = tiny.text_encoder.get_input_embeddings().weight
    dog, cat = (single_token_id(tiny.tokenizer, word) for word in ("dog", "cat"))
    one, two = LearnedTokens(["<one>"]), LearnedTokens(["<two>"])
    with (
        one.attached(tiny, lambda: table[dog][None]),
        two.attached(tiny, lambda: table[cat][None]),
    ):
        got = encode_prompts(tiny, ["a <two> and a <one>", "a <one> and a <one>"])
    wanted = encode_prompts(tiny, ["a cat and a dog", "a dog and a dog"])
    assert torch.equal(got, wanted)


def test_gradient_reaches_only_the_vectors_that_were_read(tiny):
    vectors = torch.randn(3, 32, requires_grad=True)
    tokens = LearnedTokens(["<a>", "<b>", "<c>"])
    with tokens.attached(tiny, lambda: vectors):
        encode_prompts(tiny, ["a <a> and a <c>"]).square().sum().backward()
    moved = vectors.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == [True, False, True]
    assert tiny.text_encoder.get_input_embeddings().weight.grad is None


def test_nothing_is_left_after_an_exception(tiny):
    tokenizer, table = tiny.tokenizer, tiny.text_encoder.get_input_embeddings()
    size, before = len(tokenizer), encode_prompts(tiny, ["a teddy"])
    vectors = torch.zeros(1, 32)
    with (
        pytest.raises(RuntimeError, match="inside"),
        LearnedTokens(["<toy>"]).attached(tiny, lambda: vectors),
    ):
        raise RuntimeError("inside")
    assert tiny.tokenizer is tokenizer
    assert len(tokenizer) == size
    assert not table._forward_hooks
    assert not table._forward_pre_hooks
    assert torch.equal(encode_prompts(tiny, ["a teddy"]), before)


def test_one_name_cannot_be_attached_twice(tiny):
    vectors = torch.zeros(1, 32)
    with (
        LearnedTokens(["<toy>"]).attached(tiny, lambda: vectors),
        pytest.raises(PersoError, match="already in the vocabulary"),
        LearnedTokens(["<toy>"]).attached(tiny, lambda: vectors),
    ):
        pass


def test_vectors_of_another_width_are_refused(tiny):
    tokens = LearnedTokens(["<toy>"])
    with (
        pytest.raises(PersoError, match="64 dimensions"),
        tokens.attached(tiny, lambda: torch.zeros(1, 64)),
    ):
        pass


def test_a_tokenizer_that_grew_is_copied_again(own_tiny):
    tokens, vectors = LearnedTokens(["<toy>"]), torch.zeros(1, 32)
    with tokens.attached(own_tiny, lambda: vectors):
        pass
    own_tiny.load_textual_inversion({"<other>": torch.randn(1, 32)})
    with tokens.attached(own_tiny, lambda: vectors):
        assert "<other>" in own_tiny.tokenizer.get_vocab()
        assert "<toy>" in own_tiny.tokenizer.get_vocab()


def test_a_learned_word_that_would_be_cut_off_is_refused(tiny):
    method = TextualInversion(tiny, "teddy", "<toy>", num_vectors=2)
    filler = "on a beach " * 6  # 18 of the 22 tokens that fit
    with method.attach(tiny):
        encode_prompts(tiny, [f"a {filler} <toy>"])
        with pytest.raises(PersoError, match="<toy>_1 is cut off"):
            encode_prompts(tiny, ["a beach", f"a {filler} on a <toy>"])
        encode_prompts(tiny, ["a <toy> " + filler * 2])  # others only with a warning


def test_tokens_of_several_words_are_grouped_and_each_word_is_expanded(tiny):
    names = ["<a>", "<a>_1", "<b>", "<c>", "<c>_1", "<c>_2", "<d>_1"]
    words = [("<a>", "<a>_1"), ("<b>",), ("<c>", "<c>_1", "<c>_2"), ("<d>_1",)]
    assert words_of(names) == words
    tokens = LearnedTokens(names[:-1])
    with tokens.attached(tiny, lambda: torch.zeros(6, 32)):
        first = tokens.first_id(tiny.tokenizer)
        ids = tiny.tokenizer("<C> <b> <a>", add_special_tokens=False).input_ids
    assert [i - first for i in ids] == [3, 4, 5, 2, 0, 1]


def test_a_new_word_that_is_not_attached_is_refused_and_not_read_as_letters(tiny):
    method = TextualInversion(tiny, "teddy", "<toy>")
    with pytest.raises(PersoError, match=r"says <toy>, but .* no new word now"):
        encode_prompts(tiny, ["a teddy", "a <toy> on a beach"])
    with method.attach(tiny):
        encode_prompts(tiny, ["a <toy> on a beach", "a <TOY>"])
        with pytest.raises(PersoError, match=r"says <toy-grid>, but .* only <toy> now"):
            encode_prompts(tiny, ["a <toy-grid> of a <toy>"])
    with pytest.raises(PersoError, match="<toy>"):
        encode_prompts(tiny, ["a <toy>"])
    encode_prompts(tiny, ["a teddy <|endoftext|> <3 of > it"])  # no words of ours


def test_words_of_others_are_new_words_and_not_ones_own(tiny):
    own, other = LearnedTokens(["<toy>", "<toy>_1"]), LearnedTokens(["<dog>"])
    with (
        own.attached(tiny, lambda: torch.zeros(2, 32)),
        other.attached(tiny, lambda: torch.zeros(1, 32)),
    ):
        texts = ["a <toy> and a <dog>", "a dog"]
        ids = tiny.tokenizer(texts, padding=True, return_tensors="pt").input_ids
        dog = ids == other.first_id(tiny.tokenizer)
        assert dog.sum() == 1
        assert words_of_others(tiny.tokenizer, ids, [own]).equal(dog)
        assert not words_of_others(tiny.tokenizer, ids, [own, other]).any()
        assert words_of_others(tiny.tokenizer, ids, []).sum() == 3
