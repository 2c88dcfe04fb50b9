"""A search on a Kubernetes cluster: what is there, what follows from it, and the objects that make it so (design 4-6).

Gathered: Jobs and pods (``children``, ``pods``), rung scores from Prometheus or from the pods themselves
(``reading``). Carried out: Jobs (``jobs``, ``report_job``) and the recorded facts (``recorded``). Shown: conditions
and counters (``showing``). It must not know Kopf, nor open S3 or read a Secret: trainers do that.
"""
