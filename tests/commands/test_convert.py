"""python -m perso_lite convert, and what load_method says about the same files."""

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import save_file

from perso_lite import (
    CustomDiffusion,
    DreamBoothLoRA,
    PersoError,
    TextBoost,
    TextualInversion,
    load_method,
)
from perso_lite.__main__ import main
from perso_lite.methods.celeb_basis import word_in_basis


@pytest.fixture
def convert(tiny_folder, tmp_path):
    """Convert a file in this process for the tiny base; gives exit code and output."""

    def run(file, *options):
        out = tmp_path / "My Toy.safetensors"
        arguments = ["convert", file, "--class-word", "teddy", "--out", out]
        arguments += ["--base", tiny_folder, *options]
        return main([str(argument) for argument in arguments]), out

    return run


def public_word(base, folder):
    word = TextualInversion(base, "teddy", "<cat-toy>", 2)
    return word.to_learned_embeds(folder / "word" / "x.safetensors")


def web_ui_word(base, folder):
    path = folder / "cat-toy.pt"
    torch.save({"string_to_param": {"*": torch.ones(2, 32)}, "step": 3}, path)
    return path


def public_lora(base, folder):
    lora = DreamBoothLoRA(base, "teddy", identifier_token="weird")
    return lora.to_lora_weights(folder / "lora")


def public_kohya(base, folder):
    start = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    parts = {"lora_down.weight": torch.ones(2, 32), "lora_up.weight": torch.ones(32, 2)}
    path = folder / "kohya.safetensors"
    save_file({f"{start}.{part}": value for part, value in parts.items()}, path)
    return path


def public_custom(base, folder):
    method = CustomDiffusion(base, "teddy", "<cat-toy>", initializer_token="weird")
    return method.to_custom_diffusion_weights(folder / "custom")


WEIRD = ("--identifier-token", "weird")
FORMATS = {  # maker, options, method, its word
    "word": (public_word, (), "textual_inversion", "<cat-toy>"),
    "pt": (web_ui_word, (), "textual_inversion", "<cat-toy>"),
    "lora": (public_lora, WEIRD, "dreambooth_lora", "<my-toy>"),
    "kohya": (public_kohya, WEIRD, "dreambooth_lora", "<my-toy>"),
    "custom": (public_custom, (), "custom_diffusion", "<cat-toy>"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_recognized_and_converted(convert, tiny, tmp_path, capsys, name):
    maker, options, method_name, token = FORMATS[name]
    path = maker(tiny, tmp_path)
    code, out = convert(path, *options)
    assert code == 0
    method = load_method(out, tiny)
    assert (method.name, method.placeholder_token) == (method_name, token)
    assert method.class_word == "teddy"
    assert f'--prompt "a photo of a {token}"' in capsys.readouterr().out


@pytest.mark.parametrize("maker", [public_lora, public_custom])
def test_a_folder_is_recognized_by_its_weights(convert, tiny, tmp_path, maker):
    folder = maker(tiny, tmp_path).parent
    options = WEIRD if maker is public_lora else ()
    code, out = convert(folder, *options, "--placeholder-token", "<tom>")
    assert code == 0
    assert load_method(out, tiny).placeholder_token == "<tom>"


def released_textboost(encoder, folder):
    """As the released code of TextBoost saves a training."""
    encoder.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj"]))
    encoder.save_pretrained(folder / "text_encoder")
    torch.save({"<dog>": torch.ones(32)}, folder / "dog.bin")
    return folder


def test_a_folder_of_textboost_is_converted(convert, tiny, own_tiny, tmp_path, capsys):
    folder = released_textboost(own_tiny.text_encoder, tmp_path / "textboost")
    code, out = convert(folder)
    assert code == 0
    method = load_method(out, tiny)
    assert (method.name, method.placeholder_token) == ("textboost", "<dog>")
    assert (method.rank, method.targets) == (2, ["q_proj"])
    assert torch.equal(method.vectors.detach(), torch.ones(1, 32))
    assert "is a concept of textboost now" in capsys.readouterr().out
    assert convert(folder, "--placeholder-token", "<tom>")[0] == 0
    assert load_method(out, tiny).placeholder_token == "<tom>"


@pytest.mark.parametrize("person", [None, 1])
def test_one_of_several_people_is_converted(
    convert, tiny, tmp_path, name_basis, monkeypatch, person
):
    monkeypatch.setattr(word_in_basis, "basis_of", lambda _: name_basis)
    people = [torch.full((2, 1, 6), value) for value in (0.25, 0.5)]
    path = tmp_path / "people.pt"
    torch.save({"id_coefficients": people}, path)
    code, out = convert(path, *([] if person is None else ["--person", str(person)]))
    assert code == 0
    learned = load_method(out, tiny)
    assert learned.name == "celeb_basis"
    assert torch.equal(learned.weights.detach(), people[person or 0][:, 0])


def test_a_person_is_not_for_other_files(convert, tiny, tmp_path, capsys):
    code, out = convert(public_word(tiny, tmp_path), "--person", "0")
    assert code == 2 and not out.exists()
    assert "--person is not for this file" in capsys.readouterr().err


def test_a_folder_for_stock_libraries_is_not_taken_for_a_word(
    convert, tiny, tmp_path, capsys
):
    folder = TextBoost(tiny, "teddy", "<cat-toy>").to_peft(tmp_path / "peft")
    code, out = convert(folder)
    assert code == 2 and not out.exists()
    assert "load_method reads what save writes" in capsys.readouterr().err


def test_other_files_end_in_a_sentence_and_write_nothing(
    convert, tiny, tmp_path, capsys
):
    ours, other = tmp_path / "ours.safetensors", tmp_path / "other.safetensors"
    TextualInversion(tiny, "teddy").save(ours)
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, other)
    nothing, text = tmp_path / "nothing.safetensors", tmp_path / "notes.txt"
    save_file({}, nothing)
    text.write_text("a teddy")
    nan = tmp_path / "nan.safetensors"
    save_file({"<toy>": torch.full((32,), float("nan"))}, nan)
    wide = tmp_path / "wide.safetensors"
    save_file({"<toy>": torch.ones(1, 768)}, wide)
    listed = tmp_path / "list.pt"
    torch.save([1], listed)
    for path, said in (
        (ours, "was written by perso_lite"),
        (other, "of no known kind"),
        (nothing, "of no known kind"),
        (listed, "of no known kind"),
        (text, "more than plain tensors"),
        (nan, "not finite"),
        (wide, "another base"),
        (tmp_path / "absent", "There is no file"),
        (tmp_path, "of no known kind"),
    ):
        code, out = convert(path)
        error = capsys.readouterr().err
        assert (code, said in error, out.exists()) == (2, True, False), error
        assert error.count("\n") == 1


def test_options_of_another_format_are_refused(convert, tiny, tmp_path, capsys):
    code, _ = convert(public_word(tiny, tmp_path), *WEIRD)
    assert code == 2
    assert "--identifier-token is not for this file" in capsys.readouterr().err
    assert convert(public_lora(tiny, tmp_path), "--modifier-token", "<a>")[0] == 2


def test_the_file_itself_is_not_written_over(convert, tiny, tmp_path):
    path = public_word(tiny, tmp_path).rename(tmp_path / "My Toy.safetensors")
    before = path.read_bytes()
    assert convert(path)[0] == 2
    assert path.read_bytes() == before


def test_load_method_still_says_what_is_wrong_with_ours(tiny, tmp_path):
    path = tmp_path / "ours.safetensors"
    DreamBoothLoRA(tiny, "teddy", identifier_token="weird").save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PersoError, match="altered"):
        load_method(path, tiny)
