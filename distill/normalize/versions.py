"""The part of a normalizer's version that names its libraries."""

from importlib import metadata


def versions(*distributions: str) -> str:
    """Return names and installed versions, as in ``transformers 5.13.0, whisper-normalizer 0.1.15``."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in distributions)
