"""Actual lengths of recordings, independent of their headers."""

from .layout import Layout, layout, part_file, read_parts
from .parts import UnreadableParts

__all__ = ["Layout", "UnreadableParts", "layout", "part_file", "read_parts"]
