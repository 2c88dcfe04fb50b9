"""What distilling several networks into one needs beside an ordinary graph (spec 9).

How the gradients of the teachers' losses become one, and how the network that learned is stored for others to run. A
compression is a graph: frozen teachers, a student, a loss for each teacher. It must not know how a step's losses come
about, who chose the variant or where the files go.
"""

from graphtrial.compression.aggregation import Aggregated, Projection, aggregate
from graphtrial.compression.programs import Export, MismatchError, NotExportedError, export, load

__all__ = ["Aggregated", "Export", "MismatchError", "NotExportedError", "Projection", "aggregate", "export", "load"]
