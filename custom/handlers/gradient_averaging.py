"""The same network in all processes of a training: weights and gradients are averaged."""

from __future__ import annotations

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from custom.processes import others_needed

__all__ = ["GradientAveraging"]


class GradientAveraging:
    """Ignite handler that keeps the network of a trainer the same in all processes.

    When the trainer starts, the first process sends its weights, new or resumed, to the others. In every step, after
    all backward passes of the step, each gradient becomes its mean over the processes. A step therefore minimises the
    mean of their losses, and the global batch consists of the batches of all processes.

    PyTorch's `DistributedDataParallel` does the same for a network that is called once per step, by its `forward`. Ours
    is called by several methods, with two backward passes per step.

    Batch normalisation uses the statistics of each process' own batch, as in `DistributedDataParallel`. Its running
    mean and variance are averaged too, so that they cover the images of all processes.

    A parameter without gradient in some processes counts as zero there. One without gradient in all processes keeps
    none: an optimiser skips it, while it would apply momentum and weight decay to a zero.

    It can be attached to every trainer: with a single process it registers nothing. Under several processes attach it
    after `join_processes`.
    """

    def attach(self, engine: Engine) -> None:
        """Register with a trainer that has `network` and fires MONAI's `IterationEvents`."""
        if idist.get_world_size() > 1:
            engine.add_event_handler(Events.STARTED, self._share_weights)
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._average)

    def _share_weights(self, engine: Engine) -> None:
        with others_needed():
            for tensor in engine.network.state_dict().values():
                sent = tensor.contiguous()
                dist.broadcast(sent, src=0)
                tensor.copy_(sent)

    @torch.no_grad()
    def _average(self, engine: Engine) -> None:
        tensors = [*_gradients(engine.network), *_running_statistics(engine.network)]
        means = _mean_over_processes(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        for tensor, mean in zip(tensors, means.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def _gradients(network: nn.Module) -> list[Tensor]:
    """Gradients of all parameters that have one in any process, in the same order everywhere."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    has_gradient = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.float32)
    share = _mean_over_processes(has_gradient.to(parameters[0].device))
    chosen = [parameter for parameter, some in zip(parameters, (share > 0).tolist(), strict=True) if some]
    for parameter in chosen:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in chosen]


def _running_statistics(network: nn.Module) -> list[Tensor]:
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    return [statistic for layer in layers for statistic in (layer.running_mean, layer.running_var)]


def _mean_over_processes(values: Tensor) -> Tensor:
    with others_needed():
        dist.all_reduce(values)
    return values / idist.get_world_size()
