"""The rules once more, from their formulas: plain loops over Python floats that share no code with the library."""

import math

import torch


def prune(overlaps, outside=None, tau=0.7, d=0.02):
    """One rollout's overlaps, and for the second version whether each token is outside."""
    result, so_far = [], 0
    for t, overlap in enumerate(overlaps):
        if overlap < tau and (outside is None or outside[t]):
            so_far += 1
        result.append(min(1.0, max(0.0, 1.0 - d * so_far)))
    return result


def selectkd(accepted):
    return [1.0 if one else 0.01 for one in accepted]


def iw(log_p, log_q, gamma=0.5):
    sizes = [abs(q - p) for p, q in zip(log_p, log_q, strict=True)]
    total = sum(sizes)
    return [1 + gamma * (1 - (sum(sizes[:t]) / total if total else 0.0)) for t in range(len(sizes))]


def tropd(log_p, log_q):
    return [min(math.exp(q) / math.exp(p), 1.0) for p, q in zip(log_p, log_q, strict=True)]


def tip(entropies, divergences):
    """All positions of all rollouts."""

    def scaled(values):
        low, high = min(values), max(values)
        return [(value - low) / (high - low) if high > low else 0.0 for value in values]

    scores = [h + d - h * d for h, d in zip(scaled(entropies), scaled(divergences), strict=True)]
    n = -(-len(scores) // 2)
    worse_than = [sum(other > score for other in scores) for score in scores]
    return [1.0 if better < n else 0.0 for better in worse_than]


def sead(student, teacher, certain=0.1):
    """0 skips, 1 is the reverse KL, 2 the forward KL."""
    return [2 if t >= certain else (1 if s >= certain else 0) for s, t in zip(student, teacher, strict=True)]


def rows(tensor, mask) -> list[list[float]]:
    return [[float(value) for value in row[keep]] for row, keep in zip(tensor, mask, strict=True)]


def padded(rollouts: list[list[float]], length: int) -> torch.Tensor:
    """[B, L] float64 with NaN after the end."""
    result = torch.full((len(rollouts), length), torch.nan, dtype=torch.float64)
    for b, rollout in enumerate(rollouts):
        result[b, : len(rollout)] = torch.tensor(rollout, dtype=torch.float64)
    return result
