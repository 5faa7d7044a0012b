"""perso_lite: text-to-image personalization, to read, run and take apart.

The names below are the public ones; each is imported when it is first used, so that
`import perso_lite` itself costs next to nothing. Modules can be reached in the same way
(`perso_lite.training`, `perso_lite.attention.maps`), those that notebooks use most by
their last name alone (`perso_lite.panels`).
"""

from typing import TYPE_CHECKING, Any

from perso_lite._lazy import import_quietly

__version__ = "0.1.0"

_HOME = {  # where each public name lives
    # the core: a base, a concept, a method, training and drawing
    "PersoError": "errors",
    "load_base": "base",
    "fingerprint": "base",
    "Concept": "concepts",
    "load_concept": "concepts",
    "shipped_concepts": "concepts",
    "Method": "method",
    "attached": "method",
    "inference_parameters": "method",
    "fit": "training",
    "TrainingStep": "training",
    "generate": "sampling",
    "encode_prompts": "conditioning.tokens",
    # the methods
    "METHODS": "methods",
    "method_named": "methods",
    "load_method": "methods",
    "TextualInversion": "methods.textual_inversion",
    "ExtendedTextualInversion": "methods.space_time.xti",
    "XTI": "methods.space_time.xti",
    "NeTI": "methods.space_time.neti",
    "MixedWord": "methods.space_time.mixed_word",
    "Perfusion": "methods.perfusion.perfusion",
    "joint_edit": "methods.perfusion.joint_edit",
    "estimate_covariance": "methods.perfusion.covariance",
    "covariance_of": "methods.perfusion.covariance",
    "DreamBoothLoRA": "methods.baselines.dreambooth_lora",
    "CustomDiffusion": "methods.baselines.custom_diffusion",
    # look inside: cross-attention
    "cross_attention_layers": "conditioning.cross_attention",
    "record_attention": "attention.record",
    "swap_keys_values": "attention.swap",
    "inject_prompts": "attention.swap",
    "attention_on_noised": "attention.grounding",
    "word_grounding": "attention.grounding",
    "attention_against_mask": "attention.grounding",
    # measure
    "load_judges": "evaluation.judges",
    "true_pictures": "world.oracle",
    "score_concept": "evaluation.scores",
    "class_prior_scores": "evaluation.scores",
    "oracle_scores": "evaluation.scores",
    "ConceptScores": "evaluation.scores",
    "fraction_of_oracle": "evaluation.bootstrap",
    "bootstrap_interval": "evaluation.bootstrap",
    "instance_similarity": "evaluation.metrics",
    "clip_image_similarity": "evaluation.metrics",
    "clip_text_similarity": "evaluation.metrics",
    "attribute_accuracy": "evaluation.metrics",
    "prompt_accuracy": "evaluation.metrics",
    "read_attribute": "evaluation.metrics",
    "drift": "evaluation.metrics",
    "drift_by_chance": "evaluation.metrics",
    "single_toy_prompts": "evaluation.prompts",
    "plain_sentences": "evaluation.linear_probe",
    "linear_probe_accuracy": "evaluation.linear_probe",
    # draw figures
    "contact_sheet": "figures.pictures",
    "show_pictures": "figures.pictures",
    "heat_over": "figures.pictures",
    "as_images": "figures.pictures",
    "show_bars": "figures.charts",
    "show_intervals": "figures.charts",
    "show_lines": "figures.charts",
    "show_matrix": "figures.charts",
    "show_flow": "figures.charts",
    # in a notebook
    "setup": "teaching.notebook",
    "report": "teaching.notebook",
    "verdict": "teaching.notebook",
}
_EARLIER_NAMES = {  # still understood
    "exchanged": "swap_keys_values",
    "probe": "inject_prompts",
    "noised_maps": "attention_on_noised",
    "word_overlap": "word_grounding",
    "readable_facts": "linear_probe_accuracy",
    "between": "fraction_of_oracle",
}
_MODULES = {  # reached by their last name alone
    "check": "teaching.check",
    "panels": "teaching.panels",
    "solutions": "teaching.solutions",
    "mapper": "methods.space_time.mapper",
    "rank_one": "methods.perfusion.rank_one",
    "tradeoff": "evaluation.tradeoff",
}
_FOLDERS_AND_FILES = """attention base checkpoints commands concepts conditioning errors
    evaluation figures files method methods pretrain sampling teaching training
    world""".split()

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    name = _EARLIER_NAMES.get(name, name)
    if name in _HOME:
        return getattr(import_quietly(_HOME[name]), name)
    if name in _MODULES or name in _FOLDERS_AND_FILES:
        return import_quietly(_MODULES.get(name, name))
    raise AttributeError(f"module 'perso_lite' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*_HOME, *_MODULES, *_FOLDERS_AND_FILES, "__version__"])


if TYPE_CHECKING:  # for editors: completion, jump to definition, types
    from perso_lite.attention.grounding import (
        attention_against_mask as attention_against_mask,
    )
    from perso_lite.attention.grounding import (
        attention_on_noised as attention_on_noised,
    )
    from perso_lite.attention.grounding import word_grounding as word_grounding
    from perso_lite.attention.record import record_attention as record_attention
    from perso_lite.attention.swap import inject_prompts as inject_prompts
    from perso_lite.attention.swap import swap_keys_values as swap_keys_values
    from perso_lite.base import fingerprint as fingerprint
    from perso_lite.base import load_base as load_base
    from perso_lite.concepts import Concept as Concept
    from perso_lite.concepts import load_concept as load_concept
    from perso_lite.concepts import shipped_concepts as shipped_concepts
    from perso_lite.conditioning.cross_attention import (
        cross_attention_layers as cross_attention_layers,
    )
    from perso_lite.conditioning.tokens import encode_prompts as encode_prompts
    from perso_lite.errors import PersoError as PersoError
    from perso_lite.evaluation.bootstrap import bootstrap_interval as bootstrap_interval
    from perso_lite.evaluation.bootstrap import fraction_of_oracle as fraction_of_oracle
    from perso_lite.evaluation.judges import load_judges as load_judges
    from perso_lite.evaluation.linear_probe import (
        linear_probe_accuracy as linear_probe_accuracy,
    )
    from perso_lite.evaluation.linear_probe import plain_sentences as plain_sentences
    from perso_lite.evaluation.metrics import attribute_accuracy as attribute_accuracy
    from perso_lite.evaluation.metrics import (
        clip_image_similarity as clip_image_similarity,
    )
    from perso_lite.evaluation.metrics import (
        clip_text_similarity as clip_text_similarity,
    )
    from perso_lite.evaluation.metrics import drift as drift
    from perso_lite.evaluation.metrics import drift_by_chance as drift_by_chance
    from perso_lite.evaluation.metrics import instance_similarity as instance_similarity
    from perso_lite.evaluation.metrics import prompt_accuracy as prompt_accuracy
    from perso_lite.evaluation.metrics import read_attribute as read_attribute
    from perso_lite.evaluation.prompts import single_toy_prompts as single_toy_prompts
    from perso_lite.evaluation.scores import ConceptScores as ConceptScores
    from perso_lite.evaluation.scores import class_prior_scores as class_prior_scores
    from perso_lite.evaluation.scores import oracle_scores as oracle_scores
    from perso_lite.evaluation.scores import score_concept as score_concept
    from perso_lite.figures.charts import show_bars as show_bars
    from perso_lite.figures.charts import show_flow as show_flow
    from perso_lite.figures.charts import show_intervals as show_intervals
    from perso_lite.figures.charts import show_lines as show_lines
    from perso_lite.figures.charts import show_matrix as show_matrix
    from perso_lite.figures.pictures import as_images as as_images
    from perso_lite.figures.pictures import contact_sheet as contact_sheet
    from perso_lite.figures.pictures import heat_over as heat_over
    from perso_lite.figures.pictures import show_pictures as show_pictures
    from perso_lite.method import Method as Method
    from perso_lite.method import attached as attached
    from perso_lite.method import inference_parameters as inference_parameters
    from perso_lite.methods import METHODS as METHODS
    from perso_lite.methods import load_method as load_method
    from perso_lite.methods import method_named as method_named
    from perso_lite.methods.baselines.custom_diffusion import (
        CustomDiffusion as CustomDiffusion,
    )
    from perso_lite.methods.baselines.dreambooth_lora import (
        DreamBoothLoRA as DreamBoothLoRA,
    )
    from perso_lite.methods.perfusion.covariance import covariance_of as covariance_of
    from perso_lite.methods.perfusion.covariance import (
        estimate_covariance as estimate_covariance,
    )
    from perso_lite.methods.perfusion.joint_edit import joint_edit as joint_edit
    from perso_lite.methods.perfusion.perfusion import Perfusion as Perfusion
    from perso_lite.methods.space_time.mixed_word import MixedWord as MixedWord
    from perso_lite.methods.space_time.neti import NeTI as NeTI
    from perso_lite.methods.space_time.xti import XTI as XTI
    from perso_lite.methods.space_time.xti import (
        ExtendedTextualInversion as ExtendedTextualInversion,
    )
    from perso_lite.methods.textual_inversion import (
        TextualInversion as TextualInversion,
    )
    from perso_lite.sampling import generate as generate
    from perso_lite.teaching.notebook import report as report
    from perso_lite.teaching.notebook import setup as setup
    from perso_lite.teaching.notebook import verdict as verdict
    from perso_lite.training import TrainingStep as TrainingStep
    from perso_lite.training import fit as fit
    from perso_lite.world.oracle import true_pictures as true_pictures
