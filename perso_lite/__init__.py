"""perso_lite: text-to-image personalization, to read, run and take apart.

The names below are the public ones; each is imported when it is first used, so that
`import perso_lite` itself costs next to nothing.
"""

import importlib
import logging
from types import ModuleType

_HOME = {
    "PersoError": "errors",
    "load_base": "base",
    "fingerprint": "base",
    "Concept": "concepts",
    "load_concept": "concepts",
    "shipped_concepts": "concepts",
    "encode_prompts": "text",
    "fit": "training",
    "TrainingStep": "training",
    "Method": "method",
    "attached": "method",
    "load_method": "methods",
    "METHODS": "methods",
    "TextualInversion": "methods.textual_inversion",
    "DreamBoothLoRA": "methods.dreambooth_lora",
    "CustomDiffusion": "methods.custom_diffusion",
    "Perfusion": "methods.perfusion",
    "ExtendedTextualInversion": "methods.extended_textual_inversion",
    "NeTI": "methods.neti",
    "estimate_covariance": "covariance",
    "covariance_of": "covariance",
    "joint_edit": "edits",
    "generate": "sampling",
    "contact_sheet": "plots",
    "show_pictures": "plots",
    "heat_over": "plots",
    "as_images": "plots",
    "show_bars": "charts",
    "show_intervals": "charts",
    "show_lines": "charts",
    "show_matrix": "charts",
    "show_flow": "charts",
    "setup": "notebook",
    "report": "notebook",
    "verdict": "notebook",
    "load_judges": "judges",
    "true_pictures": "world.oracle",
    "score_concept": "evaluation",
    "class_prior_scores": "evaluation",
    "oracle_scores": "evaluation",
    "ConceptScores": "evaluation",
    "between": "statistics",
    "bootstrap_interval": "statistics",
    "instance_similarity": "metrics",
    "clip_image_similarity": "metrics",
    "clip_text_similarity": "metrics",
    "attribute_accuracy": "metrics",
    "prompt_accuracy": "metrics",
    "attention_against_mask": "metrics",
    "read_attribute": "metrics",
    "drift": "metrics",
    "drift_by_chance": "metrics",
    "record_attention": "attention",
    "exchanged": "exchange",
    "probe": "exchange",
    "noised_maps": "overlap",
    "word_overlap": "overlap",
    "single_toy_prompts": "overlap",
    "plain_sentences": "density",
    "readable_facts": "density",
    "cross_attention_layers": "layers",
}

__all__ = list(_HOME)


def import_quietly(name: str) -> ModuleType:
    """Import `perso_lite.<name>` without a remark that is of no use to our users.

    While it is imported, transformers says that it can do without torchvision.
    """
    remarks = logging.getLogger("transformers.utils.import_utils")
    were_off, remarks.disabled = remarks.disabled, True
    try:
        return importlib.import_module(f"perso_lite.{name}")
    finally:
        remarks.disabled = were_off


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'perso_lite' has no attribute '{name}'")
    return getattr(import_quietly(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
