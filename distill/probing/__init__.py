"""Overlap of a pair on a set of utterances: probes, traces, one utterance in full, and a server before a run."""
