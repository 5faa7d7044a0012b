import errno
import json
import os
import resource
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from perso_lite import DreamBoothLoRA, PersoError, TextualInversion, load_method
from perso_lite.files import writing
from perso_lite.files.tensors import read_tensors, write_tensors
from perso_lite.files.writing import (
    check_writable,
    folder_written_whole,
    write_atomically,
)

TENSORS = {"a.b": torch.arange(6.0).view(2, 3), "c": torch.tensor(7)}
HEADER = {"perso_lite.method": "none", "note": "§"}


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "new" / "file.safetensors"
    write_tensors(path, TENSORS, HEADER)
    tensors, header = read_tensors(path)
    assert header == HEADER
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[key], TENSORS[key]) for key in TENSORS)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_same_content_gives_the_same_bytes(tmp_path):
    header = HEADER | {f"key {i}": str(i) for i in range(20)}
    backwards = dict(reversed(header.items()))
    paths = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for path, entries in zip(paths, [header, backwards] * 2, strict=True):
        write_tensors(path, TENSORS, entries)
    assert len({path.read_bytes() for path in paths}) == 1
    program = (
        "import sys, torch; from perso_lite.files.tensors import *\n"
        f"write_tensors(sys.argv[1], {{'a.b': torch.arange(6.0).view(2, 3), 'c': "
        f"torch.tensor(7)}}, {header!r})"
    )
    other = tmp_path / "other.safetensors"
    subprocess.run([sys.executable, "-B", "-c", program, other], check=True)
    assert other.read_bytes() == paths[0].read_bytes()
    assert load_file(paths[0]).keys() == TENSORS.keys()  # the library reads it


@pytest.mark.parametrize("inside", [False, True])
def test_a_link_is_followed(tmp_path, inside):
    real = tmp_path / "real.bin"
    if inside:
        real.write_bytes(b"earlier")
    (tmp_path / "link").symlink_to(real)
    write_atomically(tmp_path / "link", b"later")
    assert (tmp_path / "link").is_symlink()
    assert real.read_bytes() == b"later"


@pytest.mark.parametrize("write", [check_writable, lambda p: write_atomically(p, b"")])
def test_devices_and_pipes_are_not_replaced(tmp_path, write):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(PersoError, match="device or a pipe"):
            write(path)
    assert (tmp_path / "pipe").is_fifo()


def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(tmp_path):
    path = tmp_path / "file.bin"
    old, new, others = (tmp_path / f".{n}" for n in ("file.bin.a.partial",
                        "file.bin.b.partial", "other.bin.a.partial"))  # fmt: skip
    for partial in (old, new, others):
        partial.write_bytes(b"half")
    os.utime(old, (0, 0))
    os.utime(others, (0, 0))
    write_atomically(path, b"whole")
    assert not old.exists()
    assert new.exists()
    assert others.exists()


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "file.safetensors"
    write_tensors(path, TENSORS, HEADER)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(PersoError, match="not a whole safetensors file"):
        read_tensors(path)


def test_an_altered_tensor_is_noticed(tmp_path):
    path = tmp_path / "file.safetensors"
    write_tensors(path, TENSORS, HEADER)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PersoError, match="altered"):
        read_tensors(path)


def test_an_altered_header_is_noticed(tmp_path):
    path = tmp_path / "file.safetensors"
    write_tensors(path, TENSORS, HEADER)
    path.write_bytes(path.read_bytes().replace(b'"none"', b'"nine"'))
    with pytest.raises(PersoError, match="altered"):
        read_tensors(path)


def test_a_foreign_file_is_refused_with_a_way_out(tmp_path):
    save_file({"<toy>": torch.ones(1, 4)}, tmp_path / "foreign.safetensors")
    with pytest.raises(PersoError, match="from_learned_embeds"):
        read_tensors(tmp_path / "foreign.safetensors")
    with pytest.raises(PersoError, match="no file"):
        read_tensors(tmp_path / "absent.safetensors")


