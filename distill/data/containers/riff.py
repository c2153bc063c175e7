"""WAV files whose writer never came back to say how many samples there are."""

from __future__ import annotations

from .parts import Content, Part


def streamed(content: Content) -> Part | None:
    """The file with sizes in its header, where they are 0 and there are samples; None where it is as it should be."""
    size, at = len(content), 12
    if 8 + int.from_bytes(content[4:8], "little") == size:
        return None
    while at + 8 < size:
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"data":
            whole, samples = ((size - before).to_bytes(4, "little") for before in (8, at + 8))
            header = b"RIFF" + whole + content[8 : at + 4] + samples
            return None if length else Part(at + 8, size, header)
        at += 8 + length + length % 2
    return None
