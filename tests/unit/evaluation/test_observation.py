"""What is said of a trial's networks at its end, of real networks on made-up images."""

import io
import json
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image
from tests.trials import label_edge
from torch import nn

from graphtrial.contract import Analysis, Graph, Metric, Precision, model_size
from graphtrial.evaluation import analyse, look, maps_for_umap
from graphtrial.evaluation.analysis import attention_error, mutual_kl, unit_maps
from graphtrial.evaluation.metrics import calibration_error, measure
from graphtrial.evaluation.observation import Seen
from graphtrial.models import build, observe

COUNT, CLASSES, SIDE = 30, 8, 16
MEAN, STD = torch.tensor([0.5]), torch.tensor([0.25])


def graph(*models, **more):
    """Nodes of these models that learn from labels."""
    nodes = [{"name": str(number + 1), "model": model} for number, model in enumerate(models)]
    return Graph.model_validate({"nodes": nodes, "edges": [label_edge(node["name"]) for node in nodes]} | more)


def networks(*models):
    """By node name, with random weights."""
    torch.manual_seed(0)
    return {str(n + 1): build(model, classes=CLASSES, channels=1, image_size=SIDE) for n, model in enumerate(models)}


def images(count=COUNT):
    """Normalised images and labels; classes 0 to 6 in turn."""
    drawn = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return (drawn - 0.5) / 0.25, torch.arange(count) % 7


def batches(count=COUNT):
    """In two parts."""
    pixels, labels = images(count)
    return zip(pixels.split(20), labels.split(20), strict=True)


def seen_of(nets, count=COUNT):
    """What they say."""
    return look(nets, batches(count), precision=Precision.FP32, device=torch.device("cpu"))


