from __future__ import annotations

import gc

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from custom.error_causes import find_input_error
from custom.errors import InputError


def chained(link):
    """The error that reaches the top when an InputError is raised two levels below."""
    try:
        try:
            try:
                raise InputError("deep")
            except InputError as error:
                link(error)
        except RuntimeError as error:
            link(error)
    except RuntimeError as error:
        return error


def raise_from(error):
    raise RuntimeError("wrapped") from error


def raise_meanwhile(_error):
    raise RuntimeError("wrapped")


@pytest.mark.parametrize("link", [raise_from, raise_meanwhile])
def test_an_input_error_is_found_below_other_errors(link):
    assert str(find_input_error(chained(link))) == "deep"


def test_an_input_error_is_its_own_finding():
    error = InputError("here")
    assert find_input_error(error) is error


@pytest.mark.parametrize("error", [None, ValueError("plain")])
def test_nothing_is_found_where_there_is_no_input_error(error):
    assert find_input_error(error) is None


class NarrowError(InputError):
    pass


@pytest.fixture
def error_of(monkeypatch):
    """The error of the first batch of a loader, without its workers.

    PyTorch waits 5 s for each worker that has failed when its iterator is collected, so less is asked for and the
    iterator is collected at once.
    """
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)

    def first_error(loader):
        with pytest.raises((RuntimeError, ValueError)) as caught:
            next(iter(loader))
        return caught.value.with_traceback(None)

    def collected_error(loader):
        error = first_error(loader)
        gc.collect()
        return error

    return collected_error


def fail(item):
    try:
        raise InputError("the values are no classes")
    except InputError as error:
        raise InputError(f"{item}.png: the values are no classes") from error


def fail_narrowly(item):
    raise NarrowError(f"{item}.png: the values are no classes")


@pytest.mark.parametrize("transform", [fail, fail_narrowly, Compose([fail]), Compose([fail_narrowly])])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_input_error_in_a_data_loader_is_found_with_its_own_words(error_of, transform, workers):
    loader = DataLoader(Dataset(["a", "b"], transform), batch_size=1, num_workers=workers)
    assert str(find_input_error(error_of(loader))) == "a.png: the values are no classes"


def test_another_error_in_a_worker_stays_what_it_is(error_of):
    def fail(item):
        raise RuntimeError("a defect")

    loader = DataLoader(Dataset(["a"], fail), batch_size=1, num_workers=1, multiprocessing_context="fork")
    assert find_input_error(error_of(loader)) is None
