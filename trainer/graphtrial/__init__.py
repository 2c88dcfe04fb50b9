"""Runs one trial: a knowledge transfer graph, trained and evaluated.

Rooms, left to right; a room knows only rooms to its left::

    contract < storage < models, data < training (with evaluation)

``contract`` is what trainer and search agree on and needs neither torch nor Kubernetes.
Nothing here imports ``graphsearch``: the trainer image could be used by another searcher.
"""
