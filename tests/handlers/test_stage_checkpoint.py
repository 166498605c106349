from __future__ import annotations

import copy

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Average
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.transforms import RandFlipd
from torch import nn

from custom.checkpoints import load_checkpoint
from custom.data import PairedLoader
from custom.errors import InputError
from custom.handlers import StageCheckpoint, branch_metrics
from custom.inferers import BranchInferer
from custom.losses import ConsistencyWeight, PseudoLabels, SoftLabelDiceLoss
from custom.methods import SemiGDASegmentation
from custom.optimizers import PolynomialRestarts
from tests.two_processes import in_two_processes

CPU = torch.device("cpu")
OTHER_OPTIMIZER = torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in range(2)], lr=0.1)


class Interrupted(Exception):
    """Stands for a machine that is switched off."""


def interrupt(trainer, event):
    """Let the trainer die at `event`."""

    def die():
        raise Interrupted

    trainer.add_event_handler(event, die)
    with pytest.raises(Interrupted):
        trainer.run()


def make_stage(folder, scores=(0.5, 0.6, 0.7, 0.8), *, validate=True, batches=1, outputs=1, compare=None, **arguments):
    """A stage of one epoch a score: a linear network, and an evaluator that answers with the score of the epoch."""
    torch.manual_seed(0)
    network = nn.Linear(2, outputs)
    item = {"image": torch.ones(3, 2), "label": torch.ones(3, outputs)}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    evaluator = SupervisedEvaluator(
        device=CPU,
        val_data_loader=[item],
        network=network,
        decollate=False,
        key_val_metric={"score": Average(output_transform=lambda _output: scores[trainer.state.epoch - 1])},
        **({} if compare is None else {"metric_cmp_fn": compare}),
    )
    trainer = SupervisedTrainer(
        device=CPU,
        max_epochs=len(scores),
        train_data_loader=[item] * batches,
        network=network,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        decollate=False,
        train_handlers=[ValidationHandler(1, evaluator)] if validate else [],
    )
    objects = {"optimizer": optimizer}
    checkpoint = StageCheckpoint(
        folder, "stage", trainer, evaluator if validate else None, **({"objects": objects} | arguments)
    )
    checkpoint.attach()
    return checkpoint


def weights_after_epochs(checkpoint):
    """Run the stage; the network's weights after every epoch, the first at index 1."""
    weights = [None]
    network = checkpoint.trainer.network
    checkpoint.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: weights.append(copy.deepcopy(network.state_dict()))
    )
    checkpoint.trainer.run()
    return weights


