"""Statistics of one position between two checkpoints."""

from overlap.definitions.definition import Definition

CHECKPOINT_STATISTICS: dict[str, Definition] = {
    "fixed_context_gain": Definition(
        unit="of the divergence",
        formula="divergence before − divergence after, at the same recorded context (audio and prefix)",
        range="−∞ … ∞",
        undefined="where the divergence is undefined or infinite in both checkpoints, or undefined in either",
        source="arXiv 2605.26844",
        reading="Above 0, the student came closer to the teacher at this context. It is the token-level outcome that "
        "other statistics should predict. A position with a large divergence can fall further: an earlier divergence "
        "correlates with its own gain by noise alone.",
    ),
}
"""Statistics between two checkpoints, see `overlap.statistics.gain`."""
