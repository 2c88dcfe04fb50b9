"""Stratified draws: exact, disjoint, in proportion, and functions of their seed alone."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtrial.contract import Data, Labelled, Part, derive
from graphtrial.data import DataError
from graphtrial.data.splitting import labelled_of, search_split, stratified, unlabelled_of

MODEST = settings(max_examples=60, deadline=None)
SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any)
"""Images of each class; a class may be empty."""


def labels_of(sizes, seed=0):
    """Labels with the given number of images a class, in random order."""
    ordered = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return ordered[torch.randperm(len(ordered), generator=torch.Generator().manual_seed(seed))]


def counts(labels, classes):
    """Images per class."""
    return torch.bincount(labels, minlength=classes).tolist()


@MODEST
@given(SIZES, st.data())
def test_a_draw_is_exact_and_leaves_the_rest(sizes, data):
    """Two sorted lists of the sizes asked for, which share nothing and miss nothing."""
    labels = labels_of(sizes)
    count = data.draw(st.integers(0, len(labels)))
    drawn, rest = stratified(labels, count, seed=1)
    assert len(drawn) == count
    assert sorted([*drawn.tolist(), *rest.tolist()]) == list(range(len(labels)))
    assert (drawn.tolist(), rest.tolist()) == (sorted(drawn.tolist()), sorted(rest.tolist()))


@MODEST
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.data())
def test_every_class_is_drawn_where_the_count_allows(sizes, data):
    """No class goes without an image if there is one for each."""
    labels = labels_of(sizes)
    count = data.draw(st.integers(min(len(sizes), len(labels)), len(labels)))
    drawn, _ = stratified(labels, count, seed=1)
    assert min(counts(labels[drawn], len(sizes))) >= 1


@MODEST
@given(SIZES, st.data())
def test_classes_keep_their_proportions(sizes, data):
    """Every class is within one image of its exact share, where each share is at least one image or zero."""
    labels = labels_of(sizes)
    count = data.draw(st.integers(0, len(labels)))
    shares = [Fraction(size * count, len(labels)) for size in sizes]
    drawn, _ = stratified(labels, count, seed=1)
    off = [abs(got - share) for got, share in zip(counts(labels[drawn], len(sizes)), shares, strict=True)]
    if all(share >= 1 or share == 0 for share in shares):
        assert max(off) < 1


def test_the_largest_remainder_gets_the_odd_image():
    """Of shares 1.75, 1.75 and 3.5 the first two are rounded up."""
    drawn, _ = stratified(labels_of([5, 5, 10]), 7, seed=1)
    assert counts(labels_of([5, 5, 10])[drawn], 3) == [2, 2, 3]


def test_a_rare_class_takes_its_image_from_the_commonest():
    """Nine classes of one image and one of ninety: ten images hold all ten classes."""
    labels = labels_of([90, *[1] * 9])
    drawn, _ = stratified(labels, 10, seed=1)
    assert counts(labels[drawn], 10) == [1] * 10


@MODEST
@given(SIZES, st.integers(0, 2**53 - 1))
def test_a_draw_is_a_function_of_its_seed(sizes, seed):
    """The global generator neither matters nor moves."""
    labels = labels_of(sizes)
    first = stratified(labels, len(labels) // 2, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed % 1000)
        state = torch.get_rng_state()
        second = stratified(labels, len(labels) // 2, seed)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], second[0])


def test_another_seed_draws_other_images():
    """Two seeds agree on the proportions only."""
    labels = labels_of([50, 50])
    assert not torch.equal(stratified(labels, 20, seed=1)[0], stratified(labels, 20, seed=2)[0])


@pytest.mark.parametrize(
    ("part", "count"), [({}, 20), ({"count": 7}, 7), ({"fraction": 0.5}, 50), ({"fraction": 0.001}, 1)]
)
def test_the_search_validation_has_the_size_asked_for(part, count):
    """A count, a fraction, or a fifth; never nothing."""
    data = Data(dataset="digits", **({"search_validation": Part(**part)} if part else {}))
    train, validation = search_split(labels_of([60, 40]), data)
    assert (len(train), len(validation)) == (100 - count, count)


def test_a_search_validation_that_leaves_nothing_is_refused():
    """The message names the field and both numbers."""
    data = Data(dataset="digits", search_validation=Part(count=100))
    with pytest.raises(DataError, match=r"data\.searchValidation: 100 of 100 training images leave none"):
        search_split(labels_of([60, 40]), data)


def test_labelled_images_come_out_of_the_rest():
    """The labelled images are training images, whatever the seeds."""
    labels = labels_of([60, 40])
    data = Data(dataset="digits", search_validation=Part(count=30), labelled=Labelled(count=10, seed=3))
    train, validation = search_split(labels, data)
    chosen = labelled_of(train, labels, data)
    assert (len(chosen), counts(labels[chosen], 2)) == (10, [6, 4])
    assert set(chosen.tolist()) <= set(train.tolist())
    assert not set(chosen.tolist()) & set(validation.tolist())


def test_more_labelled_images_than_there_are_is_refused():
    """The message names the field and both numbers."""
    data = Data(dataset="digits", labelled=Labelled(count=81))
    labels = labels_of([60, 40])
    train, _ = search_split(labels, data)
    with pytest.raises(DataError, match=r"data\.labelled\.count: 81 images asked for and 80 there"):
        labelled_of(train, labels, data)


def test_fewer_labels_than_classes_are_refused():
    """A class without a label could never be recognised."""
    labels = labels_of([60, 40, 20])
    data = Data(dataset="digits", labelled=Labelled(count=2))
    with pytest.raises(DataError, match=r"data\.labelled\.count: 2 labels for 3 classes; ask for at least one of each"):
        labelled_of(torch.arange(120), labels, data)


@pytest.mark.parametrize("included", [False, True])
def test_the_unlabelled_images_are_the_others_or_all(included):
    """Spec 10: they exclude the labelled ones; FixMatch's code includes them."""
    labels = labels_of([60, 40])
    data = Data(dataset="digits", labelled=Labelled(count=10), unlabelled_includes_labelled=included)
    candidates, _ = search_split(labels, data)
    labelled = labelled_of(candidates, labels, data)
    unlabelled = unlabelled_of(candidates, labelled, data)
    assert set(unlabelled.tolist()) == set(candidates.tolist()) - (set() if included else set(labelled.tolist()))
    assert len(unlabelled) == (80 if included else 70)


