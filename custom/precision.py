"""The precision of forward passes."""

from __future__ import annotations

import torch

__all__ = ["autocast", "computes_in_bfloat16"]


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; without them it is slower than float32, not faster.

    Of CPUs those with AVX512-BF16 or AMX; of CUDA GPUs those from Ampere on. False for other kinds of devices.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return False


def autocast(amp: bool, device: torch.device) -> torch.autocast:
    """A context for forward passes: bfloat16 where it is safe, if `amp` is set and the device computes in it.

    >>> import torch
    >>> from custom.precision import autocast
    >>> with autocast(False, torch.device("cpu")):
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.float32
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=amp and computes_in_bfloat16(device))
