"""How cores and GPUs are divided."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphsearch.local.machine import Machine, Slot, _gpus
from graphtrial.contract import Device


def test_cores_are_divided_evenly():
    """Two trials on four cores have two each, and none is shared."""
    machine = Machine(cpus=(0, 1, 4, 5))
    assert machine.threads(2) == 2
    assert machine.slots(2, 2) == [Slot((0, 1)), Slot((4, 5))]


def test_more_trials_than_cores_share_them_in_turn():
    """Three trials on two cores: one thread each, the third shares the first core."""
    machine = Machine(cpus=(0, 1))
    assert machine.threads(3) == 1
    assert machine.slots(3, 1) == [Slot((0,)), Slot((1,)), Slot((0,))]


def test_each_trial_gets_a_gpu_of_its_own_while_there_are_some():
    """With GPUs they are the slots, and trials beyond them share."""
    machine = Machine(cpus=(0, 1, 2, 3), gpus=("0", "1"))
    assert machine.device is Device.CUDA
    assert machine.default_parallel() == 2
    assert [slot.gpu for slot in machine.slots(3, 1)] == ["0", "1", "0"]


@pytest.mark.parametrize(
    ("visible", "there", "found"),
    [
        (None, ("nvidia0", "nvidia1", "nvidiactl"), ("0", "1")),
        ("1", ("nvidia0", "nvidia1"), ("1",)),
        ("", ("nvidia0",), ()),
        ("-1", ("nvidia0",), ()),
        ("0", (), ()),
    ],
)
def test_visible_gpus(tmp_path: Path, visible: str | None, there: tuple[str, ...], found: tuple[str, ...]):
    """CUDA_VISIBLE_DEVICES chooses among the devices that are there."""
    for name in there:
        (tmp_path / name).touch()
    assert _gpus(visible, tmp_path) == found
