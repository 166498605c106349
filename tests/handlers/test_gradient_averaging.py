from __future__ import annotations

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn

from custom.handlers import GradientAveraging
from tests.two_processes import in_two_processes


class Network(nn.Module):
    """Starts with the number of its process in its weights."""

    def __init__(self, rank):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([10.0 + rank]))
        self.used_by_second = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.unused = nn.Parameter(torch.tensor([3.0]))
        self.frozen = nn.Parameter(torch.tensor([4.0 + rank]), requires_grad=False)
        kernel = torch.arange(16.0).reshape(1, 4, 2, 2) + rank
        self.kernel = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last))
        self.normalisation = nn.BatchNorm1d(1)


def run(network, step):
    """One iteration with the handler: `step` does what is to be done before BACKWARD_COMPLETED."""

    def iterate(engine, _):
        step(network)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)

    engine = Engine(iterate)
    engine.register_events(*IterationEvents)
    engine.network = network
    GradientAveraging().attach(engine)
    engine.run([0])
    return network


def give_gradients_and_statistics(network):
    rank = idist.get_rank()
    network.weight.grad = torch.tensor([(1.0, 4.0)[rank]])
    kernel_gradient = torch.arange(16.0).reshape(1, 4, 2, 2) * (1 - rank)
    network.kernel.grad = kernel_gradient.contiguous(memory_format=torch.channels_last)
    if rank == 1:
        network.used_by_second.grad = torch.tensor([6.0, -8.0])
    network.normalisation.running_mean.fill_((3.0, 5.0)[rank])
    network.normalisation.running_var.fill_((1.0, 2.0)[rank])


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Network and gradients by name of each of two processes after one step."""

    def work():
        network = run(Network(idist.get_rank()), give_gradients_and_statistics)
        return network, {name: parameter.grad for name, parameter in network.named_parameters()}

    return in_two_processes(work, tmp_path_factory.mktemp("step"))


def test_all_processes_start_from_the_first_ones_weights_frozen_ones_too(processes):
    for network, _ in processes:
        assert (network.weight.item(), network.frozen.item()) == (10, 4)
        assert network.kernel.flatten().tolist() == list(range(16))


def test_gradients_become_their_mean(processes):
    for _, gradients in processes:
        assert gradients["weight"].item() == 2.5
        assert gradients["kernel"].flatten().tolist() == [number / 2 for number in range(16)]


def test_a_gradient_missing_in_one_process_counts_as_zero_there(processes):
    assert [gradients["used_by_second"].tolist() for _, gradients in processes] == [[3, -4], [3, -4]]


def test_a_parameter_without_gradient_anywhere_keeps_none(processes):
    assert [(gradients["unused"], gradients["frozen"]) for _, gradients in processes] == [(None, None)] * 2


def test_running_statistics_become_their_mean(processes):
    for network, _ in processes:
        layer = network.normalisation
        assert (layer.running_mean.item(), layer.running_var.item()) == (4, 1.5)


def test_two_halves_of_a_batch_give_the_gradient_of_the_whole(tmp_path):
    torch.manual_seed(0)
    network, x, y = nn.Linear(3, 1), torch.rand(4, 3), torch.rand(4, 1)

    def halves():
        def step(network):
            part = slice(idist.get_rank(), None, 2)
            for column in (0, 1):  # two backward passes, as in training
                error = (network(x[part]) - y[part] - column) ** 2
                error.mean().backward()

        return run(network, step).weight.grad

    first, second = in_two_processes(halves, tmp_path)
    sum(((network(x) - y - column) ** 2).mean() for column in (0, 1)).backward()
    assert torch.equal(first, second)
    assert torch.allclose(first, network.weight.grad)


def test_a_single_process_is_left_alone():
    engine = Engine(lambda engine, batch: None)
    GradientAveraging().attach(engine)
    assert not engine._event_handlers[Events.STARTED]
