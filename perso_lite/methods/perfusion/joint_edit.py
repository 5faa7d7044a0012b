"""The rank-one edits of all concepts attached to one U-Net, made jointly.

Every cross-attention layer projects the text twice: `to_k` and `to_v`. While concepts
are attached, a pre-hook on each removes the concepts' components from the text states,
and a hook adds every concept's target output, scaled by its gate:

    h = W e' + sum_j gate_j o*_j

What is left and the gates are computed once for each call of the U-Net. No weight is
ever written to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import (
    cross_attention_layers,
    shared_by,
    shared_on,
    unet_inputs,
)
from perso_lite.conditioning.restored import restored, take_out
from perso_lite.conditioning.tokens import LearnedTokens
from perso_lite.errors import PersoError
from perso_lite.methods.perfusion.covariance import TextCovariance
from perso_lite.methods.perfusion.global_locking import ClassWordPrompts
from perso_lite.methods.perfusion.rank_one import EDITS

KINDS = ("to_k", "to_v")
KEY = "joint_edit"  # under which the U-Net keeps it
SAME = 1e-5  # two concepts whose cosine is so near to 1 cannot be told apart


class GatedConcept(Protocol):
    """What the edit has to know of a concept (see `perfusion.py`)."""

    placeholder_token: str
    tokens: LearnedTokens
    initializer_token: str
    covariance: TextCovariance
    inverse_covariance: Tensor  # C^-1, (dim, dim)
    target_input: Tensor  # i*, (dim,)
    gate_settings: tuple[float, float]  # beta, tau
    keys_of_class: bool  # global key locking

    def targets(self, kind: str) -> Tensor:
        """o* of all layers in one vector, (sum of widths,).

        Or one for each position of a text, (positions, sum of widths).
        """


Split = tuple[Tensor, Tensor | None, list[GatedConcept]]  # rest, gates, whose gates


class JointEdit:
    """The concepts that are attached to one U-Net, and the hooks that edit it.

    Attributes:
        concepts: in the order in which they were attached.
        edit: a name of `rank_one.EDITS`: "exact", or what it is compared with.
    """

    def __init__(self, base: StableDiffusionPipeline, edit: str = "exact"):
        if edit not in EDITS:
            raise PersoError(
                f'There is no edit "{edit}"; choose from {", ".join(EDITS)}.'
            )
        self.concepts: list[GatedConcept] = []
        self.edit = edit
        self._base = base
        self._splits: dict[str, tuple[Tensor, Split]] = {}
        self._split: dict[str, Split] = {}  # between the two hooks of a projection
        self._class_words = ClassWordPrompts(base)  # for global key locking

    def add(self, concept: GatedConcept) -> None:
        """Let a concept take part.

        Raises:
            PersoError: it was learned on another shape of U-Net, with another C, or its
                i* points where another concept's does.
        """
        width = sum(module.out_features for module, _ in self._projections("to_v"))
        if concept.targets("to_v").shape[-1] != width:
            raise PersoError(
                f"{concept.placeholder_token} has {concept.targets('to_v').shape[-1]} "
                f"values, but the layers of this U-Net take {width}: it was learned on "
                "another architecture. Attach it to the kind of base it was made for."
            )
        for other in self.concepts:
            if other.covariance.fingerprint != concept.covariance.fingerprint:
                raise PersoError(
                    f"{other.placeholder_token} and {concept.placeholder_token} were "
                    "learned with different covariances, so their gates cannot be "
                    "computed together. Train one of them again with the other's."
                )
            _check_apart(other, concept)
        self.concepts.append(concept)

    def _projections(self, kind: str) -> Iterator[tuple[nn.Module, slice]]:
        """The layers' projections, and which part of the targets is theirs."""
        start = 0
        for layer in cross_attention_layers(self._base.unet):
            module = getattr(self._base.unet.get_submodule(layer.name), kind)
            yield module, slice(start, start + module.out_features)
            start += module.out_features

    # -- the hooks -------------------------------------------------------------------

    @contextmanager
    def installed(self) -> Iterator["JointEdit"]:
        """Inside, the layers are edited; yields itself."""
        entered, unet = self._unet_entered, self._base.unet
        with self._class_words.recording(), restored() as at_exit:
            at_exit(unet.register_forward_pre_hook(entered, with_kwargs=True).remove)
            for kind in KINDS:
                for module, part in self._projections(kind):
                    before = partial(self._before_projection, kind)
                    after = partial(self._after_projection, kind, part)
                    at_exit(module.register_forward_pre_hook(before).remove)
                    at_exit(module.register_forward_hook(after).remove)
            yield self

    def _unet_entered(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        states = unet_inputs(args, kwargs).encoder_hidden_states
        self._splits = {}
        if isinstance(states, Tensor):
            values = self._split_of("to_v", states)
            same = not any(concept.keys_of_class for concept in self.concepts)
            keys = values if same else self._split_of("to_k", states)
            self._splits = {"to_k": (states, keys), "to_v": (states, values)}

    def _before_projection(
        self, kind: str, _: nn.Module, args: tuple[Tensor]
    ) -> tuple[Tensor]:
        states, split = self._splits.get(kind, (None, None))
        if states is not args[0]:  # somebody gave this layer a text of its own
            split = self._split_of(kind, args[0])
        self._split[kind] = split
        return (split[0],)

    def _after_projection(
        self, kind: str, part: slice, _: nn.Module, args: tuple, output: Tensor
    ) -> Tensor:
        _, gates, concepts = self._split.pop(kind)
        if gates is None:
            return output
        targets = [concept.targets(kind)[..., part].to(gates) for concept in concepts]
        if all(target.ndim == 1 for target in targets):
            return output + (gates @ torch.stack(targets)).to(output)
        for gate, target, concept in zip(
            gates.unbind(-1), targets, concepts, strict=True
        ):
            _check_positions(concept, target, output.shape[1])
            output = output + (gate[..., None] * target).to(output)
        return output

    def _split_of(self, kind: str, states: Tensor) -> Split:
        """What is left of text states (batch, tokens, dim), and the gates."""
        concepts = list(self.concepts)
        if kind == "to_k":
            by_class = [concept for concept in concepts if concept.keys_of_class]
            if by_class:
                states = self._class_words.instead_of(by_class, states)
            concepts = [concept for concept in concepts if concept not in by_class]
        if not concepts:
            return states, None, []
        # the metric needs all its digits, also where the U-Net computes in half of them
        with torch.autocast(states.device.type, enabled=False):
            plain = states.float()
            inputs = torch.stack([concept.target_input for concept in concepts])
            inverse = concepts[0].inverse_covariance
            beta, tau = torch.tensor([c.gate_settings for c in concepts]).T
            numbers = (number.to(plain) for number in (inputs, inverse, beta, tau))
            rest, gates = EDITS[self.edit](plain, *numbers)
        return rest.to(states.dtype), gates, concepts


def _check_positions(concept: GatedConcept, target: Tensor, tokens: int) -> None:
    """Refuse texts of another length than the concept has an o* for each position."""
    if target.ndim == 2 and len(target) != tokens:
        raise PersoError(
            f"{concept.placeholder_token} has values for {len(target)} positions of a "
            f"text, but this one has {tokens}: draw it with prompts of one length, on "
            "the base it was learned on."
        )


def _check_apart(one: GatedConcept, other: GatedConcept) -> None:
    """Refuse two concepts whose i* are parallel: no gate could tell them apart."""
    inputs = torch.stack([one.target_input.cpu(), other.target_input.cpu()])
    gram = inputs @ one.covariance.inverse @ inputs.T  # (2, 2)
    cosine = gram[0, 1] / (gram[0, 0] * gram[1, 1]).sqrt()
    if abs(cosine) >= 1 - SAME:
        raise PersoError(
            f"{one.placeholder_token} and {other.placeholder_token} answer to the same "
            "text state (their i* are parallel), so no gate can tell them apart. Train "
            "them first, or give them different class words."
        )


@contextmanager
def joint_edit(
    base: StableDiffusionPipeline, edit: str = "exact"
) -> Iterator[JointEdit]:
    """Inside, the concepts attached to `base` are edited in the way named.

    `with joint_edit(base, "rome"), attached(base, one, other): ...` compares; without
    it, concepts are edited exactly.

    Raises:
        PersoError: there is no such edit, or concepts are attached already.
    """
    if shared_by(base.unet, KEY) is not None:
        raise PersoError(
            "Concepts are attached to this base already, so it is late to choose how "
            "they are edited: enter joint_edit first, then attach."
        )
    with shared_on(base.unet, KEY, JointEdit(base, edit).installed) as created:
        yield created


@contextmanager
def joined_edit(base: StableDiffusionPipeline, concept: GatedConcept) -> Iterator[None]:
    """Inside, a concept takes part in the edit of `base`.

    Raises:
        PersoError: it cannot; see `JointEdit.add`.
    """
    installed = JointEdit(base).installed
    with shared_on(base.unet, KEY, installed) as edit, restored() as at_exit:
        at_exit(partial(take_out, edit.concepts, concept))
        edit.add(concept)
        yield
