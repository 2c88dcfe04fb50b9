"""The method stated as slowly and plainly as spec 1 to 4 print it, in float64: what the trainer is compared with.

One sample, one edge, one crop, one cell at a time. Nothing of the implementation is used but the contract. What a node
that learns says is a torch expression, so that autograd can differentiate its own L_t; every source is plain numbers.
"""
