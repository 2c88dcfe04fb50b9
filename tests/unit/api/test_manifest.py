"""Manifests as text: what kubectl would read, what is refused and where, what comes back when written."""

from __future__ import annotations

import pytest
import yaml

from graphsearch.api import ManifestError, read_manifest, write_manifest
from graphsearch.api.manifest import parse_manifest
from graphtrial.contract import GateType

DESIGN = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch                       # short gs
metadata: {name: three-resnets}
spec:
  objective: {scoreOf: TargetNode, metric: Accuracy, goal: 0.78}
  data:
    {dataset: CIFAR100, uri: "s3://data/cifar100", searchValidation: {count: 10000}, labelled: {count: 400, seed: 0}}
  space:
    nodes: 3
    targetModels: [resnet32]
    auxiliaryModels: [resnet32, resnet110, wrn-28-2]
    isolatedNodes: Pretrained
    edges:
      - {kind: Label,    gates: [Through, Cutoff, Linear, Correct]}
      - {kind: Transfer, losses: [KL], gates: [Through, Cutoff, Linear, Correct]}
      - {from: "2", to: "1", losses: [KL], gates: [Linear]}
      - {kind: Self, losses: [Consistency, PseudoLabel], gates: [Threshold]}
      - {from: "1", to: "3", ema: true, gates: [Through]}
    gateParameters: {sine: {frequency: {min: 0, max: 1}, phase: {min: 0, max: 4.712389}}, threshold: {above: 0.95}}
    attention: {crops: [3, 5, 7]}
  training: {preset: CIFAR, length: {epochs: 200}, evaluateEvery: {epochs: 1}, batchSize: 64, precision: FP32}
  scheduler: {asha: {mode: Stopping, firstRung: 1, reductionFactor: 2}}
  sampler: {type: Random}
  budget: {maxTrials: 1500, parallelTrials: 30, maxFailedTrials: 50, maxGpuHours: 400, deadlineSeconds: 604800}
  comparison: {finalists: 3, repeats: 5, baselines: [Independent, MutualLearning, Distillation, AllThrough]}
  trainer:
    image: "registry.example/graphsearch-trainer:1.0"
    resources: {limits: {nvidia.com/gpu: 1}}
    queueName: research
    cacheVolume: {claimName: data}
    nodeSelector: {zone: a}
    tolerations: [{key: gpu, operator: Exists}]
    imagePullSecrets: [{name: pull}]
    env: [{name: A, value: b}]
    serviceAccountName: trainer
    startDeadlineSeconds: 600
  checkpoint: {uri: "s3://searches", endpoint: "https://s3", credentialsSecretRef: {name: s3}, every: {epochs: 1}}
  metrics: {source: Direct, fallback: None}
  compression: {student: resnet32, temperatures: [1, 2]}
  seed: 0
  ttlSecondsAfterFinished: 604800
  desiredState: Running
"""

LEAST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: s}
spec:
  data: {dataset: digits}
  space: {nodes: 1, targetModels: [resnet8], edges: [{kind: Label, gates: [Through]}]}
"""

FIXED = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: s}
spec:
  data: {dataset: digits}
  graphs:
    - name: first
      nodes: [{name: a, model: resnet8}]
      edges: [{source: Label, destination: a, loss: {type: CrossEntropy}}]
    - name: second
      target: b
      nodes:
        - {name: a, kind: Frozen, model: resnet8, weights: {node: {graph: first, node: a}}}
        - {name: b, model: resnet8}
        - {name: mean, kind: Ensemble, members: [a, b], average: Probabilities}
      edges:
        - {source: Label, destination: b, loss: {type: CrossEntropy}}
        - {source: a, destination: b, loss: {type: KL, temperature: 2}, gate: {type: Sine, frequency: 0.5, phase: 1}}
