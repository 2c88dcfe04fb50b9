"""How well the nodes of a graph do: what a trial is judged by (spec 5.3), and what is said of it at its end (spec 8).

It reads networks and images and returns numbers. It must not know when an evaluation is due, what a rung is or
where a score goes.
"""

from graphtrial.evaluation.evaluator import Evaluator, Scores
from graphtrial.evaluation.metrics import metric_problem
from graphtrial.evaluation.observation import analyse, load_libraries, look, maps_for_umap

__all__ = ["Evaluator", "Scores", "analyse", "load_libraries", "look", "maps_for_umap", "metric_problem"]
