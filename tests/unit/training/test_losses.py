"""Losses per edge and sample, against numbers worked out by hand."""

import math

import pytest
import torch

from graphtrial.training.losses import cosine, cross_entropy, kl_divergence, log_probabilities, pseudo_label


def test_cross_entropy_is_the_surprise_at_the_true_class():
    """One value for each edge and sample (3.1)."""
    log_p = torch.tensor([[[0.5, 0.5], [0.25, 0.75]], [[0.1, 0.9], [1.0, 0.0]]]).log()
    expected = -torch.tensor([[0.5, 0.75], [0.1, 0.0]]).log()
    torch.testing.assert_close(cross_entropy(log_p, torch.tensor([0, 1])), expected)


def test_divergence_runs_from_the_source_to_the_destination():
    """KL(p_s || p_t), which differs from KL(p_t || p_s) (3.1)."""
    source, destination = (torch.tensor([[p]]).log() for p in ([0.9, 0.1], [0.5, 0.5]))
    found = kl_divergence(source, destination, torch.ones(1))
    assert found.item() == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))


def test_temperature_softens_the_logits_and_its_square_multiplies_the_loss():
    """Each edge has its own temperature (2.5)."""
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]])
    temperatures = torch.tensor([1.0, 4.0])
    source = torch.stack([log_probabilities(logits[:1], t[None])[0] for t in temperatures])
    destination = torch.stack([log_probabilities(logits[1:], t[None])[0] for t in temperatures])

    def by_hand(temperature: float) -> float:
        p = 1 / (1 + math.exp(-2 / temperature))
        return temperature**2 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))

    found = kl_divergence(source, destination, temperatures)
    torch.testing.assert_close(found, torch.tensor([[by_hand(1.0)], [by_hand(4.0)]]))


def test_cosine_is_of_the_probability_vectors():
    """(4.7): 1 for equal ones, their normalised inner product else."""
    source, destination = (torch.tensor([[p]]).log() for p in ([0.6, 0.4], [0.1, 0.9]))
    expected = (0.06 + 0.36) / math.sqrt(0.52 * 0.82)
    assert cosine(source, destination).item() == pytest.approx(expected)
    assert cosine(source, source).item() == pytest.approx(1.0)


def test_a_pseudo_label_is_the_top_class_of_a_source_that_is_sure_enough():
    """(5.4) for a threshold below every probability; (5.5) compares strictly and leaves the others at zero."""
    source = torch.tensor([[[0.75, 0.25], [0.5, 0.5]]], dtype=torch.float64).log()
    destination = torch.tensor([[[0.2, 0.8], [0.3, 0.7]]], dtype=torch.float64).log()
    every = pseudo_label(source, destination, torch.tensor([-1.0]))
    assert every[0].tolist() == pytest.approx([-math.log(0.2), -math.log(0.3)])
    at = float(source[0, 0, 0].exp())
    assert pseudo_label(source, destination, torch.tensor([at]).double()).tolist() == [[0.0, 0.0]]
    sure = pseudo_label(source, destination, torch.tensor([0.6]))
    assert sure[0].tolist() == pytest.approx([-math.log(0.2), 0.0])


def test_label_smoothing_spreads_its_share_over_all_classes():
    """A tenth of the target lies on both of two classes, the true one included."""
    log_p = torch.tensor([[[0.8, 0.2]]]).log()
    expected = -0.95 * math.log(0.8) - 0.05 * math.log(0.2)
    assert cross_entropy(log_p, torch.tensor([0]), 0.1).item() == pytest.approx(expected)


def test_bfloat16_logits_are_softened_in_float32():
    """Their own arithmetic would keep two digits of the losses."""
    log_p = log_probabilities(torch.tensor([[[3.0, 1.0, -2.0]]], dtype=torch.bfloat16), torch.ones(1))
    assert log_p.dtype == torch.float32
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-6)


def test_a_class_that_is_all_but_impossible_keeps_its_gradient():
    """A constant inside the logarithm, as in the authors' code, would hide a class below it."""
    destination = torch.tensor([[[0.0, -60.0]]], requires_grad=True)
    loss = cross_entropy(log_probabilities(destination, torch.ones(1)), torch.tensor([1]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(60.0)
    assert destination.grad[0, 0].tolist() == pytest.approx([1.0, -1.0])
