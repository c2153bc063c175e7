"""The basis of all statistics and losses: tensor checks, top-k sets, divergences, output layers."""
