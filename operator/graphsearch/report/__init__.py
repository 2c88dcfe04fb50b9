"""Pictures and tables of a search: one page that works offline, its pictures, the recipe and the weights.

It draws from recorded facts alone and must not know how they came about; a search that failed, was cancelled or
still runs has a report as well. Decided against: a template engine (a few functions that escape do), and a page that
loads its plotting library from a network.
"""

from graphsearch.report.build import build
from graphsearch.report.gathering import gather
from graphsearch.report.record import SearchRecord

__all__ = ["SearchRecord", "build", "gather"]
