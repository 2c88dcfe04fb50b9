"""The whole system on real servers: the harness that starts them, and the tests that need a node."""
