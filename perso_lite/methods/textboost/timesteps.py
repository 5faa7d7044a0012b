"""Which timesteps are trained most: those where the caption matters most.

The less of the picture is left in a noisy latent, the more the prediction depends on
the text. So timesteps are drawn by their signal-to-noise ratio, with

    p_t  ~  max_s logSNR_s - logSNR_t,     SNR_t = abar_t / (1 - abar_t)

and the loss itself is not weighted. (The released code has a switch for this without
effect, and draws uniformly.)
"""

import torch
from torch import Tensor


def snr_probabilities(alphas_cumprod: Tensor) -> Tensor:
    """p_t, (timesteps,) float64; that of the first is 0.

    Args:
        alphas_cumprod: abar_t, the share of the signal's power, (timesteps,).
    """
    signal = alphas_cumprod.double().cpu().clamp(min=2**-24)  # some schedules end at 0
    log_snr = torch.log(signal / (1 - signal))
    weights = log_snr.max() - log_snr
    return weights / weights.sum()
