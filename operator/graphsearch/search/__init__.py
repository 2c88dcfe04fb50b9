"""Decides: which graphs are drawn, what is trained next, who goes on at a rung, which graph is best.

Everything here is a pure function of what it is handed. It knows no Kubernetes, no files, no torch and no clock;
the worlds (local, cluster, simulated) gather a snapshot, call ``plan`` and carry out its actions until there are
none. Decided against: callbacks from the worlds into the search; state in the planner.
"""
