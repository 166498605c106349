"""Diffusion of a latent in a few steps: adding noise, and sampling with a network that predicts the clean latent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from custom.errors import InputError

__all__ = ["LatentDiffusion"]

SOLVERS = {"ddim": "dpmsolver++", "ddpm": "sde-dpmsolver++"}
"""diffusers' names of the samplers: of first order, DPM-Solver++ is DDIM and its SDE is DDPM's ancestral sampling."""


class LatentDiffusion:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, with abar of the cosine schedule; x_0 is predicted (DiffRect).

    Sampling starts from pure noise at step T - 1 and passes `sampling_steps` steps, spread evenly down to step 0: two
    of ten are 9 and 0. What is predicted at step 0 is the sample. diffusers' `DDIMScheduler` would go from 9 to 4;
    hence the first-order DPM-Solver++, which is DDIM with eta = 0 (as in the released code) and takes any steps.

    Args:
        steps: T, from which training draws uniformly; 10 in the released code.
        sampling_steps: steps of sampling, from 1 to T; 2 in the released code, T in the paper.
        sampler: "ddim", without noise (released code), or "ddpm", with noise in every step (paper).
        clip: clip predictions of x_0 to [-1, 1] while sampling, as the released code does. The latents it is trained on
            have no such range.
        beta_schedule: diffusers' name of the schedule: the cosine one, or "linear" from 1e-4 to 0.02.

    Attributes:
        sampling: the steps of sampling, the noisiest first.

    Raises:
        InputError: unknown sampler, or number of sampling steps out of range.
    """

    def __init__(
        self,
        steps: int = 10,
        sampling_steps: int = 2,
        sampler: str = "ddim",
        clip: bool = False,
        beta_schedule: str = "squaredcos_cap_v2",
    ) -> None:
        if sampler not in SOLVERS:
            raise InputError(f"sampler {sampler!r}: choose 'ddim' or 'ddpm'")
        if not 1 <= sampling_steps <= steps:
            raise InputError(f"sampling_steps {sampling_steps}: give 1 to diffusion_steps, which is {steps}")
        self.clip = clip
        self.sampling = np.linspace(steps - 1, 0, sampling_steps).round().astype(int).tolist()
        self.schedule = DDPMScheduler(num_train_timesteps=steps, beta_schedule=beta_schedule)
        self.solver = DPMSolverMultistepScheduler(
            num_train_timesteps=steps,
            beta_schedule=beta_schedule,
            prediction_type="sample",
            algorithm_type=SOLVERS[sampler],
            solver_order=1,
            final_sigmas_type="zero",
        )

    def add_noise(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """A clean latent [B, C, H, W] -> noisy ones at random steps, and these steps [B], integers in [0, T - 1]."""
        steps = torch.randint(self.schedule.config.num_train_timesteps, latent.shape[:1], device=latent.device)
        return self.schedule.add_noise(latent, torch.randn_like(latent), steps), steps

    @torch.no_grad()
    def sample(self, denoise: Callable[[Tensor, Tensor], Tensor], noise: Tensor) -> Tensor:
        """Noise [B, C, H, W] -> a clean latent.

        Args:
            denoise: predicts the clean latent from a noisy one [B, C, H, W] and its steps [B].
            noise: standard normal, float32.
        """
        self.solver.set_timesteps(timesteps=self.sampling)
        latent = noise
        for step in self.solver.timesteps:
            clean = denoise(latent, step.to(noise.device).expand(len(noise))).float()
            clean = clean.clamp(-1, 1) if self.clip else clean
            latent = self.solver.step(clean, step, latent).prev_sample
        return latent
