"""What a trained network costs: its parameters, and the multiplications of one prediction."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from custom.files import write_whole
from custom.networks import load_model

__all__ = ["Cost", "inference_cost", "kept_cost"]


@dataclass(frozen=True)
class Cost:
    """Cost of the network that predicts.

    Attributes:
        parameters: number of all its parameters.
        trained: of those, the ones that training changes.
        macs: multiply-accumulate operations of its convolutions and matrix products for one image.
    """

    parameters: int
    trained: int
    macs: int


def inference_cost(network: nn.Module, image_size: int) -> Cost:
    """Count for one RGB image of `image_size` x `image_size` pixels. The values of the network are lost."""
    parameters = list(network.parameters())
    counts = sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
    try:
        macs = _count(network.eval().to("meta"), torch.empty(1, 3, image_size, image_size, device="meta"))
    except (RuntimeError, NotImplementedError):  # an operation that depends on values
        macs = _count(network.to_empty(device="cpu"), torch.rand(1, 3, image_size, image_size))
    return Cost(*counts, macs)


def _count(network: nn.Module, images: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops() // 2


def kept_cost(method: str, model: Path, image_size: int, output: Path) -> Cost:
    """The cost of the `model.pt` of a method, counted once and kept in `costs.json` of the output folder."""
    file = output / "costs.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if method not in known:
        known[method] = asdict(inference_cost(load_model(model), image_size))
        write_whole(file, json.dumps(known, indent=1).encode())
    return Cost(**known[method])
