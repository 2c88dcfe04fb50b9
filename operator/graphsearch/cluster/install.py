"""What the chart decides for every pod of this installation, as the process's settings hand it on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Install:
    """The same for all searches."""

    default_image: str = ""
    """Of trials whose search names none; empty: every search must."""
    image_pull_policy: str = ""
    """Of the default image; empty: Kubernetes' own rule."""
    metrics_port: int = 8000
    """On which trainers expose their numbers."""
    termination_grace_seconds: int = 60
    """Between asking a trainer to save and stop, and its end by force."""
    scrape_annotations: bool = False
    """Whether pods carry ``prometheus.io/scrape``; not where a PodMonitor finds them, or they are scraped twice."""
