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
    "encode_prompts": "conditioning.tokens",
    "fit": "training",
    "TrainingStep": "training",
    "Method": "method",
    "attached": "method",
    "load_method": "methods",
    "METHODS": "methods",
    "TextualInversion": "methods.textual_inversion",
    "DreamBoothLoRA": "methods.baselines.dreambooth_lora",
    "CustomDiffusion": "methods.baselines.custom_diffusion",
    "Perfusion": "methods.perfusion.perfusion",
    "ExtendedTextualInversion": "methods.space_time.xti",
    "NeTI": "methods.space_time.neti",
    "estimate_covariance": "methods.perfusion.covariance",
    "covariance_of": "methods.perfusion.covariance",
    "joint_edit": "methods.perfusion.joint_edit",
    "generate": "sampling",
    "contact_sheet": "figures.pictures",
    "show_pictures": "figures.pictures",
    "heat_over": "figures.pictures",
    "as_images": "figures.pictures",
    "show_bars": "figures.charts",
    "show_intervals": "figures.charts",
    "show_lines": "figures.charts",
    "show_matrix": "figures.charts",
    "show_flow": "figures.charts",
    "setup": "teaching.notebook",
    "report": "teaching.notebook",
    "verdict": "teaching.notebook",
    "load_judges": "evaluation.judges",
    "true_pictures": "world.oracle",
    "score_concept": "evaluation.scores",
    "class_prior_scores": "evaluation.scores",
    "oracle_scores": "evaluation.scores",
    "ConceptScores": "evaluation.scores",
    "between": "evaluation.bootstrap",
    "bootstrap_interval": "evaluation.bootstrap",
    "instance_similarity": "evaluation.metrics",
    "clip_image_similarity": "evaluation.metrics",
    "clip_text_similarity": "evaluation.metrics",
    "attribute_accuracy": "evaluation.metrics",
    "prompt_accuracy": "evaluation.metrics",
    "attention_against_mask": "evaluation.metrics",
    "read_attribute": "evaluation.metrics",
    "drift": "evaluation.metrics",
    "drift_by_chance": "evaluation.metrics",
    "record_attention": "attention.record",
    "exchanged": "attention.swap",
    "probe": "attention.swap",
    "noised_maps": "attention.grounding",
    "word_overlap": "attention.grounding",
    "single_toy_prompts": "attention.grounding",
    "plain_sentences": "evaluation.linear_probe",
    "readable_facts": "evaluation.linear_probe",
    "cross_attention_layers": "conditioning.cross_attention",
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
