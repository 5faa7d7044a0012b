import pytest
from per_layer_helpers import PROMPT, GivenWord

from perso_lite import encode_prompts
from perso_lite.conditioning.prompt_lookup import PromptLookup

KEPT = 64


@pytest.fixture
def word(tiny):
    return GivenWord(tiny)


def test_texts_are_found_again_by_their_states(tiny, word):
    prompts = PromptLookup(tiny)
    with word.tokens.attached(tiny, word.stand_in), prompts.recording():
        states = encode_prompts(tiny, ["a cat", PROMPT, "a <toy>"])
        ids = tiny.tokenizer([PROMPT, "a <toy>"], padding="max_length").input_ids
        rows, found = prompts.find(states[[2, 0, 1, 2]] + 0.0)
        read = dict(zip(rows.tolist(), found.tolist(), strict=True))
        assert read[0] == read[3] == ids[1] and read[2] == ids[0]
        other = states.clone()
        other[:, 5, 3] += 1e-3
        assert len(prompts.find(other)[0]) == 0
    with pytest.warns(UserWarning, match="says <toy>, which was attached when"):
        rows, found = prompts.find(states)  # the word has left
    assert rows.shape == (0,) and found.shape == (0, 24)


def test_only_new_words_are_recorded_and_not_for_ever(tiny, word):
    prompts = PromptLookup(tiny)
    with word.tokens.attached(tiny, word.stand_in), prompts.recording():
        states = encode_prompts(tiny, [PROMPT])
        plain = encode_prompts(tiny, ["a cat"])
        assert len(prompts.find(plain)[0]) == 0
        for _ in range(KEPT - 1):
            encode_prompts(tiny, ["a <toy>"])
        assert len(prompts.find(states)[0]) == 1  # and with this it is young again
        for _ in range(KEPT - 1):
            encode_prompts(tiny, ["a <toy>"])
        assert len(prompts.find(states)[0]) == 1
        for _ in range(KEPT):
            encode_prompts(tiny, ["a <toy>"])
        assert len(prompts.find(states)[0]) == 0
        prompts.paused = True
        encode_prompts(tiny, [PROMPT])
        assert len(prompts.find(states)[0]) == 0


def test_all_prompts_may_be_recorded_in_the_order_of_encoding(tiny):
    prompts = PromptLookup(tiny, keep=2, new_words_only=False)
    with prompts.recording():
        first, second = (encode_prompts(tiny, [text]) for text in ("a cat", "a hat"))
        again = encode_prompts(tiny, ["a cat"])
    assert first.equal(again)
    (of_cat,), (of_hat,) = prompts.sources(first), prompts.sources(second)
    assert list(of_cat) == [2]  # the first of three was dropped
    assert list(of_hat) == [1]
