"""A node of ours that plays pods: what kubelet, container runtime and trainer show, without running anything.

The real scheduler binds pods to it. It gives each an address of its own in 127/8, all of which Linux answers on, sets
pod states as a kubelet does, serves the trainer's exposition, ends pods with exit codes and termination messages, and
honours deletion with its grace. Scores are a pure function of seed, graph and evaluation, so that a trial's curve
tells whether anything was lost, doubled or trained otherwise. It must not know the searcher.

    handle      what a test holds: starts the process, sets faults
    faults      what can go wrong with a pod
    node        the Node object, its heartbeats, the watch on its pods
    pod         one pod, from bound to gone
    trainer     one trial: evaluations, checkpoints, rungs
    exposition  the text that Prometheus reads, and who answers at which address
    api         the API server, raw

Decided against: kwok, which plays states from templates and knows neither exposition nor checkpoints.
"""

from e2e.cluster.simulated_node.faults import Fault, ForeignScore, Timing
from e2e.cluster.simulated_node.handle import SimulatedNode, running_simulated_node

__all__ = ["Fault", "ForeignScore", "SimulatedNode", "Timing", "running_simulated_node"]
