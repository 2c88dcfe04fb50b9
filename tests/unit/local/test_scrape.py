"""Scores read from an exposition."""

from __future__ import annotations

import math
import socket
import threading

from graphsearch.local.scrape import parse, scrape
from graphsearch.search.actions import Report

_TEXT = """# HELP graphtrial_rung_score Score at an evaluation.
# TYPE graphtrial_rung_score gauge
graphtrial_rung_score{search_uid="s",trial_uid="s-t3",attempt="2",rung="1"} 0.5
graphtrial_rung_score{search_uid="s",trial_uid="s-t3",attempt="2",rung="2"} NaN
graphtrial_rung_score{search_uid="s",trial_uid="s-t3",attempt="1",rung="4"} 0.9
graphtrial_rung_score{search_uid="s",trial_uid="s-t4",attempt="2",rung="4"} 0.9
# TYPE other gauge
other{rung="9"} 1.0
"""


def test_only_scores_of_the_trial_and_attempt_count():
    """Another trial's or attempt's scores on the same port are left out."""
    first, second = parse(_TEXT, index=3, trial_uid="s-t3", attempt=2)
    assert first == Report(3, 1, 0.5, 2)
    assert second.evaluation == 2
    assert math.isnan(second.score)


def test_no_answer_means_unknown():
    """A port nobody listens on gives no scores and no error."""
    assert scrape(1, index=0, trial_uid="s-t0", attempt=1) == []


def test_a_trial_that_ends_while_it_answers_means_unknown():
    """Half an answer gives no scores and no error."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_half() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 861\r\n\r\n")

        trial = threading.Thread(target=answer_half)
        trial.start()
        assert scrape(server.getsockname()[1], index=0, trial_uid="s-t0", attempt=1) == []
        trial.join()
