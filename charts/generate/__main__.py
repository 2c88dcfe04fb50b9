"""Write every generated file of the chart."""

from __future__ import annotations

from pathlib import Path

from charts.generate.files import generated

if __name__ == "__main__":
    root = Path(__file__).parents[2]
    for path, text in generated(root).items():
        (root / path).write_text(text)
