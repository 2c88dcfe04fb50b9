"""What a trial leaves for its pod's status."""

from __future__ import annotations

from graphtrial.contract import Evaluation, RungScore, TrialResult
from graphtrial.training.last_words import LastWords

CURVE = tuple(
    Evaluation(number=number, step=10 * number, score=0.5, nodes={"1": 0.5}, losses={"1": 1.0}, seconds=1.0)
    for number in (1, 2)
)


def read(path):
    """What a kubelet would find."""
    return TrialResult.model_validate_json(path.read_text())


def test_the_latest_word_counts_and_the_last_one_stands(tmp_path):
    """A checkpoint that is stored while the trial gives up is not heard any more."""
    path = tmp_path / "words"
    words, first, second = LastWords(str(path)), TrialResult(attempt=1, saved_at=1), TrialResult(attempt=1, saved_at=2)
    words.so_far(first)
    assert read(path) == first
    words.so_far(second)
    assert read(path) == second
    words.end(second.model_copy(update={"exit_code": 13}))
    words.so_far(first)
    assert read(path) == second.model_copy(update={"exit_code": 13})


def test_of_the_curves_only_the_end_is_told(tmp_path):
    """Kubernetes keeps 4 KiB."""
    path = tmp_path / "words"
    LastWords(str(path)).end(TrialResult(attempt=1, evaluations=CURVE))
    assert read(path).evaluations == (CURVE[1].model_copy(update={"losses": {}}),)


def test_the_longest_of_it_fits_where_kubernetes_keeps_it(tmp_path):
    """Sixteen networks of long names, every rung of a million evaluations, and an error that does not end."""
    path, names = tmp_path / "words", [f"{number:0>40}" for number in range(16)]
    scores = dict.fromkeys((*names, "ensemble"), 0.12345678901234566)
    last = Evaluation(number=10**6, step=10**9, score=0.12345678901234567, nodes=scores, losses=scores, seconds=1e9 / 3)
    rungs = tuple(RungScore(rung=2**number, score=0.12345678901234567) for number in range(20))
    whole = TrialResult(attempt=40, rungs=rungs, evaluations=(last,), exit_code=1, message="\U0001f600" * 10_000)
    LastWords(str(path)).end(whole)
    assert path.stat().st_size <= 4096
    assert (read(path).rungs, read(path).evaluations[0].nodes) == (rungs, scores)
    assert read(path).message == "\U0001f600" * 250 + "..."


def test_nothing_is_left_where_nobody_asks(tmp_path, monkeypatch):
    """Locally the folder tells everything."""
    monkeypatch.chdir(tmp_path)
    LastWords("").end(TrialResult(attempt=1))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_ends_no_trial(caplog):
    """What was trained is stored whether this is told or not."""
    LastWords("/dev/full").end(TrialResult(attempt=1))
    assert caplog.messages == ["/dev/full cannot be written: No space left on device"]
