"""Utterances and their audio: manifests and data sets, decoding, batches, and the order of training."""
