"""What the tests of all methods share: tiny networks, batches, trainers, and a set of images that can be learnt."""

from __future__ import annotations

from typing import NamedTuple

import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from custom.losses import ConsistencyWeight
from custom.methods.trainer import MethodTrainer
from custom.networks import UNet

CPU = torch.device("cpu")
WIDTHS = (4, 8, 8, 8, 8)
WIDTHS_FOR_THREE_CLASSES = (8, 8, 16, 16, 16)  # narrower networks may never see one of the discs
STEP = 0.01


def make_unet(num_classes: int = 2, seed: int = 0, dropout: bool = True, **arguments) -> UNet:
    """A tiny U-Net with random weights, the same for each seed; `dropout=False` makes training mode repeatable.

    Alone in a batch, an image must be larger than 16 x 16: batch normalisation of a single pixel is refused.
    """
    arguments = {"widths": WIDTHS, **arguments}
    if not dropout:
        arguments["dropout"] = (0.0,) * len(arguments["widths"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet(num_classes, **arguments)


def make_batch(
    labelled: int = 2, unlabelled: int = 2, num_classes: int = 2, size: int = 16, strong: bool = False, seed: int = 1
) -> dict[str, dict[str, Tensor]]:
    """A batch as `PairedLoader` makes it, of random numbers; `strong` adds two strong views, random too."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(labelled + unlabelled, 3, size, size, generator=generator)
    labels = torch.randint(num_classes, (labelled, 1, size, size), generator=generator).float()
    strong_images = torch.rand(images.shape, generator=generator) if strong else None
    return _batch(images, labels, strong_images)


def _batch(images: Tensor, labels: Tensor, strong_images: Tensor | None) -> dict[str, dict[str, Tensor]]:
    labelled = len(labels)
    batch = {"labelled": {"image": images[:labelled], "label": labels}}
    if len(images) > labelled:
        batch["unlabelled"] = {"image": images[labelled:]}
    if strong_images is not None:
        for key, views in (("strong_image", strong_images), ("strong_image_2", strong_images**1.5)):  # and a darker one
            batch["labelled"][key] = views[:labelled]
            if "unlabelled" in batch:
                batch["unlabelled"][key] = views[labelled:]
    return batch


def make_trainer(
    trainer_class: type[MethodTrainer],
    network: nn.Module,
    batches: list[dict],
    max_epochs: int = 1,
    learning_rate: float = STEP,
    momentum: float = 0.0,
    **arguments,
) -> MethodTrainer:
    """A trainer on the CPU whose optimiser is plain SGD over all that requires a gradient, unless one is given."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    defaults = {
        "device": CPU,
        "max_epochs": max_epochs,
        "train_data_loader": batches,
        "network": network,
        "optimizer": torch.optim.SGD(parameters, lr=learning_rate, momentum=momentum),
        "consistency_weight": ConsistencyWeight(beta=0.1),
    }
    return trainer_class(**{**defaults, **arguments})


def run(trainer: MethodTrainer, seed: int = 5) -> list[dict]:
    """Run the trainer and return the outputs of its iterations."""
    outputs = []
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda engine: outputs.append(engine.state.output))
    torch.manual_seed(seed)
    trainer.run()
    return outputs


def moved(network_before: nn.Module, network_after: nn.Module) -> set[str]:
    """Names of the parameters that differ. Make `network_before` with `copy.deepcopy` before training."""
    before = dict(network_before.named_parameters())
    return {name for name, parameter in network_after.named_parameters() if not torch.equal(parameter, before[name])}


class Table(nn.Module):
    """Answers every image with the same class probabilities, those of a row of pixels, [pixels][K]."""

    def __init__(self, pixels: list[list[float]]) -> None:
        super().__init__()
        self.num_classes = len(pixels[0])
        self.table = nn.Parameter(torch.tensor(pixels).T[None, :, None].log())

    def logits(self, images: Tensor) -> Tensor:
        return self.table.expand(len(images), -1, -1, -1)


