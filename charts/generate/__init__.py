"""What the chart holds that is made from something else: CRDs, dashboards, the table and the schema of its values.

``python -m charts.generate`` writes it all; a test holds the committed files against it.
"""
