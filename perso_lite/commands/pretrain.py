"""The base from seeds, resumable at any point: `python -m perso_lite pretrain`.

Stages run in order, and each continues from its last checkpoint: pictures are painted,
the autoencoder learns to compress them, a small CLIP learns which caption belongs to
which picture, the U-Net learns to denoise latents given captions, and the decoder alone
learns on, for sharper pictures. Everything goes to `--folder` until `export` writes the
finished diffusers folder. Judges learn next, and `measure` writes everything that
depends on the base into `data/`. After a change of the base, `--stages export
covariance measure` is enough; `--stages measure-judges` measures finished judges again.

Each stage learns for a number of steps (`--unet-steps 20000`) or of seconds
(`--unet-seconds 900`). The defaults add up to half an hour on one GPU, beside painting
and encoding, and to hours on CPUs.

`--start-from data/base` continues an earlier training: without a checkpoint, the
autoencoder and the U-Net begin with the shipped weights, and parts that are not trained
are copied. The text encoder is always copied: once shipped, it stays frozen.

On one device this command is enough. Several GPUs: `accelerate launch -m perso_lite
pretrain`. Several CPU processes: `torchrun --nproc_per_node 2 -m perso_lite pretrain`
with OMP_NUM_THREADS=1.
"""

import argparse
import json
import os
import random
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from perso_lite.base import load_base
from perso_lite.commands import evaluate
from perso_lite.commands.learned import keep_learned, learned_sheet
from perso_lite.commands.options import Parser, finite
from perso_lite.commands.tour import tour
from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import load_judges
from perso_lite.evaluation.names import filter_names, true_portraits
from perso_lite.figures.pictures import save_picture
from perso_lite.files.writing import check_writable, write_atomically
from perso_lite.methods.celeb_basis.basis import build_basis
from perso_lite.methods.celeb_basis.face_encoder import FaceEncoder, save_face_encoder
from perso_lite.methods.celeb_basis.names import readable_names
from perso_lite.methods.perfusion.covariance import estimate_covariance
from perso_lite.pretrain.checkpoint_parts import tokenizer_of
from perso_lite.pretrain.judge_measuring import measure_judges
from perso_lite.pretrain.judge_stages import (
    train_encoder,
    train_face_encoder,
    train_judging_clip,
    train_reader,
)
from perso_lite.pretrain.pictures import scene_of
from perso_lite.pretrain.prompts import write_prompts
from perso_lite.pretrain.settings import add_settings, check_settings, settle
from perso_lite.pretrain.stages import (
    FRESH_SEED,
    export_base,
    fresh_pictures,
    train_autoencoder,
    train_clip,
    train_decoder,
    train_unet,
    world_pictures,
)
from perso_lite.pretrain.unet import save_sheet
from perso_lite.world.captions import caption
from perso_lite.world.people import people_names
from perso_lite.world.render import PICTURE_SIZE, render
from perso_lite.world.shipped_concepts import write_concepts

STAGES = (
    "pictures", "autoencoder", "clip", "unet", "decoder", "export", "covariance",
    "concepts", "prompts", "reader", "instances", "faces", "clip-judge",
    "celeb-basis", "face-encoder", "measure",
)  # fmt: skip
RESULTS = (
    "base", "tradeoff", "pairs", "neti", "catversion", "celeb", "textboost",
    "more_toys",
)  # fmt: skip
COVARIANCE_CAPTIONS = 20_000  # ours; paper: 100,000, for a 4 times wider text encoder
WITH_WORDS = {"clip", "unet", "export", "clip-judge"}  # they need the tokenizer


def write_world_sheet(path: Path, size: int = PICTURE_SIZE) -> None:
    """A sheet of the world's pictures, for the README."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures, _ = render([scene_of(FRESH_SEED, i) for i in range(40)], size)
    save_sheet(pictures.clamp(0, 1), path, columns=8, zoom=1)


def write_covariance(output: Path) -> None:
    """The covariance of a base's text states, from captions of the world.

    It is saved in `data/covariance`, where Perfusion looks for it.
    """
    captions = [
        caption(scene_of(0, index), random.Random(f"covariance/{index}"))
        for index in range(COVARIANCE_CAPTIONS)
    ]
    estimate_covariance(load_base(output), captions).save()


def write_name_basis(output: Path) -> None:
    """The basis of the names that a base knows, with those that are left out, and why.

    It is saved in `data/celeb_basis`, where Celeb Basis looks for it.
    """
    base = load_base(output)
    names, rejected = readable_names(base, people_names())
    drawing = {"num_inference_steps": 10, "guidance_scale": 4.0}
    portraits = true_portraits(names)
    found = filter_names(base, load_judges(), names, portraits, **drawing)
    print(f"names: {len(found.kept)} kept, {len(found.rejected)} rejected")
    rejected |= found.rejected
    print(build_basis(base, found.kept, rejected=rejected).save())


def write_face_encoder(options: argparse.Namespace, accelerator: Accelerator) -> None:
    """The face network of Celeb Basis, with its accuracy, in `data/face_encoder`."""
    encoder = FaceEncoder()
    accuracy = train_face_encoder(options, accelerator, encoder)
    if accelerator.is_main_process:
        path = save_face_encoder(encoder, load_base(options.output, device="cpu"))
        text = json.dumps(accuracy, indent=1) + "\n"
        write_atomically(path.with_name("accuracy.json"), text.encode())
        print(f"face encoder: {json.dumps(accuracy)}")


def measure(output: Path, scratch: Path) -> None:
    """All results of a base: the tables, a sample sheet, the tour's picture."""
    shutil.rmtree(scratch, ignore_errors=True)  # results of another base
    processes = "1" if torch.cuda.is_available() else str(os.cpu_count())
    where = ["--base", str(output), "--out", str(scratch)]
    evaluate.main(["base", *where, "--processes", processes])
    first = ["--concepts", "dev-rabbit", "--groups", "textual_inversion"]  # notebook 03
    evaluate.main(["tradeoff", *where, *first])
    person = ["--concepts", "person-a", "--groups", "free"]  # notebook 07
    evaluate.main(["celeb", *where, *person])
    evaluate.main(["tradeoff", *where])
    evaluate.main(["neti", *where])
    evaluate.main(["catversion", *where])
    evaluate.main(["celeb", *where])
    evaluate.main(["textboost", *where])
    evaluate.main(["more", *where])
    files = ["--tradeoff", str(scratch), "--out", str(scratch / "pairs.json")]
    evaluate.main(["pairs", *where[:2], *files])
    tour(scratch, base=str(output))
    results = output.parent / "results"
    results.mkdir(exist_ok=True)
    for name in RESULTS:
        shutil.copy(scratch / f"{name}.json", results)
    keep_learned(scratch, output.parent / "learned")
    sheet = learned_sheet(load_base(output), output.parent / "learned")
    save_picture(sheet, output.parent / "pictures" / "learned.png")
    shutil.copy(scratch / "base.png", output.parent / "pictures" / "base.png")
    shutil.copy(scratch / "dotty-teddy.png", output.parent / "pictures" / "tour.png")


