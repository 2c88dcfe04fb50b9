"""The program ``graphsearch``: one module per command, imported only when it is called.

It turns exceptions into one clear message and a documented exit code; it decides nothing.
"""
