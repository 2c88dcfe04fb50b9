"""Which files of the chart are generated, and from what."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from charts.generate import dashboards, values

_CHART = PurePosixPath("charts/graphsearch")
_BEGIN, _END = "<!-- values: generated from values.yaml -->\n", "<!-- end of values -->\n"


def generated(root: Path) -> dict[PurePosixPath, str]:
    """The text of every generated file by its path below the repository's root.

    Args:
        root: The repository, whose crds/ and values.yaml are read, and the prose of the chart's README.

    Raises:
        ValueError: If a value has no description.
    """
    documented = values.documented((root / _CHART / "values.yaml").read_text())
    prose = (root / _CHART / "README.md").read_text()
    before, after = prose[: prose.index(_BEGIN) + len(_BEGIN)], prose[prose.index(_END) :]
    found = {
        _CHART / "README.md": f"{before}{values.table(documented)}{after}",
        _CHART / "values.schema.json": values.schema(documented),
    }
    for crd in sorted((root / "crds").glob("*.yaml")):
        found[_CHART / "files/crds" / crd.name] = crd.read_text()
    for name, text in dashboards.built().items():
        found[_CHART / "dashboards" / f"{name}.json"] = text
    return found