def parser() -> Parser:
    """The command line of `python -m perso_lite pretrain`."""
    p = Parser(prog="python -m perso_lite pretrain", description=__doc__)
    every = (*STAGES, "measure-judges")
    p.add_argument(
        "--stages",
        nargs="+",
        default=list(STAGES),
        choices=every,
        help="default: all but measure-judges, in this order",
    )
    p.add_argument("--folder", type=Path, default=Path("checkpoints"))
    p.add_argument("--size", type=int, default=128, choices=(64, 128))
    add_settings(p)
    p.add_argument("--start-from", help="a base whose weights stages begin with")
    p.add_argument("--sample-minutes", type=finite(0), default=10)
    p.add_argument("--output", type=Path, default=Path("data/base"))
    return p


def check_places(options: argparse.Namespace) -> None:
    """Refuse, before hours of training, what cannot be read or written.

    Raises:
        PersoError: the folders cannot be written, or --start-from cannot be loaded.
    """
    check_writable(options.folder / "stage.pt")
    check_writable(options.output.parent / "results" / "base.json")
    if os.path.exists(options.output) and not os.path.isdir(options.output):
        raise PersoError(f"--output {options.output} is no folder; give another name.")
    if options.start_from is not None:
        load_base(options.start_from, device="cpu")


def fast_precision(on_gpu: bool) -> str:
    """For mixed precision: CPUs without AVX-512 only imitate bfloat16, slowly."""
    fast = on_gpu or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return "bf16" if fast else "no"


def main(argv: list[str] | None = None) -> None:
    """Run the chosen stages, in order."""
    options = parser().parse_args(argv)
    check_settings(options)
    check_places(options)
    options.cache = options.folder / "cache"
    options.folder.mkdir(parents=True, exist_ok=True)
    on_gpu = torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision=fast_precision(on_gpu), cpu=not on_gpu)
    options.device = accelerator.device.type
    settle(options, options.device)
    if options.device == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    set_seed(0)
    if WITH_WORDS.intersection(options.stages):
        with accelerator.main_process_first():
            tokenizer_of(options)
    if "pictures" in options.stages:
        with accelerator.main_process_first():
            world_pictures(options)
            fresh_pictures(options)
    if "autoencoder" in options.stages:
        train_autoencoder(options, accelerator)
    if "clip" in options.stages:
        train_clip(options, accelerator)
    if "unet" in options.stages:
        train_unet(options, accelerator)
    if "decoder" in options.stages:
        train_decoder(options, accelerator)
    if "export" in options.stages and accelerator.is_main_process:
        export_base(options)
    if "covariance" in options.stages and accelerator.is_main_process:
        write_covariance(options.output)
    if "concepts" in options.stages and accelerator.is_main_process:
        write_concepts(options.output.parent / "concepts", options.size)
        write_world_sheet(options.output.parent / "pictures" / "world.png")
    if "prompts" in options.stages and accelerator.is_main_process:
        write_prompts(options.output.parent / "prompts")
    if "reader" in options.stages:
        train_reader(options, accelerator)
    for name in ("instances", "faces"):
        if name in options.stages:
            train_encoder(options, accelerator, name)
    if "clip-judge" in options.stages:
        train_judging_clip(options, accelerator)
    if "celeb-basis" in options.stages and accelerator.is_main_process:
        write_name_basis(options.output)
    if "face-encoder" in options.stages:
        write_face_encoder(options, accelerator)
    if "measure-judges" in options.stages and accelerator.is_main_process:
        measure_judges(options)
    if "measure" in options.stages and accelerator.is_main_process:
        measure(options.output, options.folder / "measured")
    accelerator.end_training()