def test_all_images_are_seen_once_in_evaluation_mode():
    """Logits and maps are those of one pass over all; statistics of BatchNorm stay."""
    nets = networks("resnet8", "wrn-10-1")
    seen = seen_of(nets)
    with torch.inference_mode():
        for name, network in nets.items():
            assert not network.training
            output = observe(network, images()[0])
            torch.testing.assert_close(seen.logits[name], output.logits, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(seen.maps[name], output.map, rtol=1e-4, atol=1e-5)
    assert seen.labels.tolist() == images()[1].tolist()
    assert list(seen.shown) == [0, 1, 2, 3, 4, 5]


def test_everything_is_said_of_every_node_and_of_all_together():
    """Sizes are the catalogue's; the ensemble's are sums; a class without images has no recall."""
    nets = networks("resnet8", "wrn-10-1", "resnet14")
    seen = seen_of(nets)
    found = analyse(graph("resnet8", "wrn-10-1", "resnet14"), nets, seen, mean=MEAN, std=STD)
    assert (found.images, list(found.outputs)) == (COUNT, ["1", "2", "3", "ensemble"])
    size = model_size("wrn-10-1", classes=CLASSES, channels=1, image_size=SIDE)
    assert (found.outputs["2"].parameters, found.outputs["2"].flops) == (size.parameters, size.flops)
    assert found.outputs["ensemble"].parameters == sum(found.outputs[name].parameters for name in "123")
    assert [len(output.recall) for output in found.outputs.values()] == [CLASSES] * 4
    assert found.outputs["1"].recall[7] is None
    assert [subset.members for subset in found.subsets] == [("1", "2"), ("1", "3"), ("2", "3"), ("1", "2", "3")]
    assert found.subsets[-1].accuracy == pytest.approx(found.outputs["ensemble"].accuracy, abs=1e-6)
    first = found.pairs[0]
    assert first.mutual_kl == pytest.approx(mutual_kl(seen.logits["1"], seen.logits["2"]), rel=1e-5)
    assert first.attention_error == pytest.approx(attention_error(seen.maps["1"], seen.maps["2"]), rel=1e-5)
    assert found.attention_error == pytest.approx(sum(pair.attention_error for pair in found.pairs) / 3)
    assert Analysis.model_validate_json(json.dumps(found.to_json())) == found


def test_together_are_those_that_the_ensemble_node_names():
    """As the score has it: a student is no part of the ensemble that teaches it."""
    nets = networks("resnet8", "wrn-10-1", "resnet14")
    mean = {"name": "mean", "kind": "Ensemble", "members": ["2", "3"], "average": "Probabilities"}
    whole = graph("resnet8", "wrn-10-1", "resnet14")
    of_two = Graph.model_validate(whole.to_json() | {"nodes": [*whole.to_json()["nodes"], mean]})
    seen = seen_of(nets)
    found = analyse(of_two, nets, seen, mean=MEAN, std=STD)
    said = torch.softmax(seen.logits["2"], 1) + torch.softmax(seen.logits["3"], 1)
    right = (said.argmax(1) == seen.labels).double().mean().item()
    assert found.outputs["ensemble"].accuracy == pytest.approx(right, abs=1e-6)
    assert found.outputs["ensemble"].parameters == found.outputs["2"].parameters + found.outputs["3"].parameters
    assert found.subsets[-1].members == ("1", "2", "3")


def test_samples_are_small_pictures_with_a_map_of_each_node():
    """An image as it was before it was normalised, and maps from black to white."""
    nets = networks("resnet8", "wrn-10-1")
    found = analyse(graph("resnet8", "wrn-10-1"), nets, seen_of(nets), mean=MEAN, std=STD)
    assert [sample.label for sample in found.samples] == [0, 1, 2, 3, 4, 5]
    shown = np.asarray(Image.open(io.BytesIO(b64decode(found.samples[0].image))))
    assert shown.tolist() == (images()[0][0, 0] * 63.75 + 127.5).round().byte().tolist()
    heat = np.asarray(Image.open(io.BytesIO(b64decode(found.samples[0].maps["2"]))))
    assert (heat.shape, heat.min(), heat.max()) == ((4, 4), 0, 255)


def test_every_output_is_measured_by_every_metric():
    """As a search that is judged by it would measure it, to six digits; the ensemble too."""
    nets = networks("resnet8", "wrn-10-1")
    seen = seen_of(nets)
    found = analyse(graph("resnet8", "wrn-10-1"), nets, seen, mean=MEAN, std=STD)
    outputs = seen.logits | {"ensemble": torch.stack(list(seen.logits.values())).mean(0)}
    assert found.outputs.keys() == outputs.keys()
    for name, logits in outputs.items():
        told = found.outputs[name]
        everything = {Metric.ACCURACY: told.accuracy} | told.metrics
        assert everything == {m: pytest.approx(measure(m, logits, seen.labels), rel=1e-5) for m in Metric}
        assert told.calibration_error == pytest.approx(calibration_error(logits, seen.labels), rel=1e-5)


def test_a_metric_that_says_nothing_of_so_few_classes_is_left_out():
    """Top-5 accuracy of five classes is 1 whatever is learnt."""
    few = Seen(torch.arange(5), {"1": torch.eye(5)}, {}, {0: torch.zeros(1, SIDE, SIDE)})
    found = analyse(graph("resnet8"), {"1": Plain()}, few, mean=MEAN, std=STD)
    assert set(found.outputs["1"].metrics) == set(Metric) - {Metric.ACCURACY, Metric.TOP5_ACCURACY}


class Plain(nn.Module):
    """A classifier without a map."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.linear = nn.Linear(SIDE * SIDE, CLASSES)
        self.linear.weight.data.mul_(scale)

    def forward(self, pixels):
        return self.linear(pixels.flatten(1))


def test_a_classifier_without_a_map_has_the_rest():
    """No attention error, no samples, no maps for UMAP; beside one that has maps, that one's are shown."""
    alone = {"1": Plain()}
    found = analyse(graph("resnet8"), alone, seen_of(alone), mean=MEAN, std=STD)
    assert (found.samples, found.pairs, list(found.outputs)) == ((), (), ["1"])
    assert maps_for_umap(seen_of(alone)) is None
    both = networks("resnet8") | {"2": Plain()}
    found = analyse(graph("resnet8", "resnet8"), both, seen_of(both), mean=MEAN, std=STD)
    assert (found.pairs[0].attention_error, found.pairs[0].attention_distance) == (None, None)
    assert list(found.samples[0].maps) == ["1"]


def test_a_node_that_has_diverged_is_left_out():
    """A trial can end well without it, where the best node is scored."""
    nets = networks("resnet8") | {"2": Plain(scale=float("nan"))}
    found = analyse(graph("resnet8", "resnet8"), nets, seen_of(nets), mean=MEAN, std=STD)
    assert (list(found.outputs), found.subsets, found.pairs) == (["1"], (), ())


def test_layers_that_nodes_share_are_counted_once_together():
    """The trunk of two branches (ONE) has its parameters once in their ensemble."""
    nets = networks("resnet8", "resnet8")
    nets["2"].lower = nets["1"].lower
    found = analyse(graph("resnet8", "resnet8"), nets, seen_of(nets), mean=MEAN, std=STD)
    trunk = sum(parameter.numel() for parameter in nets["1"].lower.parameters())
    alone = found.outputs["1"].parameters
    assert found.outputs["ensemble"].parameters == found.subsets[0].parameters == 2 * alone - trunk


def test_maps_for_umap_have_one_size_and_norm_one():
    """Those of the larger map are averaged down; every image where there are few."""
    nets = networks("resnet8", "resnet8")
    seen = seen_of(nets)
    twice = seen._replace(
        maps={"1": seen.maps["1"], "2": seen.maps["2"].repeat_interleave(2, 1).repeat_interleave(2, 2)}
    )
    content = maps_for_umap(twice)
    assert content is not None
    loaded = np.load(io.BytesIO(content), allow_pickle=False)
    assert loaded["nodes"].tolist() == ["1", "2"]
    assert loaded["maps"].shape == (2, COUNT, 4, 4)
    np.testing.assert_allclose(loaded["maps"][1], unit_maps(seen.maps["2"]), atol=1e-3)


@pytest.mark.parametrize(("nodes", "classes", "side", "kib"), [(5, 100, 32, 50), (10, 397, 224, 225)])
def test_an_analysis_stays_small(nodes, classes, side, kib):
    """Of noise, which does not compress: five nodes on CIFAR-100, and ten with 1,013 ensembles on SUN397."""
    generator = torch.Generator().manual_seed(0)
    names = [str(number + 1) for number in range(nodes)]
    nets = {name: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes)) for name in names}
    seen = Seen(
        labels=torch.arange(classes),
        logits={name: torch.randn(classes, classes, generator=generator) for name in names},
        maps={name: torch.rand(classes, 14, 14, generator=generator) for name in names},
        shown={place: 2 * torch.rand(3, side, side, generator=generator) - 1 for place in range(6)},
    )
    half = torch.full((3,), 0.5)
    found = analyse(graph(*["resnet8"] * nodes), nets, seen, mean=half, std=half)
    assert len(json.dumps(found.to_json())) / 1024 < kib
