"""Time and memory of one training step of each stage, and of the decoder for both branches in one pass or in two.

python -m custom.benchmarks.training_step --first_stage PATH_OR_ID --width 32 --image_size 64
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from custom.engines import AlignmentTrainer, SegmentationTrainer
from custom.losses import ConsistencyWeight, PseudoLabels, SoftLabelDiceLoss
from custom.networks import SemiGDA

__all__ = ["decode_in_two_passes", "main"]


def decode_in_two_passes(network: SemiGDA, images: Tensor) -> Tensor:
    """What `SemiGDA.predict_branches` computes with one pass of the decoder, with one pass for each branch."""
    latents = network.encode_images(images)
    painted = []
    for latent, adapters, skips in (
        (latents.image_branch, network.image_adapters, latents.image_skips),
        (latents.mask_branch, network.mask_adapters, latents.mask_skips),
    ):

        def merge(level: int, h: Tensor, adapters: object = adapters, skips: list[Tensor] = skips) -> Tensor:
            return h if adapters is None else adapters(level, h, skips[level])

        painted.append(network.label_codec.decode(network.first_stage.decode(latent, merge)))
    return torch.cat(painted)


def _measure(calls: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that a disturbance hits all alike."""
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


def _trainer_step(trainer: AlignmentTrainer | SegmentationTrainer, batch: dict, iteration: int) -> Callable[[], object]:
    def step() -> object:
        trainer.state.iteration = iteration
        return trainer._iteration(trainer, batch)

    return step


def main(arguments: list[str] | None = None) -> dict[str, object]:
    """Run the measurement, print it as JSON and return it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first_stage", required=True)
    parser.add_argument("--subfolder")
    parser.add_argument("--width", type=int)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=2, help="labelled images, and as many unlabelled ones")
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    device = torch.device(options.device)
    network = SemiGDA(options.first_stage, width=options.width, subfolder=options.subfolder).to(device)
    shape = (options.batch, 3, options.image_size, options.image_size)
    images, labels = torch.rand(shape, device=device), (torch.rand(shape, device=device)[:, :1] > 0.8).float()
    batch = {"labelled": {"image": images, "label": labels}, "unlabelled": {"image": torch.rand(shape, device=device)}}
    # any sized iterable: the steps are called one by one
    shared = {"device": device, "max_epochs": 2, "train_data_loader": [batch], "network": network, "amp": options.amp}
    shared["consistency_weight"] = ConsistencyWeight()
    sgd = {"lr": 1e-4, "momentum": 0.9}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    align = AlignmentTrainer(
        optimizer=torch.optim.AdamW(network.latent_mapper.parameters()),
        encoder_optimizer=torch.optim.SGD(network.encoder_parameters(), **sgd),
        **shared,
    )
    segment = SegmentationTrainer(
        optimizer=torch.optim.SGD(trainable, **sgd),
        loss_function=SoftLabelDiceLoss(),
        pseudo_labels=PseudoLabels(),
        mixing_start=0.5,
        **shared,
    )
    both = torch.cat([images, batch["unlabelled"]["image"]])

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=options.amp)

    def one_pass() -> None:
        with autocast():
            painted = torch.cat(network.decode_latents(network.encode_images(both)))
        painted.sum().backward()

    def two_passes() -> None:
        with autocast():
            painted = decode_in_two_passes(network, both)
        painted.sum().backward()

    seconds = _measure(
        {
            "alignment_step": _trainer_step(align, batch, 1),
            "segmentation_step": _trainer_step(segment, batch, 1),
            "segmentation_step_with_mixing": _trainer_step(segment, batch, 2),
            "decoder_in_one_pass": one_pass,
            "decoder_in_two_passes": two_passes,
        },
        options.repeats,
        device,
    )
    result = {
        **vars(options),
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


if __name__ == "__main__":
    main()
