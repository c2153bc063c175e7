"""Soft switches: alternatives to a gate that opens on-policy training all at once.

`ShareRule` says what share of an on-policy stage's steps is taken on transcripts that the student did not write, as
a function of the step (`LinearShare`) or of the last overlap reading (`OverlapShare`):

>>> from overlap.soft_switches import LinearShare, OverlapShare
>>> LinearShare(steps=300).share(None, step=75).value
0.75
>>> rule = OverlapShare("total_variation", low=0.2, high=0.6, mode="min", on="value")
>>> rule.share({"total_variation": 0.5}, step=0).value
0.75

`overlap.soft_switches.trust_region` has the rollout policy nearest the teacher within a KL ball around the student. It
needs PyTorch and is imported from there.
"""

from overlap.soft_switches.anneal import linear
from overlap.soft_switches.shares import LinearShare, OverlapShare, Share, ShareRule

__all__ = ["LinearShare", "OverlapShare", "Share", "ShareRule", "linear"]
