"""Celeb Basis: a new person as a mixture of the names that a model knows.

Yuan, Cun, Zhang, Li, Qi, Wang, Shan and Zheng, "Inserting Anybody in Diffusion Models
via Celeb Basis", NeurIPS 2023 (arXiv:2306.00926).

The idea: the model draws many people by their names, and a name is two tokens, so two
vectors. These span a space of people (`basis.py`), so look for a new one in there: in
each slot k, the mean m of all names plus a weighted sum of p principal directions B,
with weights a of a fixed length:

    v_k = m_k + a_k B_k,        a_k = r l_k h_k / |h_k|

where l_k is how far half of the names are from their mean (ours; paper: 1) and r the
radius. Only the 2 p numbers h are learned, with the denoising loss and from one photo:
freely, or as what one layer makes of a feature f of the face (paper),

    h = LeakyReLU(W f + c)

In prompts the placeholder stands where a name would, and is read as the tokens v_1 v_2.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.base import picture_size
from perso_lite.concepts import Concept
from perso_lite.errors import check_whole
from perso_lite.method import View
from perso_lite.methods.celeb_basis.basis import NameBasis
from perso_lite.methods.celeb_basis.coefficients import CoefficientNetwork, check_source
from perso_lite.methods.celeb_basis.face_encoder import (
    FaceNetwork,
    check_faces,
    checked_encoder,
    feature_of,
    load_face_encoder,
)
from perso_lite.methods.celeb_basis.photo import (
    canvas_views,
    captions_of_kind,
    check_caption,
)
from perso_lite.methods.celeb_basis.released import (
    COEFFICIENTS_FORMAT,
    released_coefficients,
)
from perso_lite.methods.celeb_basis.word_in_basis import WordInBasis

# of the released code; beside them, a basis made `as_released` and 400 steps of 2
RELEASED_SETTINGS = {
    "source": "network", "caption": "face of", "canvas_views": 64, "decay": 0.99,
    "learning_rate": 5e-3 * 1 * 2 * 1,  # its base rate, 1 GPU, a batch of 2
}  # fmt: skip


class CelebBasis(WordInBasis):
    """A person: two vectors in the space of names, 2 p numbers.

    Several people: an instance each, attached together. With the source "network" they
    may share one, `network=first.network`, and be trained in turn, step by step, as
    `fit` is a generator (released code: one network, one person in a sample, too).

    Args:
        base: the frozen pipeline to learn on.
        class_word: the everyday word, "person".
        placeholder_token: the new word; lower case, in angle brackets, no blanks.
        num_components: p, directions of each slot (paper: 512 of 768); default: two
            thirds of the text width, or fewer if the names have fewer.
        source: of the coefficients h. "free": learned themselves (ours; an ablation of
            the paper); "network": predicted from the face by one layer (paper).
        initializer_name: whose coefficients h starts from, two words of one token each;
            default: a random person, as far along each direction as names are.
        training_radius: r while training, 1 where half of the names are nearer to the
            mean (ours: 1; paper: 1, with a basis made `as_released` a length of 1);
            None: the length of h is learned, too.
        radius: r for drawing; None: as while training. 0 is the mean person.
        caption: what is said of the photo. "name": captions without an article, as for
            a name (ours); "neutral": those of the other methods, or the pictures' own;
            "face of": the same with "face of <x> person" (released code).
        canvas_views: how often the photo is pasted on a black canvas, at random sizes,
            places and colors, and learned from so (released code: anew for each sample,
            ours with it: 64); 0: it is learned from as it is (ours).
        decay: of a moving average of the coefficients, which is drawn with in place of
            the last ones (released code: 0.99; ours: 0, none).
        check_face: whether pictures without a face, or with several, are refused;
            default: if our face network knows the pictures of such a base.
        learning_rate: of AdamW (released code: 0.01, of the network; ours: 0.03, in 120
            steps on our base).
        seed: of the first numbers, and of the canvas.
        basis: of names; default: `basis_of(base)`. `save` one of your own, or files
            made with it cannot be read later.
        face_encoder: F; default: ours, for our own base.
        network: to share with another person.

    Raises:
        PersoError: a placeholder the tokenizer would misread or already knows, a basis
            of another text encoder, or none, p above its rank, a name that is not two
            single tokens, no face network where one is needed, a setting out of range.
    """

    name: ClassVar[str] = "celeb_basis"
    SETTINGS = (
        "num_components", "source", "initializer_name", "training_radius", "radius",
        "caption", "canvas_views", "decay", "check_face", "learning_rate", "seed",
    )  # fmt: skip
    PUBLIC_FORMATS = (COEFFICIENTS_FORMAT,)

    def __init__(
        self,
        base: StableDiffusionPipeline,
        class_word: str,
        placeholder_token: str = "<toy>",
        num_components: int | None = None,
        source: str = "free",
        initializer_name: str | None = None,
        training_radius: float | None = 1.0,
        radius: float | None = None,
        caption: str = "name",
        canvas_views: int = 0,
        decay: float = 0.0,
        check_face: bool | None = None,
        learning_rate: float = 0.03,
        seed: int = 0,
        basis: NameBasis | None = None,
        face_encoder: FaceNetwork | None = None,
        network: CoefficientNetwork | None = None,
    ):
        word = (class_word, placeholder_token)
        radii = (training_radius, radius)
        super().__init__(base, *word, num_components, *radii, basis)
        check_source(source, decay)
        check_caption(caption)
        check_whole("canvas_views", canvas_views, 0)
        check_whole("seed", seed, 0, 2**64 - 1)
        self.source, self.initializer_name = source, initializer_name
        self.caption, self.canvas_views = caption, canvas_views
        self.decay, self.check_face = decay, check_face
        self.learning_rate, self.seed = learning_rate, seed
        # F is neither learned nor saved, so it is no part of this module
        encoder = face_encoder or load_face_encoder(base)
        object.__setattr__(self, "face_encoder", encoder)
        self._begin(network)
        self.to(base.device)

    def _begin(self, network: CoefficientNetwork | None) -> None:
        """What learns, and the coefficients that it starts from."""
        start = self.start(self.initializer_name, self.seed)
        if self.source == "free":
            self.weights = nn.Parameter(start)  # h, (2, p)
        else:
            dim = checked_encoder(self.face_encoder).feature_dim
            made = network or CoefficientNetwork(dim, self.num_components, self.seed)
            self.network = made.checked(dim, self.num_components)
            self.register_buffer("feature", torch.zeros(dim))  # f
        if self.source == "network" or self.decay:
            average = self.at_radius(start, self.training_radius)
            self.register_buffer("average", average.clone())  # of a, (2, p)

    def learned(self) -> Tensor:
        """h, (2, p); for drawing the average, if there is one."""
        if hasattr(self, "average") and not self.training:
            return self.average
        return self.weights if self.source == "free" else self.network(self.feature)

    # -- training --------------------------------------------------------------------

    def before_training(self, concept: Concept) -> None:
        """Look at the photo: whether it shows one face, and its feature.

        Raises:
            PersoError: it shows no face, or several.
        """
        known = self.face_encoder is not None
        if known if self.check_face is None else self.check_face:
            check_faces(checked_encoder(self.face_encoder), concept)
        begun = self.training_record.get("steps", 0) > 0
        if self.source == "network" and not begun:
            self.feature.copy_(feature_of(self.face_encoder, concept))
            first = self.network(self.feature).detach()
            self.average.copy_(self.at_radius(first, self.training_radius))

    def captions(self, concept: Concept) -> list[list[str]]:
        """For every picture, the captions to draw from; see `caption`."""
        word, usual = self.placeholder_token, super().captions(concept)
        texts = captions_of_kind(self.caption, word, self.class_word)
        return usual if texts is None else [texts] * len(usual)

    def views(self, concept: Concept) -> list[View]:
        """The photo, or many canvases with it."""
        views = super().views(concept)
        if self.canvas_views == 0:
            return views
        options = (self.canvas_views, picture_size(self.base), self.seed)
        return [pasted for view in views for pasted in canvas_views(view, *options)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What learns, without weight decay (ours; released code: 0.01)."""
        learned = list(self.parameters())
        return [{"params": learned, "lr": self.learning_rate, "weight_decay": 0.0}]

    @torch.no_grad()
    def after_step(self, index: int, captions: list[str], states: Tensor) -> None:
        """The average becomes decay average + (1 - decay) a."""
        if hasattr(self, "average"):
            self.average.lerp_(self.coefficients(), 1 - self.decay)

    # -- files -----------------------------------------------------------------------

    def without_network(self) -> "CelebBasis":
        """The same person as 2 p free numbers, which is what a file should hold."""
        settings = self.settings() | {"source": "free", "decay": 0.0}
        word = (self.class_word, self.placeholder_token)
        person = CelebBasis(
            self.base, *word, **settings, basis=self.basis,
            face_encoder=self.face_encoder,
        )  # fmt: skip
        person.load_state_dict({"weights": self.learned().detach()})
        person.training_record = dict(self.training_record)
        return person

    @classmethod
    def from_released(
        cls,
        path: str | Path,
        base: StableDiffusionPipeline,
        class_word: str = "person",
        placeholder_token: str = "<person>",
        person: int = 0,
        basis: NameBasis | None = None,
    ) -> "CelebBasis":
        """Read coefficients that the released code saved (mode "coefficient").

        Args:
            path: a checkpoint with the coefficients of ten people, or an extracted
                `id_coefficient_000.pt` of one.
            base: the pipeline that they were learned on, Stable Diffusion 1.4.
            class_word: the everyday word.
            placeholder_token: a name for the person.
            person: which of the ten, from 0.
            basis: that of the training, from `released_basis` or `build_basis`; the
                files do not hold it, and on another machine its signs are others.

        Raises:
            PersoError: not such a file, of another size than the basis, or a person
                that was never trained.
        """
        weights = released_coefficients(path, person)  # (2, p)
        options = {"training_radius": None, "caption": "face of", "basis": basis}
        method = cls(base, class_word, placeholder_token, weights.shape[1], **options)
        method.load_state_dict({"weights": weights})
        return method
