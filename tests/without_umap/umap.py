"""Found in the place of umap-learn, as if that were not installed."""

raise ImportError("hidden from this test")
