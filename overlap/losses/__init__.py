"""Training objectives: divergences on a set of tokens or the full vocabulary, with their gradients."""
