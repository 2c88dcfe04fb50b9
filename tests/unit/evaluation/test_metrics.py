"""Metrics against scikit-learn's and against plain statements, sample by sample."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from graphtrial.contract import Metric
from graphtrial.evaluation.metrics import calibration_error, measure, metric_problem, recall_of_classes

CLASSES = 7


@st.composite
def answers(draw):
    """Distinct logits of up to 40 samples, and labels of which some classes may be missing."""
    count = draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = 3 * torch.randn(count, CLASSES, generator=generator)
    labels = draw(st.lists(st.integers(0, CLASSES - 1), min_size=count, max_size=count))
    return logits, torch.tensor(labels)


def balanced(true, guessed):
    """The mean over occurring classes of the share of their samples that are right."""
    shares = [
        sum(g == cls for t, g in zip(true, guessed, strict=True) if t == cls) / true.count(cls) for cls in set(true)
    ]
    return sum(shares) / len(shares)


@given(answers())
@settings(deadline=None, max_examples=30)
def test_metrics_of_guesses_are_scikit_learns(given_answers):
    """Accuracy, balanced accuracy over the classes that occur, and macro F1 over those that occur or are guessed."""
    logits, labels = given_answers
    guessed, true = logits.argmax(1).tolist(), labels.tolist()
    assert measure(Metric.ACCURACY, logits, labels) == pytest.approx(reference.accuracy_score(true, guessed))
    assert measure(Metric.BALANCED_ACCURACY, logits, labels) == pytest.approx(balanced(true, guessed))
    macro = reference.f1_score(true, guessed, average="macro", zero_division=0)
    assert measure(Metric.MACRO_F1, logits, labels) == pytest.approx(macro)


@given(answers())
@settings(deadline=None, max_examples=30)
def test_metrics_of_scores_are_scikit_learns(given_answers):
    """Top-5 accuracy, and log loss with its sign turned: higher is better."""
    logits, labels = given_answers
    classes = list(range(CLASSES))
    top = reference.top_k_accuracy_score(labels.numpy(), logits.numpy(), k=5, labels=classes)
    assert measure(Metric.TOP5_ACCURACY, logits, labels) == pytest.approx(top)
    loss = reference.log_loss(labels.numpy(), logits.double().softmax(1).numpy(), labels=classes)
    assert measure(Metric.NEGATIVE_LOG_LOSS, logits, labels) == pytest.approx(-loss, rel=1e-5)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_metric_is_a_number_where_an_output_is_not_finite(metric, bad):
    """One logit of one sample is enough."""
    logits = torch.eye(CLASSES)
    logits[3, 2] = bad
    assert math.isnan(measure(metric, logits, torch.arange(CLASSES)))


@pytest.mark.parametrize("metric", Metric)
def test_perfect_answers_have_the_highest_score(metric):
    """1, or a loss of nearly 0."""
    score = measure(metric, 100 * torch.eye(CLASSES), torch.arange(CLASSES))
    assert score == pytest.approx(0 if metric is Metric.NEGATIVE_LOG_LOSS else 1)


def test_metrics_can_be_measured_where_only_deterministic_operations_are_allowed():
    """A trial on a CPU forbids the others."""
    logits, labels = torch.eye(CLASSES), torch.arange(CLASSES)
    torch.set_deterministic_debug_mode("error")
    try:
        with torch.inference_mode():
            assert all(math.isfinite(measure(metric, logits, labels)) for metric in Metric)
            assert math.isfinite(calibration_error(logits, labels))
    finally:
        torch.set_deterministic_debug_mode("default")


@given(answers())
@settings(deadline=None, max_examples=30)
def test_the_recall_of_each_class_is_counted(given_answers):
    """Of a class without samples there is none."""
    logits, labels = given_answers
    guessed = logits.argmax(1)
    for cls, recall in enumerate(recall_of_classes(logits, labels)):
        of_class = guessed[labels == cls]
        if len(of_class):
            assert recall == pytest.approx(sum(int(guess == cls) for guess in of_class) / len(of_class))
        else:
            assert math.isnan(recall)


@given(answers())
@settings(deadline=None, max_examples=30)
def test_the_calibration_error_is_the_mean_gap_of_its_bins(given_answers):
    """15 bins of equal width, each weighing as much as it has samples."""
    logits, labels = given_answers
    assert calibration_error(logits, labels) == pytest.approx(gap_of_bins(logits, labels), abs=1e-5)


def test_a_confidence_of_one_belongs_to_the_last_bin():
    """Beside one of nearly 1: half of those are wrong, and none of these."""
    logits, labels = torch.zeros(100, CLASSES), torch.zeros(100, dtype=torch.int64)
    logits[:50, 0], logits[50:, 0], labels[:25] = 200.0, 5.2, 1
    assert set(logits[:50].softmax(1).max(1).values.tolist()) == {1.0}
    assert calibration_error(logits, labels) == pytest.approx(gap_of_bins(logits, labels), abs=1e-5)


def gap_of_bins(logits, labels):
    """The sum over bins of the gap between their confidences and their right answers, for each sample."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(logits, labels, strict=True):
        confidence, guess = row.softmax(0).max(0)
        bins.setdefault(min(14, math.ceil(float(confidence) * 15) - 1), []).append((float(confidence), guess == label))
    return sum(abs(sum(c for c, _ in found) - sum(bool(r) for _, r in found)) for found in bins.values()) / len(labels)


def test_a_top_five_of_five_classes_is_refused():
    """It would be 1 for every graph, so nothing could be told from it."""
    assert metric_problem(Metric.TOP5_ACCURACY, 6) is None
    assert metric_problem(Metric.ACCURACY, 2) is None
    assert metric_problem(Metric.TOP5_ACCURACY, 5) == (
        "objective.metric: Top5Accuracy of 5 classes is 1 whatever is learnt; use Accuracy or data of more than 5 "
        "classes"
    )


def test_plain_accuracy_needs_no_library():
    """The library is imported by a metric that needs it, not by every trial at its start."""
    code = (
        "import sys, torch; from graphtrial.training import trial; from graphtrial.evaluation.metrics import measure;"
        "from graphtrial.contract import Metric; measure(Metric.ACCURACY, torch.eye(2), torch.arange(2));"
        "print('torchmetrics' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
