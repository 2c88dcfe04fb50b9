"""The metrics that a trial can be judged by, as functions of all logits at once (spec 5.3); higher is better for each.

torchmetrics defines them, and is imported by the first call that needs it: a trial that is judged by its accuracy, one
line here, never pays for it at an evaluation. It has no log loss; torch's cross entropy is that. No metric is a number
where an output is not finite.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from graphtrial.contract import Metric

_TOP = 5


def measure(metric: Metric, logits: Tensor, labels: Tensor) -> float:
    """A metric of one output; NaN where a logit is not finite.

    Args:
        metric: Which.
        logits: [samples, classes].
        labels: Class indices, [samples].
    """
    if not bool(torch.isfinite(logits).all()):
        return math.nan
    match metric:
        case Metric.ACCURACY:
            return accuracy(logits, labels)
        case Metric.TOP5_ACCURACY:
            return _top5_accuracy(logits, labels)
        case Metric.BALANCED_ACCURACY:
            return _balanced_accuracy(logits, labels)
        case Metric.MACRO_F1:
            return _macro_f1(logits, labels)
        case Metric.NEGATIVE_LOG_LOSS:
            return -float(F.cross_entropy(logits, labels))


def metric_problem(metric: Metric, classes: int) -> str | None:
    """Why a metric says nothing of a data set with so many classes, or None."""
    if metric is Metric.TOP5_ACCURACY and classes <= _TOP:
        return (
            f"objective.metric: {metric} of {classes} classes is 1 whatever is learnt; use {Metric.ACCURACY} or data "
            f"of more than {_TOP} classes"
        )
    return None


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of samples whose largest logit is the label's."""
    right = int((logits.argmax(dim=1) == labels).sum())
    return right / len(labels)


def recall_of_classes(logits: Tensor, labels: Tensor) -> list[float]:
    """The share of each class's samples that are told to be of it; NaN for a class without samples."""
    from torchmetrics.functional.classification import multiclass_recall

    classes = logits.shape[1]
    recall = multiclass_recall(logits, labels, num_classes=classes, average="none")
    present = torch.bincount(labels, minlength=classes) > 0
    return torch.where(present, recall, math.nan).tolist()


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error (Guo et al. 2017): the mean gap between confidence and accuracy, in 15 equal bins."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities = logits.softmax(dim=1)
    # torchmetrics has a bin of its own for a confidence of exactly 1, which belongs to the last of the equal ones.
    probabilities = probabilities.clamp(max=1 - torch.finfo(probabilities.dtype).eps / 2)
    return float(multiclass_calibration_error(probabilities, labels, num_classes=logits.shape[1], n_bins=15, norm="l1"))


def _top5_accuracy(logits: Tensor, labels: Tensor) -> float:
    from torchmetrics.functional.classification import multiclass_accuracy

    return float(multiclass_accuracy(logits, labels, num_classes=logits.shape[1], top_k=_TOP, average="micro"))


def _balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """The mean recall of the classes that occur; torchmetrics' own macro average counts those that do not."""
    found = [recall for recall in recall_of_classes(logits, labels) if not math.isnan(recall)]
    return math.fsum(found) / len(found)


def _macro_f1(logits: Tensor, labels: Tensor) -> float:
    from torchmetrics.functional.classification import multiclass_f1_score

    return float(multiclass_f1_score(logits, labels, num_classes=logits.shape[1], average="macro"))
