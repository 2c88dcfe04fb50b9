"""The operator's process: Kopf watches, one supervised loop per search looks and acts, one Lease says who may write.

It must not know what a search is, how it is decided or what its objects mean: that is ``graphsearch.cluster``. It
never opens S3 and reads no Secret (design 6).

Decided against: Kopf's timers, daemons and indices (a failed patch ends them for good and unseen), its peering
(no leader election), its patches and results (they are annotations on our objects), and finalizers.
"""