def test_where_all_are_labelled_all_are_unlabelled_too():
    """Without its label each image says as much as any other."""
    candidates = torch.tensor([3, 5, 8])
    assert torch.equal(unlabelled_of(candidates, candidates, Data(dataset="digits")), candidates)


def test_labels_that_leave_none_unlabelled_are_refused():
    """The message names both ways out."""
    data = Data(dataset="digits", labelled=Labelled(count=3))
    candidates = torch.tensor([3, 5, 8])
    with pytest.raises(
        DataError, match=r"data\.labelled\.count: 3 labels leave none of 3 images unlabelled; ask for few"
    ):
        unlabelled_of(candidates, candidates, data)


@MODEST
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data())
def test_a_search_keeps_every_class_or_says_which_it_cannot(sizes, data):
    """Either something of each class is trained on, or the error names one of which nothing would be."""
    labels = labels_of(sizes)
    count = data.draw(st.integers(1, max(1, len(labels) - 1)))
    section = Data(dataset="digits", search_validation=Part(count=count))
    names = [f"class{label}" for label in range(len(sizes))]
    _, rest = stratified(labels, min(count, len(labels)), derive(0, "searchValidation"))
    left = counts(labels[rest], len(sizes))
    if min(left):
        train, _ = search_split(labels, section, names)
        assert torch.equal(train, rest)
    else:
        lost = left.index(0)
        words = f"of class {lost} .class{lost}. with {sizes[lost]} images none is left|leave none to train on"
        with pytest.raises(DataError, match=words):
            search_split(labels, section, names)
