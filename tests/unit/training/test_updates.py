"""Updates of the real loop against Algorithm 1 as it is written: all nodes from one forward pass, then the averages."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace

import torch
from tests.builders import a_graph
from tests.reference.step import Step, averaged
from tests.trials import training, trial_spec
from tests.unit.training.random_graphs import networks_of, views_of
from tests.unit.training.test_step_against_reference import assert_agree, compiled, images_of
from torch import Tensor, nn

from graphtrial.contract import ExitCode, NodeKind, TrialSpec
from graphtrial.training.averages import MovingAverages
from graphtrial.training.checkpoint import Machine
from graphtrial.training.loop import Parts, Training
from graphtrial.training.sgd import Sgd
from graphtrial.training.state import State
from graphtrial.training.timetable import Timetable

UPDATES, TOTAL, RATE, MOMENTUM, DECAY = 3, 40, 0.3, 0.9, 0.01
GRAPH = (
    a_graph()
    .trained("1")
    .trained("2")
    .ema("3", follows="1", decay=0.5)
    .label("1")
    .label("2", "Linear")
    .transfer("2", "1", "NegativeLinear")
    .transfer("1", "2", loss="ProbabilityApart")
    .transfer("3", "2")
    .obj()
)
"""Two nodes that teach one another, and the average of one, which teaches too."""


def as_it_is_written(networks: Mapping[str, nn.Module], plan, views, labels) -> dict[str, Mapping[str, Tensor]]:
    """All weights and statistics after the updates; Nesterov's momentum as Sutskever et al. (2013) have it in torch."""
    plain = Step(GRAPH, networks, plan, TOTAL)
    velocity: dict[tuple[str, str], Tensor] = {}
    for update in range(1, UPDATES + 1):
        gradients = plain.gradients(plain.node_losses(views, labels.tolist(), update))
        for name, values in gradients.items():
            parameters = dict(networks[name].named_parameters())
            for key, gradient in values.items():
                slope = gradient + DECAY * parameters[key].detach()
                velocity[name, key] = MOMENTUM * velocity.get((name, key), torch.zeros_like(slope)) + slope
                parameters[key].data -= RATE * (slope + MOMENTUM * velocity[name, key])
        for node in GRAPH.nodes:
            if node.kind is NodeKind.EMA:
                followed = averaged(networks[node.name], networks[node.follows], node.decay)
                networks[node.name].load_state_dict(followed)
    return {name: network.state_dict() for name, network in networks.items()}


def test_updates_of_the_loop_are_those_of_algorithm_1(tmp_path):
    """Algorithm 1, steps 2 to 5: every L_t of one forward pass, all nodes at once, and EMA nodes after them (5.2)."""
    plan = training(
        length={"steps": TOTAL},
        evaluateEvery={"steps": TOTAL},
        learningRate=RATE,
        momentum=MOMENTUM,
        weightDecay=DECAY,
        schedule={"type": "Constant"},
    )
    spec = TrialSpec.model_validate(trial_spec(tmp_path, graph=GRAPH.to_json(), training=plan))
    networks, (views, labels) = networks_of(GRAPH, 0), views_of(GRAPH, 0)
    expected = as_it_is_written(copy.deepcopy(networks), spec.training, views, labels)
    step = compiled(GRAPH, networks, spec.training, update=1)
    state, saved = State(), []
    parts = Parts(
        spec,
        subject="",
        machine=Machine(torch="", threads=1, processor=""),
        images="",
        timetable=Timetable.of(spec, steps_per_epoch=1),
        networks=networks,
        step=step,
        sgd=Sgd([[networks[name]] for name in step.names], spec.training),
        projection=None,
        averages=MovingAverages(GRAPH, networks),
        feed=SimpleNamespace(images=lambda _: images_of(views, labels, GRAPH)),
        evaluator=None,
        outbox=SimpleNamespace(save=saved.append),
        exposition=SimpleNamespace(),
    )
    assert Training(parts, state, None).run(lambda: state.step == UPDATES) is ExitCode.STOPPED
    (snapshot,) = saved
    assert snapshot.networks.keys() == expected.keys()
    for name, weights in expected.items():
        assert_agree(snapshot.networks[name], weights, 1e-9)
