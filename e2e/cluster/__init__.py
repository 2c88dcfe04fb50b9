"""Real servers for the tests: Kubernetes, Prometheus, S3 and a simulated node, on this machine.

Each server is a context manager that is ready when entered and gone, helpers included, when left. This room must not
know what is tested with it: it starts servers and plays nodes, and asserts nothing. Decided against: kind and k3s,
which need a container runtime and a registry; envtest's downloads, which lack the controller manager and scheduler.
"""