def gradients_of(term: str, trainer: MethodTrainer) -> dict[str, list[bool]]:
    """Run the trainer on a pair of networks; whether each parameter of either gets a gradient from this term alone."""
    reached = {}

    def step(batch, weight):
        loss, terms = trainer.loss(batch, weight)
        terms[term].backward(retain_graph=True)
        for name in ("first", "second"):
            network = getattr(trainer.network, name)
            reached[name] = [parameter.grad is not None for parameter in network.parameters()]
        return loss, terms

    trainer.step = step
    run(trainer)
    return reached


# A set of images that can be learnt


def discs(count: int, num_classes: int = 2, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [N, 3, W, H] with a disc of each foreground class (higher is brighter) on dark noise, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    labels = torch.zeros(count, 1, size, size)
    for image in range(count):
        for index in range(1, num_classes):
            centre = torch.randint(size // 4, 3 * size // 4, (2,), generator=generator)
            radius = torch.randint(size // 6, size // 4 + 1, (1,), generator=generator)
            labels[image, 0][(x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2] = index
    noise = 0.2 * torch.rand(count, 3, size, size, generator=generator)
    return 0.7 * labels / (num_classes - 1) + noise, labels


def disc_batches(num_classes: int = 2, unlabelled: bool = True, strong: bool = False) -> list[dict]:
    """Four batches of 2 + 2 images of discs: four labelled ones, each twice, and eight unlabelled ones.

    Strong images are brighter or darker by up to a third, and noisier.
    """
    images, labels = discs(4, num_classes, seed=1)
    others, _ = discs(8, num_classes, seed=2)
    generator = torch.Generator().manual_seed(3)
    batches = []
    for index in range(4):
        part = slice(2 * (index % 2), 2 * (index % 2) + 2)
        rows = torch.cat([images[part], others[2 * index : 2 * index + 2]]) if unlabelled else images[part]
        strength = 2 / 3 + 2 / 3 * torch.rand(len(rows), 1, 1, 1, generator=generator)
        noisy = rows * strength + 0.1 * torch.rand(rows.shape, generator=generator)
        batches.append(_batch(rows, labels[part], noisy.clamp(0, 1) if strong else None))
    return batches


class Learnt(NamedTuple):
    """What became of a network: mean loss of the first and last epoch, Dice of unseen images, all outputs."""

    first_loss: float
    last_loss: float
    dice: float
    outputs: list[dict]


def dice_of(network: nn.Module, num_classes: int = 2) -> float:
    """Mean Dice of the foreground classes over eight unseen images of discs."""
    images, labels = discs(8, num_classes, seed=9)
    training = network.training
    with torch.no_grad():
        predicted = network.eval()(images).round()
    network.train(training)
    scores = [
        2 * ((predicted == index) & (labels == index)).sum() / ((predicted == index).sum() + (labels == index).sum())
        for index in range(1, num_classes)
    ]
    return float(sum(scores) / len(scores))


def learn(
    trainer_class: type[MethodTrainer],
    network: nn.Module,
    epochs: int = 15,
    learning_rate: float = 0.05,
    num_classes: int = 2,
    strong: bool = False,
    **arguments,
) -> Learnt:
    """Train `network` on the discs (four iterations per epoch) and report its result.

    The learning rate rises over a fifth of the run and then falls to almost nothing. Without this the last weights
    and statistics of the batch normalisation depend on the rounding of the processor.
    """
    batches = disc_batches(num_classes, strong=strong)
    trainer = make_trainer(
        trainer_class, network, batches, epochs, learning_rate=learning_rate, momentum=0.9, **arguments
    )
    schedule = OneCycleLR(trainer.optimizer, learning_rate, total_steps=epochs * len(batches) + 1, pct_start=0.2)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())
    outputs = run(trainer)
    losses = [float(output["loss"]) for output in outputs]
    return Learnt(sum(losses[:4]) / 4, sum(losses[-4:]) / 4, dice_of(network, num_classes), outputs)
