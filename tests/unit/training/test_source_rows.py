"""What sources say, row by row; the equations are in ``test_equations``."""

import torch

from graphtrial.contract import Edge, Loss, LossType, Node, NodeKind
from graphtrial.training.source_rows import SourceRows


def test_an_ensemble_of_rounded_logits_is_averaged_in_float32():
    """Networks may answer in bfloat16; their mean is not rounded again (4.10)."""
    ensemble = Node(name="all", kind=NodeKind.ENSEMBLE, members=("1", "2"))
    edge = Edge(source="all", destination="1", loss=Loss(type=LossType.KL))
    rows = SourceRows([edge], ["1", "2"], [ensemble], torch.device("cpu"))
    logits = (5 * torch.randn(2, 50, 10, generator=torch.Generator().manual_seed(0))).bfloat16()
    expected = logits.float().mean(0).log_softmax(-1)
    torch.testing.assert_close(rows.log_probabilities(logits)[rows.rows["all", 1.0]], expected)
