"""Runs a search: draws knowledge transfer graphs, has them trained, stops the weak ones, compares the best.

Rooms, left to right; a room knows only rooms to its left::

    graphtrial.contract < api < search < local, report < cli

One way through for the data: manifest (``api``) -> plan (``search``) -> attempt (``local``) -> reports ->
decision (``search``) -> report (``report``).
"""
