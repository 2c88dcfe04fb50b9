"""Scores of networks whose answers are known."""

import math

import pytest
import torch
from tests.trials import label_edge, transfer_edge
from torch import nn

from graphtrial.contract import Graph, Length, Objective, Training
from graphtrial.evaluation import Evaluator

LABELS = torch.tensor([0, 1, 2, 0])
RIGHT = torch.eye(3)[LABELS] * 2
TRAINING = Training(length=Length(epochs=1))


class Constant(nn.Module):
    """Answers each image with the logits that stand at its place, given as the image itself."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.runs = logits, 0

    def forward(self, images):
        assert not self.training
        self.runs += 1
        return self.logits[images.flatten(1)[:, 0].long()]


def batches():
    """Two batches; an image's only pixel is its index."""
    images = torch.arange(4.0).reshape(4, 1, 1, 1)
    return iter([(images[:3], LABELS[:3]), (images[3:], LABELS[3:])])


def wrong(*positions):
    """Logits that are right but at these positions."""
    logits = RIGHT.clone()
    logits[list(positions)] = logits[list(positions)].roll(1, dims=1)
    return logits


def graph(**changes):
    """Two learners and a frozen teacher."""
    nodes = [{"name": name, "model": "resnet8"} for name in ("1", "2")]
    frozen = {"name": "3", "model": "resnet8", "kind": "Frozen", "weights": {"pretrained": {}}}
    edges = [label_edge("1"), label_edge("2"), transfer_edge("3", "1")]
    return Graph.model_validate({"nodes": [*nodes, frozen], "edges": edges} | changes)


def evaluator(of, logits, training=TRAINING, **objective):
    """One for networks that answer with these logits, and the networks."""
    networks = {name: Constant(output).train() for name, output in logits.items()}
    made = Evaluator(
        of,
        networks,
        batches,
        objective=Objective(**objective),
        training=training,
        device=torch.device("cpu"),
    )
    return made, networks


def test_each_node_is_scored_over_all_batches():
    """Accuracy counts every image once, also of a smaller last batch."""
    evaluate, _ = evaluator(graph(), {"1": wrong(3), "2": wrong(0, 1), "3": RIGHT})
    scores = evaluate()
    assert scores.score == 0.75
    assert {name: scores.nodes[name] for name in "123"} == {"1": 0.75, "2": 0.5, "3": 1.0}


def test_the_best_node_is_never_a_frozen_one():
    """The teacher is always right here and does not count."""
    evaluate, _ = evaluator(graph(), {"1": wrong(0, 1), "2": wrong(3), "3": RIGHT}, score_of="BestNode")
    assert evaluate().score == 0.75


def test_a_node_with_infinite_outputs_has_no_score_and_is_not_the_best():
    """NaN is its accuracy, and the largest finite one wins."""
    broken = RIGHT.clone()
    broken[2, 0] = math.inf
    evaluate, _ = evaluator(graph(), {"1": broken, "2": wrong(0), "3": RIGHT}, score_of="BestNode")
    scores = evaluate()
    assert math.isnan(scores.nodes["1"])
    assert scores.score == 0.75


def test_the_score_of_a_target_with_infinite_outputs_is_no_number():
    """It must not pass for the accuracy of class 0."""
    evaluate, _ = evaluator(graph(), {"1": RIGHT * math.nan, "2": RIGHT, "3": RIGHT})
    assert math.isnan(evaluate().score)


def test_an_ensemble_averages_the_logits_of_all_nodes():
    """Each node errs alone, so two of three outvote it (4.10)."""
    evaluate, _ = evaluator(graph(), {"1": wrong(0), "2": wrong(1), "3": wrong(2)}, score_of="Ensemble")
    scores = evaluate()
    assert (scores.score, scores.nodes["ensemble"]) == (1.0, 1.0)