def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    write_atomically(path, b"earlier")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(PersoError, match="No space left on device"):
        write_atomically(path, b"later")
    assert path.read_bytes() == b"earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_a_write_the_system_cuts_short_leaves_nothing(tmp_path):
    # a real failure in the middle of writing: the system allows 1000 bytes a file
    program = (
        "import sys; from perso_lite.files.writing import write_atomically\n"
        "write_atomically(sys.argv[1], bytes(100_000))"
    )
    path = tmp_path / "file.bin"
    result = subprocess.run(
        [sys.executable, "-B", "-c", program, path],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert "PersoError" in result.stderr
    assert "File too large" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_the_earlier_file_is_not_disturbed(tmp_path):
    path = tmp_path / "file.bin"
    write_atomically(path, b"earlier")
    with open(path, "rb") as reader:
        write_atomically(path, b"later")
        assert reader.read() == b"earlier"
    assert path.read_bytes() == b"later"


def test_places_that_cannot_be_written_are_found_early(tmp_path):
    (tmp_path / "file").write_text("a file is no folder")
    with pytest.raises(PersoError, match="cannot be written"):
        check_writable(tmp_path / "file" / "toy.safetensors")
    with pytest.raises(PersoError, match="is a folder"):
        check_writable(tmp_path)
    check_writable(tmp_path / "new" / "toy.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_header_says_everything_and_no_path(tiny, tiny_folder, tmp_path):
    path = tmp_path / "toy.safetensors"
    TextualInversion(tiny, "teddy").save(path)
    _, header = read_tensors(path)
    assert header["perso_lite.method"] == "textual_inversion"
    assert header["perso_lite.placeholder_token"] == "<toy>"
    assert header["perso_lite.class_word"] == "teddy"
    assert header["perso_lite.base"] == tiny_folder.name
    assert header["modelspec.trigger_phrase"] == "<toy>"
    assert not any("/tmp" in value or "/home" in value for value in header.values())
    assert load_file(path).keys() == {"textual_inversion.vectors"}


def test_a_concept_of_another_base_is_refused(tiny, own_tiny, tmp_path):
    TextualInversion(tiny, "teddy").save(tmp_path / "toy.safetensors")
    with torch.no_grad():
        own_tiny.unet.conv_in.weight += 0.1
    with pytest.raises(PersoError, match="trained on the base"):
        load_method(tmp_path / "toy.safetensors", own_tiny)


def test_an_unknown_method_or_version_is_refused(tiny, tmp_path):
    method = TextualInversion(tiny, "teddy")
    for key, value in {"method": "telepathy", "format_version": "99"}.items():
        header = method.header() | {f"perso_lite.{key}": value}
        write_tensors(tmp_path / "toy.safetensors", method.tensors(), header)
        with pytest.raises(PersoError, match=value):
            load_method(tmp_path / "toy.safetensors", tiny)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "entries",
    [
        {"settings": "nothing"},
        {"settings": "[]"},
        {"settings": DEEP},
        {"settings": '{"num_vectors": 1000000000}'},
        {"settings": '{"num_vectors": "two"}'},
        {"settings": '{"num_vectors": null}'},
        {"settings": '{"num_vectors": 2}'},
        {"settings": '{"learning": 1}'},
        {"settings": '{"num_vectors": 1, "initializer_token": 7}'},
        {"settings": '{"num_vectors": 1, "initializer_token": ["a"]}'},
        {"training": "3"},
        {"training": DEEP},
        {"placeholder_token": "toy"},
        {"class_word": ""},
        {"method": None},
        {"class_word": None},
        {"base_fingerprint": None},
        {"settings": None},
        {"training": None},
    ],
)
def test_headers_that_say_something_else_are_refused(tiny, tmp_path, entries):
    method = TextualInversion(tiny, "teddy")
    header = method.header() | {f"perso_lite.{k}": v for k, v in entries.items()}
    header = {key: value for key, value in header.items() if value is not None}
    write_tensors(tmp_path / "toy.safetensors", method.tensors(), header)
    with pytest.raises(PersoError, match=r"^[^\n]{20,400}$"):
        load_method(tmp_path / "toy.safetensors", tiny)


def test_a_rank_that_no_tensor_has_is_refused_before_it_is_built(tiny, tmp_path):
    method = DreamBoothLoRA(tiny, "teddy", identifier_token="hat", prior_pictures=0)
    settings = json.dumps(method.settings() | {"rank": 10**9})
    header = method.header() | {"perso_lite.settings": settings}
    write_tensors(tmp_path / "toy.safetensors", method.tensors(), header)
    with pytest.raises(PersoError, match="other sizes"):
        load_method(tmp_path / "toy.safetensors", tiny)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "new" / "folder"
    for name in ("first", "second"):
        with folder_written_whole(folder) as partial:
            (partial / name).write_text(name)
            assert not (folder / name).exists()
        assert [entry.name for entry in folder.iterdir()] == [name]
    with (
        pytest.raises(RuntimeError, match="stop"),
        folder_written_whole(folder) as half,
    ):
        (half / "third").write_text("half")
        raise RuntimeError("stop")
    assert [entry.name for entry in folder.iterdir()] == ["second"]
    assert [entry.name for entry in folder.parent.iterdir()] == ["folder"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_earlier_one(tmp_path):
    folder = tmp_path / "folder"
    with folder_written_whole(folder) as partial:
        (partial / "first").write_text("first")
    with pytest.raises(PersoError), folder_written_whole(folder) as partial:
        partial.rmdir()  # so that there is nothing to rename at the end
    assert (folder / "first").read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
