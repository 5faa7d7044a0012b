"""M(t, l), the mapper of NeTI: from a timestep and a layer to the vectors of a word.

The point (t, l) becomes waves of random frequencies, then its similarity to each anchor
of a grid over time and layers, then, by a small network, the word:

    e = (sin W(t, l), cos W(t, l)) / |.|        2048 numbers, W drawn once and kept
    a = A e + b                                 one per layer and tenth of time
    h = MLP(a)                                  128 hidden units, cut off behind k
    output = B h + c

(Alaluf et al., 2023; see `neti.py`.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perso_lite.conditioning.restored import restored

HIDDEN = 128  # units that nested dropout and truncation cut


class FourierFeatures(nn.Module):
    """Where a point (timestep, layer) lies, as waves of random frequencies.

    e = (sin W(t, l), cos W(t, l)) / |.| with W drawn once. Two points are as alike as
    they are near: e . e' is about exp(-((sigma_t dt)^2 + (sigma_l dl)^2) / 2).

    Args:
        sigma_time: of the frequencies in t (released code: 0.03, so timesteps 33 apart
            are alike to 0.6).
        sigma_layer: of those in l (released code: 2, so neighbors are strangers).
        frequencies: how many (released code: 1024).
    """

    def __init__(
        self,
        sigma_time: float = 0.03,
        sigma_layer: float = 2.0,
        frequencies: int = 1024,
    ):
        super().__init__()
        drawn = torch.randn(frequencies, 2) * torch.tensor([sigma_time, sigma_layer])
        self.register_buffer("frequencies", drawn)  # random, so it belongs in the file

    def forward(self, points: Tensor) -> Tensor:
        """From points (n, 2) of timestep and layer to (n, 2 * frequencies)."""
        angles = points.float() @ self.frequencies.T  # up to 136 rad: not in half
        return F.normalize(torch.cat([angles.sin(), angles.cos()], dim=-1), dim=-1)


class SpaceTimeMapper(nn.Module):
    """M: from (timestep, layer) to `num_outputs` numbers.

    Args:
        num_layers: cross-attention layers of the U-Net.
        num_outputs: the text encoder's width, twice that with a bypass.
        num_train_timesteps: of the base's schedule.
        sigma_time: see `FourierFeatures`.
        sigma_layer: see `FourierFeatures`.
        time_anchors: times on the grid of anchors (released code: 10).
        nested_dropout: how often units are cut off (released code: 0.5).
        positional_encoding: False for the ablation that feeds t and l as two numbers.
    """

    def __init__(
        self,
        num_layers: int,
        num_outputs: int,
        num_train_timesteps: int = 1000,
        sigma_time: float = 0.03,
        sigma_layer: float = 2.0,
        time_anchors: int = 10,
        nested_dropout: float = 0.5,
        positional_encoding: bool = True,
    ):
        super().__init__()
        self.nested_dropout = nested_dropout
        self.generator: torch.Generator | None = None  # of nested dropout
        if positional_encoding:
            features = FourierFeatures(sigma_time, sigma_layer)
            # a grid of anchors: each output starts as the similarity to one of them
            times = torch.arange(time_anchors) * num_train_timesteps // time_anchors
            grid = torch.cartesian_prod(times, torch.arange(num_layers))
            at_anchors = features(grid)  # (anchors, 2 * frequencies)
            anchors = nn.Linear(at_anchors.shape[1], len(grid))
            anchors.weight = nn.Parameter(at_anchors)
            self.encoding = nn.Sequential(features, anchors)
        else:
            self.encoding = _Scaled(num_train_timesteps, num_layers)
        inputs = len(grid) if positional_encoding else 2
        self.hidden = nn.Sequential(
            nn.Linear(inputs, HIDDEN),
            nn.LayerNorm(HIDDEN),
            nn.LeakyReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.LayerNorm(HIDDEN),
            nn.LeakyReLU(),
        )
        self.output = nn.Linear(HIDDEN, num_outputs)

    @contextmanager
    def drawing_from(self, generator: torch.Generator) -> Iterator[None]:
        """Inside, nested dropout draws from the generator; otherwise, from torch's."""
        with restored() as at_exit:
            at_exit(partial(setattr, self, "generator", self.generator))
            self.generator = generator
            yield

    @torch.no_grad()
    def start_at(self, vector: Tensor) -> None:
        """Let it say nearly one vector (num_outputs,) everywhere, to begin with (ours).

        The usual first weights say something else at every point, in no direction that
        means anything. Here they are a tenth as large and added to the vector, which is
        given the length 6: about what the usual weights give on our base.
        """
        self.output.weight.mul_(0.1)
        self.output.bias.copy_(F.normalize(vector, dim=0) * 6)

    def forward(self, points: Tensor, truncation_idx: int | None = None) -> Tensor:
        """From points (n, 2) of timestep and layer to (n, num_outputs)."""
        hidden = self.hidden(self.encoding(points))  # (n, 128)
        return self.output(self.truncated(hidden, truncation_idx))

    def truncated(self, hidden: Tensor, truncation_idx: int | None) -> Tensor:
        """Nested dropout: keep the first k units, a random k in training.

        In training a coin decides for every point whether its k is drawn from 0 to 127
        (released code: a coin for each layer and step) or all are kept.
        """
        kept = torch.full((len(hidden), 1), HIDDEN)
        if truncation_idx is not None:
            kept.fill_(truncation_idx)
        elif self.training:
            drawn = torch.randint(HIDDEN, kept.shape, generator=self.generator)
            coins = torch.rand(kept.shape, generator=self.generator)
            kept = torch.where(coins < self.nested_dropout, drawn, kept)
        return hidden * (torch.arange(HIDDEN) < kept).to(hidden)


class _Scaled(nn.Module):
    """Timestep and layer as two numbers from -1 to 1, for the ablation."""

    def __init__(self, num_train_timesteps: int, num_layers: int):
        super().__init__()
        self.last = (num_train_timesteps - 1, max(1, num_layers - 1))

    def forward(self, points: Tensor) -> Tensor:
        return points / points.new_tensor(self.last) * 2 - 1
