"""The tests mirror the rooms; ``builders`` and ``shared_data`` serve more than one of them."""
