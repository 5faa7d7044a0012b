"""What `import perso_lite` offers, and to whom."""

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import perso_lite

MODULES = {"check", "mapper", "panels", "rank_one", "solutions", "tradeoff"}
# the public names before modules moved into folders: they go on working
EARLIER = """
    PersoError load_base fingerprint Concept load_concept shipped_concepts
    encode_prompts fit TrainingStep Method attached load_method METHODS
    TextualInversion DreamBoothLoRA CustomDiffusion Perfusion
    ExtendedTextualInversion NeTI estimate_covariance covariance_of joint_edit
    generate contact_sheet show_pictures heat_over as_images show_bars
    show_intervals show_lines show_matrix show_flow setup report verdict load_judges
    true_pictures score_concept class_prior_scores oracle_scores ConceptScores
    between bootstrap_interval instance_similarity clip_image_similarity
    clip_text_similarity attribute_accuracy prompt_accuracy attention_against_mask
    read_attribute drift drift_by_chance record_attention exchanged probe
    noised_maps word_overlap single_toy_prompts plain_sentences readable_facts
    cross_attention_layers
""".split()


@pytest.mark.parametrize("name", [*perso_lite.__all__, *EARLIER])
def test_every_public_name_is_there_and_is_what_it_says(name):
    found = getattr(perso_lite, name)
    assert isinstance(found, ModuleType) == (name in MODULES)
    if name in perso_lite.__all__ and hasattr(found, "__name__"):
        known = {"XTI": "ExtendedTextualInversion"}.get(name, name)
        assert found.__name__.split(".")[-1] == known


RENAMED = {
    "between": "fraction_of_oracle",
    "exchanged": "swap_keys_values",
    "noised_maps": "attention_on_noised",
    "probe": "inject_prompts",
    "readable_facts": "linear_probe_accuracy",
    "word_overlap": "word_grounding",
}


def test_earlier_names_are_other_names_of_the_present_ones():
    assert perso_lite._EARLIER_NAMES == RENAMED
    for name, new in RENAMED.items():
        assert getattr(perso_lite, name) is getattr(perso_lite, new)


def test_modules_are_reached_without_an_import():
    program = (
        "import perso_lite; perso_lite.attention; perso_lite.training.fit; "
        "perso_lite.panels.Panel; perso_lite.methods.perfusion.rank_one.gate"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'personalise'"):
        perso_lite.personalise  # noqa: B018
    assert {"fit", "panels", "training", "__version__"} <= set(dir(perso_lite))


def test_importing_it_imports_no_heavy_library():
    program = "import sys, perso_lite; print('torch' in sys.modules)"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_editors_read_the_same_names():
    """In a stub, what is imported without `as` is private."""
    stub = Path(perso_lite.__file__).with_suffix(".pyi")
    imported = [
        alias
        for statement in ast.parse(stub.read_text()).body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    ]
    assert all(alias.name == alias.asname for alias in imported)
    assert [alias.name for alias in imported] == perso_lite.__all__
    assert stub.with_name("py.typed").is_file()


def test_methods_are_found_by_name_and_alias():
    for name, kind in perso_lite.METHODS.items():
        assert perso_lite.method_named(name) is kind
        assert perso_lite.method_named(name.replace("_", "-")) is kind
    assert perso_lite.method_named("xti") is perso_lite.XTI
    with pytest.raises(perso_lite.PersoError, match=r"no method telepathy; .*, xti"):
        perso_lite.method_named("telepathy")