@pytest.mark.parametrize(("average", "expected"), [("Logits", 0.25), ("Probabilities", 0.5)])
def test_an_ensemble_node_averages_what_it_says_over_its_members(average, expected):
    """One member sure beyond measure of class 1 at image 0 wins by logits, and loses to two others by probability."""
    sure, doubtful = wrong(0, 1, 2), wrong(1, 2)
    sure[0] = torch.tensor([0.0, 100.0, 0.0])
    node = {"name": "mean", "kind": "Ensemble", "members": ["1", "2", "3"], "average": average}
    nodes = [*graph().to_json()["nodes"], node]
    evaluate, _ = evaluator(graph(nodes=nodes), {"1": sure, "2": doubtful, "3": doubtful}, score_of="Ensemble")
    scores = evaluate()
    assert (scores.score, scores.nodes["mean"]) == (expected, expected)


def test_of_several_ensembles_the_target_is_scored():
    """With its own members and its own way of averaging."""
    sure, doubtful = wrong(0, 1, 2), wrong(1, 2)
    sure[0] = torch.tensor([0.0, 100.0, 0.0])
    first = {"name": "first", "kind": "Ensemble", "members": ["1", "2", "3"]}
    second = {**first, "name": "second", "average": "Probabilities"}
    given = graph(nodes=[*graph().to_json()["nodes"], first, second], target="second")
    evaluate, _ = evaluator(given, {"1": sure, "2": doubtful, "3": doubtful}, score_of="Ensemble")
    scores = evaluate()
    assert (scores.score, scores.nodes["first"], scores.nodes["ensemble"]) == (0.5, 0.25, 0.5)


def test_an_ensemble_with_a_member_that_is_not_trained_has_no_score():
    """Its members are then not the graph's ensemble."""
    evaluate, _ = evaluator(graph(), {"1": RIGHT, "3": RIGHT})
    assert set(evaluate().nodes) == {"1", "3"}


def test_frozen_nodes_run_once_however_often_a_trial_is_evaluated():
    """Neither they nor the images change; learners run each time."""
    evaluate, networks = evaluator(graph(), {"1": RIGHT, "2": RIGHT, "3": wrong(0)})
    first, second = evaluate(), evaluate()
    assert first == second
    assert {name: network.runs for name, network in networks.items()} == {"1": 4, "2": 4, "3": 2}


def test_the_metric_asked_for_is_measured_of_every_node_and_the_ensemble():
    """Log loss of uniform outputs is that of guessing, wherever they come from."""
    evaluate, _ = evaluator(graph(), dict.fromkeys("123", torch.zeros(4, 3)), metric="NegativeLogLoss")
    assert evaluate().nodes == pytest.approx(dict.fromkeys(["1", "2", "3", "ensemble"], -math.log(3)))


def test_the_log_loss_of_mean_probabilities_is_that_of_the_mean():
    """Averaged probabilities are no logits: a softmax of them would flatten what the ensemble says (4.1)."""
    outputs = {name: torch.randn(4, 3, generator=torch.Generator().manual_seed(int(name))) for name in "123"}
    node = {"name": "mean", "kind": "Ensemble", "members": ["1", "2", "3"], "average": "Probabilities"}
    nodes = [*graph().to_json()["nodes"], node]
    evaluate, _ = evaluator(graph(nodes=nodes), outputs, score_of="Ensemble", metric="NegativeLogLoss")
    mean = sum(output.double().softmax(1) for output in outputs.values()) / 3
    expected = sum(math.log(mean[sample, label]) for sample, label in enumerate(LABELS.tolist())) / 4
    assert evaluate().score == pytest.approx(expected, abs=1e-6)


def test_frozen_nodes_whose_statistics_drift_run_at_every_evaluation():
    """On batch statistics (spec 10) a frozen network is another one after each update."""
    training = TRAINING.model_copy(update={"frozen_batch_norm": False})
    score, networks = evaluator(graph(), dict.fromkeys("123", RIGHT), training)
    score()
    score()
    assert [network.runs for network in networks.values()] == [4, 4, 4]
