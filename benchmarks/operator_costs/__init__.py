"""What the operator costs and how quickly it decides: real API server, scheduler, controller manager and Prometheus.

__main__   what runs, in which order
seeding    finished trials in bulk, written where the API server keeps them
witness    watches pods, Jobs and trials, and remembers when each thing was first to be seen
figures    what follows from that, beside its goal
"""
