"""The basis of all statistics and losses: tensor checks, supports, divergences, output layers."""
