"""Each gate's weight, against numbers worked out by hand."""

import math

import pytest
import torch

from graphtrial.contract import Gate, GateType
from graphtrial.training.gates import Gates

TOTAL_STEPS = 8
LABELS = torch.tensor([0, 1, 2])
# One source that is right and sure, wrong and unsure, right and unsure.
SOURCE = torch.tensor([[[0.9, 0.05, 0.05], [0.5, 0.3, 0.2], [0.25, 0.25, 0.5]]]).log()


def weights(*gates: Gate, update: int = 1, sources: list[int | None] | None = None) -> torch.Tensor:
    """What the gates give, by default all from the one source."""
    compiled = Gates(gates, sources or [0] * len(gates), total_steps=TOTAL_STEPS, device=torch.device("cpu"))
    return compiled.weights(torch.tensor(update), 3, SOURCE, LABELS)


def sine(frequency: float, phase: float) -> Gate:
    """Frequency in periods per training, phase in radians."""
    return Gate(type=GateType.SINE, frequency=frequency, phase=phase)


@pytest.mark.parametrize(
    ("gate", "first", "last"),
    [
        (Gate(type=GateType.THROUGH), 1.0, 1.0),
        (Gate(type=GateType.LINEAR), 1 / 8, 1.0),
        (Gate(type=GateType.NEGATIVE_LINEAR), 7 / 8, 0.0),
        (sine(1.0, 0.0), 0.5 + 0.5 * math.sin(math.pi / 4), 0.5),
        (sine(0.0, math.pi / 2), 1.0, 1.0),
        (sine(0.5, 3 * math.pi / 2), 0.5 - 0.5 * math.cos(math.pi / 8), 1.0),
    ],
    ids=["through", "linear", "negative linear", "sine", "sine that is through", "sine that is a cosine ramp"],
)
def test_gates_of_the_update_weigh_all_samples_alike_from_the_first_update_to_the_last(gate, first, last):
    """K is 1 at the first update and k_end at the last (3.4), (3.6), (5.6), (3.8), (5.7)."""
    for update, expected in ((1, first), (TOTAL_STEPS, last)):
        torch.testing.assert_close(weights(gate, update=update), torch.full((1, 3), expected))


def test_special_cases_of_sine():
    """(3.8): (f, phi) = (0, pi/2) is Through, (0, 3 pi/2) Cutoff, (0.5, 3 pi/2) a half-cosine ramp."""
    for update in range(1, TOTAL_STEPS + 1):
        progress = update / TOTAL_STEPS
        through, cutoff, ramp = (weights(sine(*case), update=update)[0, 0].item() for case in SPECIAL)
        assert through == pytest.approx(1)
        assert cutoff == pytest.approx(0, abs=1e-7)
        assert ramp == pytest.approx(0.5 - 0.5 * math.cos(math.pi * progress), abs=1e-7)
        assert (abs(ramp - progress) < 1e-6) == (progress in (0.5, 1))


SPECIAL = ((0.0, math.pi / 2), (0.0, 3 * math.pi / 2), (0.5, 3 * math.pi / 2))


def test_correct_passes_the_samples_whose_top_class_is_the_label():
    """However unsure the source is (3.7)."""
    assert weights(Gate(type=GateType.CORRECT)).tolist() == [[1.0, 0.0, 1.0]]


def test_threshold_passes_the_samples_of_which_the_source_is_sure_right_or_wrong():
    """Only the largest probability counts (5.8)."""
    assert weights(Gate(type=GateType.THRESHOLD, threshold=0.6)).tolist() == [[1.0, 0.0, 0.0]]
    assert weights(Gate(type=GateType.THRESHOLD, threshold=0.4)).tolist() == [[1.0, 1.0, 1.0]]


def test_threshold_is_compared_strictly():
    """A source exactly as sure as the threshold does not pass (5.8)."""
    half = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64).log()
    gate = Gate(type=GateType.THRESHOLD, threshold=float(half.max().exp()))
    compiled = Gates([gate], [0], total_steps=TOTAL_STEPS, device=torch.device("cpu"))
    assert compiled.weights(torch.tensor(1), 1, half, torch.tensor([0])).tolist() == [[0.0]]


def test_on_a_label_edge_correct_and_threshold_are_through():
    """The one-hot label is always right and always sure, whatever the networks say."""
    gates = (Gate(type=GateType.CORRECT), Gate(type=GateType.THRESHOLD, threshold=0.95))
    assert weights(*gates, sources=[None, None]).tolist() == [[1.0] * 3] * 2


def test_gates_of_many_edges_keep_their_edges():
    """Each edge reads its own source and its own parameters."""
    other = torch.tensor([[[0.1, 0.8, 0.1]] * 3]).log()
    gates = [
        Gate(type=GateType.CORRECT),
        Gate(type=GateType.THRESHOLD, threshold=0.85),
        Gate(type=GateType.LINEAR),
        Gate(type=GateType.CORRECT),
        Gate(type=GateType.THRESHOLD, threshold=0.7),
    ]
    compiled = Gates(gates, [1, 0, 0, 0, 1], total_steps=TOTAL_STEPS, device=torch.device("cpu"))
    found = compiled.weights(torch.tensor(4), 3, torch.cat([SOURCE, other]), LABELS)
    assert found.tolist() == [[0, 1, 0], [1, 0, 0], [0.5, 0.5, 0.5], [1, 0, 1], [1, 1, 1]]


def test_a_long_training_is_counted_exactly():
    """Beyond 2^24 updates, where float32 counts no further, the last but one is still told from the last."""
    total = 2**24 + 1
    compiled = Gates([Gate(type=GateType.NEGATIVE_LINEAR)], [0], total_steps=total, device=torch.device("cpu"))
    assert compiled.weights(torch.tensor(total - 1), 3, SOURCE, LABELS)[0, 0].item() == pytest.approx(1 / total)


def test_a_cut_edge_is_refused():
    """Cutoff is absence (3.5): nothing may spend work on it."""
    with pytest.raises(ValueError, match="Cutoff"):
        weights(Gate(type=GateType.CUTOFF))
