"""How well the nodes of a graph do: the numbers that a trial is judged by (spec 5.3).

It reads networks and images and returns scores. It must not know when an evaluation is due, what a rung is or
where a score goes.
"""

from graphtrial.evaluation.evaluator import Evaluator, Scores
from graphtrial.evaluation.metrics import metric_problem

__all__ = ["Evaluator", "Scores", "metric_problem"]
