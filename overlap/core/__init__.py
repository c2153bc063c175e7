"""Tensors, top-k sets, divergences and output layers: what every statistic and loss is made of."""
