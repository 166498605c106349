"""Time and memory of one training step of each stage, and of the decoder for both branches in one pass or in two.

python -m scripts.training_step --first-stage PATH_OR_ID --width 32 --image-size 64
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from custom.command_line import Command, Name, PathOrId, Text, WholeNumber, run_command

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from custom.methods import MethodTrainer
    from custom.networks import SemiGDA

__all__ = ["decode_in_two_passes", "main", "measure"]


def decode_in_two_passes(network: SemiGDA, images: Tensor) -> Tensor:
    """The same as `SemiGDA.predict_branches`, with a pass of the decoder for each branch instead of one."""
    import torch

    latents = network.encode_images(images)
    decoded = []
    for latent, adapters, skips in (
        (latents.image_branch, network.image_adapters, latents.image_skips),
        (latents.mask_branch, network.mask_adapters, latents.mask_skips),
    ):

        def merge(level: int, h: Tensor, adapters: object = adapters, skips: list[Tensor] = skips) -> Tensor:
            return h if adapters is None else adapters(level, h, skips[level])

        decoded.append(network.label_codec.decode(network.first_stage.decode(latent, merge)))
    return torch.cat(decoded)


def measure(calls: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that other load affects all in the same way."""
    import torch

    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _trainer_step(trainer: MethodTrainer, batch: dict, iteration: int) -> Callable[[], object]:
    def step() -> object:
        trainer.state.iteration = iteration
        return trainer._iteration(trainer, batch)

    return step


@click.command(cls=Command, help=__doc__.splitlines()[0])
@click.option("--first-stage", type=PathOrId(), required=True, metavar="PATH_OR_ID")
@click.option("--subfolder", type=Text(), metavar="NAME")
@click.option("--width", type=WholeNumber(1, 1024), metavar="N")
@click.option("--image-size", type=WholeNumber(8, 4096), default=224, metavar="PIXELS")
@click.option(
    "--batch", type=WholeNumber(1, 1024), default=2, metavar="N", help="Labelled images, and as many unlabelled ones."
)
@click.option("--amp", is_flag=True)
@click.option("--repeats", type=WholeNumber(1, 100_000), default=5, metavar="N")
@click.option("--device", type=Name(("cpu", "cuda")), metavar="NAME", help="Default: cuda if there is one.")
def command(
    first_stage: str,
    subfolder: str | None,
    width: int | None,
    image_size: int,
    batch: int,
    amp: bool,
    repeats: int,
    device: str | None,
) -> dict[str, object]:
    """Measure."""
    options = dict(locals())
    import torch

    from custom.methods import SemiGDAAlignment, SemiGDASegmentation
    from custom.networks import SemiGDA

    options["device"] = device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    device = torch.device(options["device"])
    network = SemiGDA(first_stage, width=width, subfolder=subfolder).to(device)
    shape = (batch, 3, image_size, image_size)
    images, labels = torch.rand(shape, device=device), (torch.rand(shape, device=device)[:, :1] > 0.8).float()
    pair = {"labelled": {"image": images, "label": labels}, "unlabelled": {"image": torch.rand(shape, device=device)}}
    # any sized iterable: the steps are called one by one
    shared = {"device": device, "max_epochs": 2, "train_data_loader": [pair], "network": network, "amp": amp}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    align = SemiGDAAlignment(**shared)
    sgd = torch.optim.SGD(trainable, lr=1e-4, momentum=0.9)
    segment = SemiGDASegmentation(optimizer=sgd, mixing_start=0.5, **shared)
    both = torch.cat([images, pair["unlabelled"]["image"]])

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=amp)

    def one_pass() -> None:
        with autocast():
            decoded = torch.cat(network.decode_latents(network.encode_images(both)))
        decoded.sum().backward()

    def two_passes() -> None:
        with autocast():
            decoded = decode_in_two_passes(network, both)
        decoded.sum().backward()

    seconds = measure(
        {
            "alignment_step": _trainer_step(align, pair, 1),
            "segmentation_step": _trainer_step(segment, pair, 1),
            "segmentation_step_with_mixing": _trainer_step(segment, pair, 2),
            "decoder_in_one_pass": one_pass,
            "decoder_in_two_passes": two_passes,
        },
        repeats,
        device,
    )
    result = {
        **options,
        "threads": torch.get_num_threads(),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "one_pass_over_two_passes": round(seconds["decoder_in_one_pass"] / seconds["decoder_in_two_passes"], 3),
        "peak_memory_mib": round(
            torch.cuda.max_memory_allocated() / 2**20
            if device.type == "cuda"
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        ),
    }
    print(json.dumps(result, indent=1))
    return result


def main(arguments: list[str] | None = None) -> dict[str, object]:
    """Run the measurement, print it as JSON and return it."""
    return run_command(command, arguments, "python -m scripts.training_step")


if __name__ == "__main__":
    main()
