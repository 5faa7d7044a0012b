"""The stages that train judges: their data, their settings and their files."""

import argparse

import torch
from accelerate import Accelerator

from perso_lite.evaluation.judges import (
    AttributeReader,
    FaceReader,
    InstanceEncoder,
    save_judge,
)
from perso_lite.files.writing import folder_written_whole
from perso_lite.pretrain.checkpoint_parts import load_text_encoder, tokenizer_of
from perso_lite.pretrain.clip import build_clip, caption_accuracy, clip_loss
from perso_lite.pretrain.judge_measuring import (
    face_accuracy,
    instance_accuracy,
    measure_reader,
    note_accuracy,
    seen_again,
)
from perso_lite.pretrain.judge_training import (
    TrainableEncoder,
    encoder_loss,
    reader_loss,
)
from perso_lite.pretrain.loop import Stage, train
from perso_lite.pretrain.pictures import VIEWS, painted_pictures, subject_of
from perso_lite.pretrain.settings import budget_of
from perso_lite.pretrain.stages import (
    FRESH_PICTURES,
    FRESH_SEED,
    fresh_pictures,
    world_pictures,
)
from perso_lite.world.toys import TOYS


def train_reader(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Train the attribute reader, and save it with its accuracy."""
    model = AttributeReader().to(memory_format=torch.channels_last)
    stage = Stage(
        "reader",
        {"reader": model},
        reader_loss(
            *(world_pictures(options), options.reader_batch),
            *(accelerator.process_index, seen_again(options)),
        ),
        budget_of(options, "reader"),
        {"reader": 2e-3},
        decay=0.6,
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        folder = options.output.parent / "judges"
        save_judge(model.eval(), folder)
        measure_reader(model, options, folder)


def train_encoder(
    options: argparse.Namespace, accelerator: Accelerator, name: str
) -> None:
    """Train the encoder of "instances" or "faces", and save it with its accuracy."""
    kind = "toys" if name == "instances" else "faces"
    count = getattr(options, kind)
    with accelerator.main_process_first():
        pictures = painted_pictures(
            options.cache, count, options.size, 0, options.device, kind
        )
    thetas, classes = None, len(TOYS)
    model = InstanceEncoder() if name == "instances" else FaceReader()
    if name == "faces":
        classes = 1
        people = [subject_of(kind, 0, i).theta for i in range(count // VIEWS)]
        thetas = torch.tensor(people)
    wrapper = TrainableEncoder(model).to(memory_format=torch.channels_last)
    rank = accelerator.process_index
    stage = Stage(
        name,
        {name: wrapper},
        encoder_loss(
            *(pictures, options.encoder_batch, rank, name, classes, thetas),
            seen_again(options),
        ),
        budget_of(options, "encoder"),
        {name: 2e-3},
        decay=0.6,
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        folder = options.output.parent / "judges"
        save_judge(model.cpu().eval(), folder)
        judged = instance_accuracy if name == "instances" else face_accuracy
        note_accuracy(folder, name, judged(model, options.size))


def train_judging_clip(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """Train a CLIP that only judges; it starts with the base's text encoder."""
    tokenizer = tokenizer_of(options)
    model = build_clip(tokenizer, options.size)
    text_encoder = load_text_encoder(options, tokenizer)
    inner = getattr(text_encoder, "text_model", text_encoder)
    model.text_model.load_state_dict(inner.state_dict())
    rank = accelerator.process_index
    stage = Stage(
        "clip-judge",
        {"clip": model},
        clip_loss(world_pictures(options), tokenizer, options.clip_batch, rank),
        budget_of(options, "clip"),
        {"clip": 1e-3},
    )
    train(stage, options.folder, accelerator)
    if accelerator.is_main_process:
        folder = options.output.parent / "judges"
        right = caption_accuracy(model, tokenizer, fresh_pictures(options), FRESH_SEED)
        with folder_written_whole(folder / "clip") as partial:
            model.half().save_pretrained(partial)
        note_accuracy(folder, "clip", {"n": FRESH_PICTURES, "altered caption": right})