def same(one, other):
    """Whether two nested checkpoints are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def make_segmentation_stage(folder, network):
    """Four epochs of stage 2 with everything random that it has: order, flips, dropout, noise and mixing."""
    generator = torch.Generator().manual_seed(1)
    items = [
        {
            "image": torch.rand(3, 16, 16, generator=generator),
            "label": torch.rand(1, 16, 16, generator=generator).round(),
        }
        for _ in range(5)
    ]
    flip = RandFlipd(["image", "label"], prob=0.5, allow_missing_keys=True)
    unlabelled = [{"image": item["image"]} for item in items]
    loader = PairedLoader(Dataset(items, flip), Dataset(unlabelled, flip), 2, 2, seed=3)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    schedule = PolynomialRestarts(optimizer, total_iterations=8, cycles=3)
    evaluator = SupervisedEvaluator(
        device=CPU,
        val_data_loader=DataLoader(Dataset(items[:2])),
        network=network,
        inferer=BranchInferer(),
        key_val_metric=branch_metrics(["mean"], hausdorff=False),
    )
    trainer = SemiGDASegmentation(
        device=CPU,
        max_epochs=4,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=SoftLabelDiceLoss(),
        consistency_weight=ConsistencyWeight(),
        pseudo_labels=PseudoLabels(),
        train_handlers=[LrScheduleHandler(schedule, epoch_level=False), ValidationHandler(1, evaluator)],
    )
    checkpoint = StageCheckpoint(
        folder, "segmentation", trainer, evaluator, {"optimizer": optimizer, "schedule": schedule}, seed=7
    )
    checkpoint.attach()
    return checkpoint


def test_a_resumed_segmentation_stage_equals_an_uninterrupted_one_bit_for_bit(tmp_path, make_network):
    make_segmentation_stage(tmp_path / "whole", make_network(width=4)).trainer.run()
    interrupted = make_segmentation_stage(tmp_path / "parts", make_network(width=4))
    interrupt(interrupted.trainer, Events.ITERATION_COMPLETED(once=5))
    torch.rand(11)  # another process starts from other random numbers
    resumed = make_segmentation_stage(tmp_path / "parts", make_network(width=4))
    assert resumed.restore()
    assert resumed.trainer.state.epoch == 2
    resumed.trainer.run()
    for name in ("segmentation_checkpoint.pt", "segmentation_best.pt"):
        whole, parts = (load_checkpoint(tmp_path / folder / name) for folder in ("whole", "parts"))
        assert same(whole, parts), name
    assert whole["model"].keys() == resumed.trainer.network.trainable_state_dict().keys()


@pytest.mark.parametrize(
    ("scores", "compare", "best"),
    [((0.3, 0.9, 0.5), None, 2), ((0.3, 0.1, 0.2), lambda current, best: current < best, 2), ((0.5, 0.5), None, 1)],
    ids=["higher is better", "lower is better", "equal is no better"],
)
def test_best_weights_are_those_of_the_best_validation(tmp_path, scores, compare, best):
    checkpoint = make_stage(tmp_path, scores, compare=compare)
    weights = weights_after_epochs(checkpoint)
    assert same(load_checkpoint(checkpoint.best_path)["model"], weights[best])
    assert load_checkpoint(checkpoint.checkpoint_path)["best"] == (scores[best - 1], best)


@pytest.mark.parametrize(
    ("scores", "best"), [((0.9, 0.5, 0.6, 0.7), (0.9, 1)), ((0.5, 0.4, 0.6, 0.3), (0.6, 3))], ids=["before", "after"]
)
def test_the_best_before_an_interruption_is_kept(tmp_path, scores, best):
    weights = weights_after_epochs(make_stage(tmp_path / "whole", scores))
    interrupt(make_stage(tmp_path, scores).trainer, Events.EPOCH_STARTED(once=3))
    resumed = make_stage(tmp_path, scores)
    resumed.restore()
    resumed.trainer.run()
    assert load_checkpoint(resumed.checkpoint_path)["best"] == best
    assert same(load_checkpoint(resumed.best_path)["model"], weights[best[1]])


def test_without_an_evaluator_the_newest_weights_are_the_best(tmp_path):
    checkpoint = make_stage(tmp_path, validate=False)
    interrupt(checkpoint.trainer, Events.EPOCH_STARTED(once=3))
    assert same(load_checkpoint(checkpoint.best_path)["model"], checkpoint.trainer.network.state_dict())


def test_a_stage_that_was_never_validated_keeps_its_last_weights(tmp_path):
    checkpoint = make_stage(tmp_path)
    checkpoint.trainer.remove_event_handler(
        next(handler for handler, *_ in checkpoint.trainer._event_handlers[Events.EPOCH_COMPLETED]),
        Events.EPOCH_COMPLETED,
    )
    weights = weights_after_epochs(checkpoint)
    assert same(load_checkpoint(checkpoint.best_path)["model"], weights[4])


def test_checkpoints_come_at_their_interval_and_at_the_end(tmp_path):
    checkpoint, epochs = make_stage(tmp_path, scores=(0.5,) * 5, interval=2), []

    def record():
        path = checkpoint.checkpoint_path
        epochs.append(load_checkpoint(path)["trainer"]["epoch"] if path.is_file() else None)

    checkpoint.trainer.add_event_handler(Events.EPOCH_COMPLETED, record)
    checkpoint.trainer.run()
    assert epochs == [None, 2, 2, 4, 5]


def test_best_weights_do_not_wait_for_the_interval(tmp_path):
    checkpoint = make_stage(tmp_path, interval=4)
    interrupt(checkpoint.trainer, Events.EPOCH_STARTED(once=2))
    assert checkpoint.best_path.is_file()
    assert not checkpoint.checkpoint_path.is_file()


def test_an_interval_that_cuts_a_better_epoch_off_resumes_to_the_same_best(tmp_path):
    scores = (0.5, 0.6, 0.9, 0.7)
    weights = weights_after_epochs(make_stage(tmp_path / "whole", scores))
    interrupt(make_stage(tmp_path, scores, interval=2).trainer, Events.EPOCH_STARTED(once=4))
    resumed = make_stage(tmp_path, scores, interval=2)
    resumed.restore()
    resumed.trainer.run()
    assert same(load_checkpoint(resumed.best_path)["model"], weights[3])
    assert load_checkpoint(resumed.checkpoint_path)["best"] == (0.9, 3)


def test_there_is_nothing_to_restore_before_the_first_checkpoint(tmp_path):
    checkpoint = make_stage(tmp_path)
    assert checkpoint.restore() is False
    assert checkpoint.trainer.state.epoch == 0


def test_a_stage_is_finished_after_its_last_epoch(tmp_path):
    checkpoint = make_stage(tmp_path)
    assert not checkpoint.finished
    checkpoint.trainer.run()
    resumed = make_stage(tmp_path)
    assert resumed.restore()
    assert resumed.finished


def test_load_best_puts_the_best_weights_into_the_network(tmp_path):
    checkpoint = make_stage(tmp_path, scores=(0.3, 0.9, 0.5))
    weights = weights_after_epochs(checkpoint)
    checkpoint.load_best()
    assert same(dict(checkpoint.trainer.network.state_dict()), dict(weights[2]))


def test_load_best_of_a_stage_that_did_not_run_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint at .*stage_best\.pt"):
        make_stage(tmp_path).load_best()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"scores": (0.5,) * 9}, "its number of epochs is 4, the configuration gives 9"),
        ({"batches": 3}, "its number of iterations per epoch is 1, the configuration gives 3"),
        ({"data": "other"}, "images or labels have changed since it was saved"),
        ({"outputs": 5}, "made with another architecture or optimiser .*size mismatch"),
        ({"objects": {"schedule": nn.Linear(1, 1)}}, r"made with another architecture or optimiser .*'schedule'"),
        ({"objects": {"optimizer": OTHER_OPTIMIZER}}, r"made with another architecture or optimiser .*groups"),
    ],
    ids=["epochs", "iterations", "data", "architecture", "objects", "optimiser"],
)
def test_a_checkpoint_of_other_settings_is_refused_in_one_line(tmp_path, other, reason):
    make_stage(tmp_path, data="its own").trainer.run()
    with pytest.raises(InputError, match=rf"cannot resume .*stage_checkpoint\.pt: {reason}") as error:
        make_stage(tmp_path, **{"data": "its own"} | other).restore()
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("or start another run_name")


def test_a_checkpoint_that_is_cut_short_is_refused_in_one_line(tmp_path):
    checkpoint = make_stage(tmp_path)
    checkpoint.trainer.run()
    checkpoint.checkpoint_path.write_bytes(checkpoint.checkpoint_path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"stage_checkpoint\.pt cannot be read as a checkpoint"):
        checkpoint.restore()


def draws(folder, seed):
    """A random number of each epoch."""
    values, checkpoint = [], make_stage(folder, seed=seed)
    checkpoint.trainer.add_event_handler(Events.EPOCH_STARTED, lambda: values.append(torch.rand(()).item()))
    checkpoint.trainer.run()
    return values


def test_random_numbers_follow_from_seed_and_epoch_alone(tmp_path):
    assert draws(tmp_path, seed=1) == draws(tmp_path, seed=1)
    assert len(set(draws(tmp_path, seed=1) + draws(tmp_path, seed=2))) == 8


def test_the_loader_gets_every_epoch(tmp_path):
    checkpoint, epochs = make_stage(tmp_path), []

    class Loader(list):
        set_epoch = epochs.append

    checkpoint.trainer.data_loader = Loader(checkpoint.trainer.data_loader)
    checkpoint.trainer.run()
    assert epochs == [1, 2, 3, 4]


def test_processes_draw_different_numbers(tmp_path, monkeypatch):
    first = draws(tmp_path, seed=1)
    monkeypatch.setattr("custom.handlers.stage_checkpoint.idist.get_rank", lambda: 1)
    second = draws(tmp_path, seed=1)
    assert len(set(first + second)) == 8
    assert second == draws(tmp_path, seed=1)


def test_one_process_saves_and_all_wait_for_the_files(tmp_path):
    def work():
        checkpoint = make_stage(tmp_path / "shared")
        checkpoint.trainer.run()
        checkpoint.load_best()
        return make_stage(tmp_path / "shared").restore()

    assert in_two_processes(work, tmp_path / "answers") == [True, True]
    names = {file.name for file in (tmp_path / "shared").iterdir()}
    assert names == {"stage_checkpoint.pt", "stage_best.pt"}


def test_a_stage_that_may_grow_continues_for_more_epochs(tmp_path):
    make_stage(tmp_path, scores=(0.5, 0.6)).trainer.run()
    longer = make_stage(tmp_path, scores=(0.5, 0.6, 0.7, 0.4), may_grow=True)
    assert longer.restore()
    assert not longer.finished
    longer.trainer.run()
    assert load_checkpoint(longer.checkpoint_path)["best"] == (0.7, 3)
    assert load_checkpoint(longer.checkpoint_path)["trainer"]["epoch"] == 4


def test_a_stage_that_may_grow_may_not_shrink(tmp_path):
    make_stage(tmp_path).trainer.run()
    with pytest.raises(InputError, match="its number of epochs is 4, the configuration gives 2"):
        make_stage(tmp_path, scores=(0.5, 0.6), may_grow=True).restore()


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path):
    checkpoint = make_stage(tmp_path)
    network = checkpoint.trainer.network
    checkpoint.trainer.add_event_handler(
        Events.EPOCH_STARTED(once=3), lambda: torch.nn.init.constant_(network.bias, float("nan"))
    )
    with pytest.raises(
        InputError, match="stage, epoch 3: the weights of .* are not finite numbers: lower the"
    ) as error:
        checkpoint.trainer.run()
    assert "\n" not in str(error.value)
    resumed = make_stage(tmp_path)
    assert resumed.restore()
    assert resumed.trainer.state.epoch == 2


@pytest.mark.parametrize("kind", ["checkpoint", "best"])
def test_files_of_a_stage_with_weights_that_are_not_finite_are_refused(tmp_path, kind):
    checkpoint = make_stage(tmp_path)
    checkpoint.trainer.run()
    path, name = (checkpoint.checkpoint_path, "network") if kind == "checkpoint" else (checkpoint.best_path, "model")
    content = load_checkpoint(path)
    content[name]["bias"][0] = float("inf")
    torch.save(content, path)
    with pytest.raises(InputError, match="the weights of bias are not finite numbers"):
        checkpoint.restore() if kind == "checkpoint" else checkpoint.load_best()


@pytest.mark.parametrize(
    "content", [[1], {}, {"network": {}, "objects": [], "trainer": {}, "best": 3}, {"model": {}, "architecture": {}}]
)
def test_another_file_in_the_place_of_a_checkpoint_is_one_line(tmp_path, content):
    checkpoint = make_stage(tmp_path)
    torch.save(content, checkpoint.checkpoint_path)
    with pytest.raises(InputError, match=r"cannot resume .*stage_checkpoint\.pt: it ") as error:
        checkpoint.restore()
    assert "\n" not in str(error.value)