"""


@pytest.mark.parametrize("text", [DESIGN, LEAST, FIXED], ids=["design", "least", "fixed"])
def test_a_manifest_written_and_read_is_the_same(text):
    """Nothing of what was read gets lost, and defaults are left out."""
    search = parse_manifest(text)
    written = write_manifest(search)
    assert parse_manifest(written) == search
    assert write_manifest(parse_manifest(written)) == written


def test_the_whole_example_of_the_design_is_understood():
    """Some fields of each part arrive where they belong."""
    spec = parse_manifest(DESIGN).spec
    assert (spec.objective.goal, spec.data.labelled.count, spec.budget.max_gpu_hours) == (0.78, 400, 400.0)
    assert spec.space.edges[2].source == "2"
    assert spec.space.edges[3].gates == (GateType.THRESHOLD,)
    assert spec.trainer.resources.limits == {"nvidia.com/gpu": 1}
    assert (spec.metrics.fallback, spec.checkpoint.credentials_secret_ref.name) == ("None", "s3")


def changed(path, value, text=LEAST):
    """A manifest with one field set; without it where the value is ``...``."""
    manifest = yaml.safe_load(text)
    *way, last = path.split("/")
    place = manifest
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return yaml.safe_dump(manifest)


KL_ONLY = {"kind": "Transfer", "gates": ["Linear"]}
ATTENTIVE = {
    "nodes": 2,
    "targetModels": ["resnet8"],
    "auxiliaryModels": ["resnet8"],
    "edges": [{"kind": "Label", "gates": ["Through"]}, KL_ONLY | {"losses": ["KL", "Together"]}],
}
MANY = {
    "nodes": [{"name": str(n), "model": "resnet8"} for n in range(9)],
    "edges": [{"source": "Label", "destination": str(n), "loss": {"type": "CrossEntropy"}} for n in range(9)],
}
WRONG = [
    (changed("spec/sed", 1), "spec.sed: unknown field; check its spelling and where it stands"),
    (changed("spec/data", ...), "spec.data: is required and missing"),
    (changed("spec/data/dataset", 3), "spec.data.dataset: Input should be a valid string (given: 3)"),
    (changed("spec/seed", "5"), "spec.seed: Input should be a valid integer (given: '5')"),
    (changed("spec/budget/maxTrials", True), "spec.budget.maxTrials: Input should be a valid integer (given: True)"),
    (changed("spec/budget/maxTrials", 1.5), "spec.budget.maxTrials: Input should be a valid integer (given: 1.5)"),
    (
        changed("spec/budget/parallelTrials", 0),
        "spec.budget.parallelTrials: Input should be greater than or equal to 1 (given: 0)",
    ),
    (
        changed("spec/scheduler/asha/mode", "stopping"),
        "spec.scheduler.asha.mode: Input should be 'Stopping' or 'Promotion' (given: 'stopping')",
    ),
    (changed("spec/space", ...), "spec: give either space (graphs are drawn) or graphs (a fixed list)"),
    (changed("spec/graphs", [MANY]), "spec: give either space (graphs are drawn) or graphs (a fixed list)"),
    (
        changed("spec/training/evaluateEvery", {"steps": 100}),
        "spec.training.evaluateEvery: give it in epochs, as the length is: rungs are numbered before the data are read",
    ),
    (
        changed("spec/training/length", {"steps": 100}),
        "spec.training.evaluateEvery: give it in steps, as the length is: rungs are numbered before the data are read",
    ),
    (
        changed("spec/training/length", {"steps": 100, "epochs": 1}),
        "spec.training.length: give exactly one of epochs and steps",
    ),
    (changed("spec/space/nodes", 2), "spec.space.auxiliaryModels: is required with 2 nodes"),
    (
        changed("spec/space", ATTENTIVE | {"auxiliaryModels": ["resnet8", "torchvision:resnet18"]}),
        "spec.space.auxiliaryModels[1]: torchvision:resnet18 has no attention map, which a loss of edges needs; leave "
        "one out",
    ),
    (
        changed("spec/space", ATTENTIVE | {"targetModels": ["timm:vit"]}),
        "spec.space.targetModels[0]: timm:vit has no attention map, which a loss of edges needs; leave one out",
    ),
    (
        changed("spec/space/edges/0/from", "1"),
        "spec.space.edges[0]: give either kind (Label, Transfer, Self) or from and to",
    ),
    (
        changed("spec/space/edges/0", {"from": "4", "gates": ["Linear"]}),
        "spec.space.edges[0].from: there is no node '4'; nodes are 1, Label",
    ),
    (
        changed("spec/space/edges/0", KL_ONLY | {"losses": ["CrossEntropy"]}),
        "spec.space.edges[0].losses: CrossEntropy stands on label edges only; use KL between nodes",
    ),
    (
        changed("spec/space/edges/0", {"kind": "Self", "gates": ["Linear"]}),
        "spec.space.edges[0].losses: a self edge needs its losses named",
    ),
    (
        changed("spec/space/edges/0/losses", ["KL"]),
        "spec.space.edges[0].losses: a label edge has CrossEntropy; leave losses out",
    ),
    (
        changed("spec/space/gateParameters", {"sine": {"phase": {"min": 0, "max": 7}}}),
        "spec.space.gateParameters.sine.phase: lies outside 0 .. 6.28319",
    ),
    (
        changed("spec/space/gateParameters", {"sine": {"frequency": {"min": 2, "max": 1}}}),
        "spec.space.gateParameters.sine.frequency.max: is below min (2.0); give min <= max",
    ),
    (
        changed("spec/comparison", {"baselines": ["Independent", "Independent"]}),
        "spec.comparison.baselines: names a baseline twice",
    ),
    (
        changed("metadata/name", "Three_ResNets"),
        "metadata.name: String should match pattern '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' (given: 'Three_ResNets')",
    ),
    (changed("kind", "GraphTrial"), "kind: must be GraphSearch (given: 'GraphTrial')"),
    (
        changed("apiVersion", "graphsearch.io/v2"),
        "apiVersion: Input should be 'graphsearch.io/v1alpha1' (given: 'graphsearch.io/v2')",
    ),
    (changed("spec/graphs/1/name", "first", FIXED), "spec.graphs[1].name: 'first' is used twice"),
    (changed("spec/graphs/0/name", ..., FIXED), "spec.graphs[0].name: is required where there are several graphs"),
    (
        changed("spec/graphs/1/nodes/0/weights/node/graph", "third", FIXED),
        "spec.graphs[1].nodes[0].weights.node.graph: no graph 'third' stands earlier in the list",
    ),
    (
        changed("spec/graphs/1/nodes/0/weights/node/node", "z", FIXED),
        "spec.graphs[1].nodes[0].weights.node.node: graph 'first' has no network 'z'",
    ),
    (
        changed("spec/graphs/1/nodes/0/model", "resnet14", FIXED),
        "spec.graphs[1].nodes[0].weights.node.node: is not a resnet14, which this node is",
    ),
    (
        changed("spec/graphs/1/target", "a", FIXED),
        "spec.graphs[1].target: the scored node 'a' is frozen; score a node that learns",
    ),
    (
        changed(
            "spec/comparison", {"baselines": ["AllThrough", "MutualLearning"]}, changed("spec/graphs", [MANY], FIXED)
        ),
        "spec.comparison.baselines[1]: MutualLearning has at most 8 networks, and the last graph has 9; leave it out",
    ),
]


@pytest.mark.parametrize(("text", "line"), WRONG, ids=[line.partition(":")[0] for _, line in WRONG])
def test_a_wrong_field_gives_one_line_that_names_it(text, line):
    """Where it is, what is wrong, what would be right."""
    with pytest.raises(ManifestError) as refused:
        parse_manifest(text)
    assert line in refused.value.problems


def test_every_wrong_field_is_named_at_once():
    """Each on its own line, with the file in front."""
    text = changed("spec/sed", 1, changed("spec/seed", -1))
    with pytest.raises(ManifestError) as refused:
        parse_manifest(text, "search.yaml")
    assert str(refused.value).splitlines() == [
        "search.yaml: spec.seed: Input should be greater than or equal to 0 (given: -1)",
        "search.yaml: spec.sed: unknown field; check its spelling and where it stands",
    ]


SCALARS = [
    ("5e-4", 0.0005),
    ("1e3", 1000),
    ("-.5", -0.5),
    ("1_000", 1000),
    ("0x10", 16),
    ("-0x1f", -31),
    ("0b101", 5),
    ("010", 8),
    ("0o10", 8),
    ("08", 8),
    ("0", 0),
    ("y", True),
    ("off", False),
    ("~", None),
    ("1:30", "1:30"),
    ("2024-01-01", "2024-01-01"),
    ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    ("=", "="),
    ("1.2.3", "1.2.3"),
    ("5e", "5e"),
    ('"5e-4"', "5e-4"),
]


@pytest.mark.parametrize(("written", "meant"), SCALARS, ids=[written for written, _ in SCALARS])
def test_plain_scalars_mean_what_kubectl_means(written, meant):
    """Numbers, booleans and strings as goyaml v2 resolves them."""
    text = LEAST + f"  trainer: {{affinity: {{value: {written}}}}}\n"
    value = parse_manifest(text).spec.trainer.affinity["value"]
    assert (value, type(value)) == (meant, type(meant))


@pytest.mark.parametrize("text", ["5e-4", "1e3", "010", "1:30", "2024-01-01", "y", "null", "0x1f", "a: b", "ü", ""])
def test_strings_that_look_like_something_else_survive_writing(text):
    """They are quoted where kubectl would read another type."""
    search = parse_manifest(LEAST + f"  trainer: {{image: '{text}'}}\n")
    assert parse_manifest(write_manifest(search)).spec.trainer.image == text


UNREADABLE = [
    ("", "must hold one GraphSearch, holds 0 documents"),
    ("# nothing\n", "must hold one GraphSearch, holds 0 documents"),
    (LEAST + "---" + LEAST, "must hold one GraphSearch, holds 2 documents"),
    ("- 1\n", "must hold a GraphSearch, holds a list"),
    ("just words\n", "must hold a GraphSearch, holds a str"),
    (LEAST + "  seed: 1\n  seed: 2\n", "is not valid YAML: 'seed' is written twice (line 9)"),
    ("kind: GraphSearch\nspec: " + "[" * 3000 + "]" * 3000, "is nested too deeply to be a GraphSearch"),
    (LEAST + "  seed: !!set {a}\n", "holds what JSON cannot: Object of type set is not JSON serializable"),
]


@pytest.mark.parametrize(("text", "line"), UNREADABLE)
def test_what_is_no_manifest_is_refused_in_one_line(text, line):
    """Empty files, several documents, other types, keys written twice."""
    with pytest.raises(ManifestError) as refused:
        parse_manifest(text)
    assert refused.value.problems == [line]


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "\tx: 1", "a: !!python/object:os.system x", LEAST + "  [1]: 2\n", "\x00"]
)
def test_broken_yaml_is_refused_in_one_line(text):
    """Whatever the parser says fits on a line."""
    with pytest.raises(ManifestError) as refused:
        parse_manifest(text)
    (line,) = refused.value.problems
    assert line.startswith("is not valid YAML: ")
    assert "\n" not in line


def test_half_a_character_is_refused_with_what_stands_before_it():
    """Half of a pair of surrogates, which only an escape can write; the whole manifest is not shown for it."""
    with pytest.raises(ManifestError) as refused:
        parse_manifest(LEAST + '  trainer: {image: "here\\ud83d"}\n')
    (line,) = refused.value.problems
    assert line.startswith("holds half a character, '\\ud83d', after ")
    assert line.endswith('"image": "here')


def test_merge_keys_are_read_as_kubectl_reads_them():
    """What stands beside the merge wins over what is merged."""
    search = parse_manifest(LEAST + "  trainer: {<<: {image: merged, queueName: q}, image: own}\n")
    assert (search.spec.trainer.image, search.spec.trainer.queue_name) == ("own", "q")


def test_trailing_empty_documents_are_no_second_manifest():
    """As kubectl, which skips them."""
    assert parse_manifest(f"---\n{LEAST}\n---\n") == parse_manifest(LEAST)


def test_files_that_cannot_be_read_say_why(tmp_path):
    """Missing, a folder, not UTF-8: the path and the reason."""
    (tmp_path / "latin.yaml").write_bytes("name: Zürich".encode("latin-1"))
    found = {}
    for name in ("none.yaml", ".", "latin.yaml"):
        with pytest.raises(ManifestError) as refused:
            read_manifest(tmp_path / name)
        found[name] = refused.value.problems
    assert found == {
        "none.yaml": ["no such file"],
        ".": ["cannot be read: Is a directory"],
        "latin.yaml": ["is not UTF-8 text: invalid start byte at byte 7"],
    }


def test_a_file_is_read_as_its_text(tmp_path):
    """UTF-8, whatever the locale."""
    (tmp_path / "search.yaml").write_text(DESIGN, encoding="utf-8")
    assert read_manifest(tmp_path / "search.yaml") == parse_manifest(DESIGN)


TOO_MUCH = [
    ("data: {dataset: digits, labelled: {count: 5000}}", "spec.data.labelled.count: 638 of the 797 training images"),
    ("data: {dataset: CIFAR10, searchValidation: {count: 50000}}", "spec.data.searchValidation: leaves none of the"),
    ("data: {dataset: digits, labelled: {count: 20}}", "spec.training.batchSize: 64 is more than the 20 images"),
]


@pytest.mark.parametrize(("data", "line"), TOO_MUCH, ids=[line.partition(":")[0] for _, line in TOO_MUCH])
def test_more_images_than_there_are_is_refused_before_anything_runs(data, line):
    """The catalogue knows the sizes, so the manifest is wrong and not the data."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(LEAST.replace("data: {dataset: digits}", data))
    assert any(problem.startswith(line) for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("edges", "labelled", "batch", "fits"),
    [
        ("{kind: Self, losses: [Consistency], gates: [Linear]}", "labelled: {count: 600}", 38, True),
        ("{kind: Self, losses: [Consistency], gates: [Linear]}", "labelled: {count: 600}", 39, False),
        ("{kind: Self, losses: [Consistency], gates: [Cutoff]}", "labelled: {count: 600}", 39, True),
        ("{kind: Transfer, losses: [KL], gates: [Linear]}", "labelled: {count: 600}", 39, True),
        (
            "{kind: Self, losses: [Consistency], gates: [Linear]}",
            "labelled: {count: 600}, unlabelledIncludesLabelled: true",
            638,
            True,
        ),
        ("{kind: Self, losses: [Consistency], gates: [Linear]}", "imageSize: 8", 638, True),
        ("{kind: Self, losses: [Consistency], gates: [Linear]}", "imageSize: 8", 639, False),
    ],
)
def test_an_unlabelled_batch_is_no_larger_than_what_has_no_labels(edges, labelled, batch, fits):
    """Where a drawn graph may need unlabelled images: the rest of 638, or all of them."""
    manifest = LEAST.replace("data: {dataset: digits}", f"data: {{dataset: digits, {labelled}}}")
    manifest = manifest.replace("gates: [Through]}]}", f"gates: [Through]}}, {edges}]}}")
    manifest += f"  training: {{unlabelled: {{batchSize: {batch}}}}}\n"
    line = (
        f"spec.training.unlabelled.batchSize: {batch} is more than the {batch - 1} of the 797 training images of digits"
    )
    if fits:
        parse_manifest(manifest)
        return
    with pytest.raises(ManifestError) as caught:
        parse_manifest(manifest)
    (problem,) = caught.value.problems
    assert problem.startswith(line)


PODS = [
    ("volumes: [{name: node, hostPath: {path: /}}]", "spec.trainer.volumes[0].hostPath: unknown field"),
    ("volumes: [{name: none}]", "spec.trainer.volumes[0]: give exactly one of persistentVolumeClaim"),
    ("resources: {limts: {cpu: 3}}", "spec.trainer.resources.limts: unknown field"),
    ("resources: {limits: {cpu: 1.5}}", "spec.trainer.resources.limits.cpu: must be a string or a whole number"),
    ("env: [{nonsense: 1}]", "spec.trainer.env[0].name: is required"),
]


@pytest.mark.parametrize(("trainer", "line"), PODS, ids=[line for _, line in PODS])
def test_pods_are_described_by_typed_fields(trainer, line):
    """A host's folder cannot be mounted, and a misspelt field is named."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(LEAST + f"  trainer: {{{trainer}}}\n")
    assert any(problem.startswith(line) for problem in caught.value.problems), caught.value.problems
