"""The pieces that the three dashboards are made of: one look, one data source, a unit and a description everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh, VariableSort

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH = 24
_HEIGHT = 8

Panel = Timeseries | Stat
"""Of a dashboard, still to be built."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question to Prometheus, and what its series are called."""

    expression: str
    legend: str


def dashboard(name: str, description: str, variables: Sequence[QueryVariable], panels: Sequence[Panel]) -> Dashboard:
    """A dashboard that lets its reader choose the data source, then the variables."""
    built = (
        Dashboard(f"graphsearch / {name}")
        .uid(f"graphsearch-{name}")
        .description(description)
        .tags(["graphsearch"])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for choice in variables:
        built = built.with_variable(choice)
    for panel in panels:
        built = built.with_panel(panel)
    return built


def variable(name: str, label: str, query: str, pattern: str = "") -> QueryVariable:
    """A choice among the values of a label; ``pattern`` is a regular expression whose group is what is shown."""
    built = (
        QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )
    return built.regex(pattern) if pattern else built


def curves(title: str, description: str, unit: str, *queries: Query, of: int = 2) -> Timeseries:
    """Lines over time, ``of`` panels a row."""
    panel = (
        Timeseries()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(_SOURCE)
        .span(_WIDTH // of)
        .height(_HEIGHT)
        .fill_opacity(8)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for target in _targets(queries):
        panel = panel.with_target(target)
    return panel


def number(title: str, description: str, unit: str, query: Query, of: int = 4) -> Stat:
    """The last value, ``of`` panels a row."""
    options = common.ReduceDataOptions().calcs(["lastNotNull"])
    (target,) = _targets([query])
    return (
        Stat()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(_SOURCE)
        .span(_WIDTH // of)
        .height(_HEIGHT // 2)
        .reduce_options(options)
        .with_target(target)
    )


def _targets(queries: Sequence[Query]) -> list[Dataquery]:
    return [
        Dataquery().expr(query.expression).legend_format(query.legend).ref_id(chr(ord("A") + position))
        for position, query in enumerate(queries)
    ]
