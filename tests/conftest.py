"""Fixtures: pipelines tiny and shipped, and pictures to learn."""

import copy
import dataclasses
import os
import random
import signal

if "PYTEST_XDIST_WORKER" in os.environ:  # processes with two threads stall each other
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from PIL import Image
from tiny_pipeline import WORDS, invented_names, tiny_pipeline

from perso_lite.base import BASE_FOLDER, load_base
from perso_lite.concepts import Concept
from perso_lite.methods.celeb_basis.basis import build_basis
from perso_lite.methods.perfusion.covariance import estimate_covariance


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """The tiny pipeline as a diffusers folder, vocabulary files included."""
    folder = tmp_path_factory.mktemp("tiny")
    pipeline = tiny_pipeline(tmp_path_factory.mktemp("vocabulary"))
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """The tiny pipeline as `load_base` gives it; tests leave it as they found it."""
    return load_base(tiny_folder, device="cpu")


@pytest.fixture(scope="session")
def covariance(tiny):
    """C^-1 of the tiny pipeline's text states."""
    random.seed(0)
    captions = [" ".join(random.choices(WORDS, k=6)) for _ in range(300)]
    estimated = estimate_covariance(tiny, captions)
    # the states of an untrained encoder add up to nothing: without this direction,
    # which they do not have, all digits are left for those they have
    inverse = estimated.inverse.double()
    inverse = inverse - (inverse.sum() / 32 - 1) / 32
    return dataclasses.replace(estimated, inverse=inverse.float())


@pytest.fixture(scope="session")
def name_basis(tiny):
    """A basis of names that are words of the tiny pipeline."""
    return build_basis(tiny, invented_names())


@pytest.fixture
def own_tiny(tiny):
    """A copy of the tiny pipeline to change at will."""
    return copy.deepcopy(tiny)


@pytest.fixture(scope="session")
def concept():
    """Three noisy pictures of a red disc, with masks."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    disc = x**2 + y**2 < 0.4
    images = []
    for _ in range(3):
        picture = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        picture[disc] = (220, 30, 30)
        images.append(Image.fromarray(picture))
    mask = Image.fromarray((disc * 255).astype(np.uint8))
    return Concept("red-disc", "teddy", images, [mask] * 3)


@pytest.fixture(scope="session")
def base():
    """The shipped base."""
    if not BASE_FOLDER.is_dir():
        pytest.skip("data/base is not there yet")
    return load_base(device="cpu")


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Nothing is looked for, or left, in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("PERSO_LITE_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def ctrl_c_interrupts():
    """Let SIGINT interrupt, also where a shell started the tests in the background.

    Such a shell lets its children ignore it, and so would their children.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
