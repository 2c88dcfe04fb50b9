"""Why a model cannot be had, or not with these weights."""

from __future__ import annotations


class ModelError(Exception):
    """The model cannot be built, or does not do what is asked; the message says what would be right."""
