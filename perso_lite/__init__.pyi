"""The public names, grouped, and where they live: read by editors and by `_lazy.py`."""

# -- the core: a base, a concept, a method, training and drawing ----------------------
from perso_lite.errors import PersoError as PersoError
from perso_lite.base import load_base as load_base, fingerprint as fingerprint
from perso_lite.concepts import (
    Concept as Concept,
    load_concept as load_concept,
    shipped_concepts as shipped_concepts,
)
from perso_lite.method import Method as Method, attached as attached
from perso_lite.sampling import inference_parameters as inference_parameters
from perso_lite.training import fit as fit, TrainingStep as TrainingStep
from perso_lite.sampling import generate as generate
from perso_lite.conditioning.words import encode_prompts as encode_prompts

# -- the methods ----------------------------------------------------------------------
from perso_lite.methods import (
    METHODS as METHODS,
    method_named as method_named,
    load_method as load_method,
)
from perso_lite.methods.textual_inversion import TextualInversion as TextualInversion
from perso_lite.methods.space_time.xti import (
    ExtendedTextualInversion as ExtendedTextualInversion,
    XTI as XTI,
)
from perso_lite.methods.space_time.neti import NeTI as NeTI
from perso_lite.methods.space_time.mixed_word import MixedWord as MixedWord
from perso_lite.methods.catversion.catversion import CatVersion as CatVersion
from perso_lite.methods.textboost.textboost import TextBoost as TextBoost
from perso_lite.methods.celeb_basis.celeb_basis import CelebBasis as CelebBasis
from perso_lite.methods.celeb_basis.basis import build_basis as build_basis
from perso_lite.methods.perfusion.perfusion import Perfusion as Perfusion
from perso_lite.methods.perfusion.joint_edit import joint_edit as joint_edit
from perso_lite.methods.perfusion.covariance import (
    estimate_covariance as estimate_covariance,
    covariance_of as covariance_of,
)
from perso_lite.methods.baselines.dreambooth_lora import (
    DreamBoothLoRA as DreamBoothLoRA,
)
from perso_lite.methods.baselines.custom_diffusion import (
    CustomDiffusion as CustomDiffusion,
)

# -- look inside: cross-attention -----------------------------------------------------
from perso_lite.conditioning.cross_attention import (
    cross_attention_layers as cross_attention_layers,
)
from perso_lite.attention.record import record_attention as record_attention
from perso_lite.attention.swap import (
    swap_keys_values as swap_keys_values,
    inject_prompts as inject_prompts,
)
from perso_lite.attention.grounding import (
    attention_on_noised as attention_on_noised,
    word_grounding as word_grounding,
    attention_against_mask as attention_against_mask,
)
from perso_lite.attention.masks import automatic_mask as automatic_mask

# -- measure --------------------------------------------------------------------------
from perso_lite.evaluation.judges import load_judges as load_judges
from perso_lite.world.oracle import true_pictures as true_pictures
from perso_lite.evaluation.scores import (
    score_concept as score_concept,
    class_prior_scores as class_prior_scores,
    oracle_scores as oracle_scores,
    ConceptScores as ConceptScores,
)
from perso_lite.evaluation.bootstrap import (
    fraction_of_oracle as fraction_of_oracle,
    bootstrap_interval as bootstrap_interval,
)
from perso_lite.evaluation.drift import (
    drift as drift,
    drift_by_chance as drift_by_chance,
)
from perso_lite.evaluation.metrics import (
    instance_similarity as instance_similarity,
    clip_image_similarity as clip_image_similarity,
    clip_text_similarity as clip_text_similarity,
    attribute_accuracy as attribute_accuracy,
    prompt_accuracy as prompt_accuracy,
    read_attribute as read_attribute,
)
from perso_lite.evaluation.prompts import single_toy_prompts as single_toy_prompts
from perso_lite.evaluation.linear_probe import (
    plain_sentences as plain_sentences,
    linear_probe_accuracy as linear_probe_accuracy,
)

# -- draw figures ---------------------------------------------------------------------
from perso_lite.figures.pictures import (
    contact_sheet as contact_sheet,
    show_pictures as show_pictures,
    heat_over as heat_over,
    as_images as as_images,
)
from perso_lite.figures.charts import (
    show_bars as show_bars,
    show_intervals as show_intervals,
    show_lines as show_lines,
    show_matrix as show_matrix,
    show_flow as show_flow,
)

# -- in a notebook --------------------------------------------------------------------
from perso_lite.teaching.notebook import (
    setup as setup,
    report as report,
    verdict as verdict,
    claim as claim,
)

# -- modules that notebooks use, by their last name alone ------------------------------
from perso_lite.teaching import check as check, panels as panels, solutions as solutions
from perso_lite.evaluation import tradeoff as tradeoff
from perso_lite.methods.perfusion import rank_one as rank_one
from perso_lite.methods.space_time import mapper as mapper

__version__: str
