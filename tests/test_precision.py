from __future__ import annotations

import pytest
import torch

from custom.precision import autocast, computes_in_bfloat16

CPU = torch.device("cpu")


def product(amp):
    with autocast(amp, CPU):
        return torch.ones(2, 2) @ torch.ones(2, 2)


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"avx2": True}, False),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),  # it would emulate, at half the speed
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_if_it_has_instructions_for_it(capabilities, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert computes_in_bfloat16(CPU) is fast
    assert product(amp=True).dtype == (torch.bfloat16 if fast else torch.float32)
    assert product(amp=False).dtype == torch.float32


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_computes_in_bfloat16_unless_it_emulates_it(supported, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported or including_emulation)
    assert computes_in_bfloat16(torch.device("cuda")) is supported


def test_other_devices_stay_in_float32():
    assert not computes_in_bfloat16(torch.device("mps"))
