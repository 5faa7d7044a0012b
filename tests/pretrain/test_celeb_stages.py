"""The stages that make what Celeb Basis needs: a basis of names, a face network."""

import json
from types import SimpleNamespace

import pytest
import torch
from face_helpers import sees
from tiny_pipeline import invented_names

from perso_lite.commands import pretrain as command
from perso_lite.evaluation.names import FilteredNames
from perso_lite.files.tensors import content_hash
from perso_lite.methods.celeb_basis import basis, face_encoder
from perso_lite.methods.celeb_basis.basis import basis_of
from perso_lite.methods.celeb_basis.face_encoder import FaceEncoder, load_face_encoder
from perso_lite.pretrain import judge_measuring, judge_stages
from perso_lite.pretrain.judge_measuring import JUDGED_SEED
from perso_lite.pretrain.pictures import VIEWS, pair_scene
from perso_lite.pretrain.stages import FRESH_SEED
from perso_lite.world.people import people_names


def test_a_base_comes_with_a_basis_of_the_names_that_it_knows(
    tiny, tiny_folder, tmp_path, monkeypatch
):
    names = invented_names()
    asked = []

    def filtered(base, judges, names, portraits, **options):
        asked.append((names, options))
        return FilteredNames(names[1:], {names[0]: "no person is drawn"})

    monkeypatch.setattr(command, "people_names", lambda: [*names, "cat zqx"])
    monkeypatch.setattr(command, "load_judges", lambda: None)
    monkeypatch.setattr(command, "true_portraits", lambda names: None)
    monkeypatch.setattr(command, "filter_names", filtered)
    monkeypatch.setattr(basis, "BASIS_FOLDER", tmp_path / "celeb_basis")
    command.write_name_basis(tiny_folder)
    kept = basis_of(tiny)
    assert kept.names == tuple(sorted(names[1:]))
    assert kept.rejected == {
        "cat zqx": "2 words, 4 tokens", names[0]: "no person is drawn",
    }  # fmt: skip
    assert asked == [(names, {"num_inference_steps": 10, "guidance_scale": 4.0})]
    stages = command.STAGES
    assert stages.index("faces") < stages.index("celeb-basis") < stages.index("measure")


@pytest.mark.slow
def test_a_face_network_learns_and_is_resumed(tiny_folder, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(face_encoder, "FACE_ENCODER_FOLDER", tmp_path / "face_encoder")
    monkeypatch.setattr(judge_measuring, "FRESH_FACES", 4)
    monkeypatch.setattr(judge_measuring, "people_names", lambda: people_names()[:4])
    thetas = judge_measuring.people_thetas()[:4]
    monkeypatch.setattr(judge_measuring, "people_thetas", lambda: thetas)
    folder = ["--folder", str(tmp_path / "run"), "--output", str(tiny_folder)]
    options = [*folder, "--strangers", "48", "--face-encoder-batch", "12"]

    def trained(steps):
        command.main(
            ["--stages", "face-encoder", *options, "--face-encoder-steps", str(steps)]
        )
        return content_hash(load_face_encoder(tiny).state_dict(), {})

    assert trained(1) != trained(2)
    accuracy = json.loads((tmp_path / "face_encoder" / "accuracy.json").read_text())
    assert set(accuracy) == {
        "first of 4", "mean error of face numbers", "number of faces, toys",
        "number of faces, faces", "number of faces, pairs",
    }  # fmt: skip
    assert all(0 <= value <= 1 for value in accuracy.values())


def test_it_learns_from_other_strangers_than_the_judges_saw():
    judges = {0, FRESH_SEED, JUDGED_SEED}
    assert not {judge_measuring.STRANGERS, judge_measuring.FRESH_STRANGERS} & judges


def test_the_loss_reaches_everything_and_depends_on_the_step_alone(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    pictures = {
        kind: torch.randint(0, 256, (16, 4, 64, 64), generator=generator).byte().numpy()
        for kind in judge_measuring.FACE_KINDS
    }
    thetas, encoder = torch.rand(16 // VIEWS, 18, generator=generator), FaceEncoder()
    loss = judge_stages.face_encoder_loss(pictures, thetas, 9, 0)
    modules = {"encoder": encoder}
    first = loss(modules, 0)
    first.backward()
    assert all(parameter.grad.any() for parameter in encoder.parameters())
    assert torch.equal(loss(modules, 0), first) and not torch.equal(
        loss(modules, 1), first
    )


def test_accuracy_is_right_for_one_who_sees_one_face_everywhere(monkeypatch):
    monkeypatch.setattr(judge_measuring, "FRESH_FACES", 2)
    monkeypatch.setattr(judge_measuring, "people_names", lambda: people_names()[:3])
    thetas = judge_measuring.people_thetas()[:3]
    monkeypatch.setattr(judge_measuring, "people_thetas", lambda: thetas)
    found = judge_measuring.face_encoder_accuracy(sees(1))
    assert found["number of faces, faces"] == 1
    assert found["number of faces, toys"] == found["number of faces, pairs"] == 0


def test_two_strangers_stand_side_by_side():
    scene = pair_scene(3, 8)
    one, other = scene.things
    assert scene.relation == "and" and one.theta != other.theta
    assert pair_scene(3, 8) == scene


def test_a_shipped_data_folder_is_no_obstacle(tiny_folder, tmp_path):
    (tmp_path / "data" / "results").mkdir(parents=True)
    options = SimpleNamespace(
        folder=tmp_path / "run", output=tmp_path / "data" / "base", start_from=None
    )
    command.check_places(options)


@pytest.mark.parametrize(
    ("capability", "on_gpu", "expected"),
    [("AVX512", False, "bf16"), ("AVX2", False, "no"), ("DEFAULT", False, "no"),
     ("AVX2", True, "bf16")],
)  # fmt: skip
def test_bfloat16_is_for_those_who_have_it(monkeypatch, capability, on_gpu, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert command.fast_precision(on_gpu) == expected
