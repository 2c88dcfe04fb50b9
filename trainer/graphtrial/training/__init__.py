"""How one graph is trained: schedules, gates, losses and the step, and around them the loop of a trial.

It must not know who searches, why a graph was drawn or where a score goes.
"""
