"""Ogg: pages and their logical streams (RFC 3533)."""

from __future__ import annotations

from dataclasses import dataclass

from .parts import Content, Part

_HEADER_BYTES = 27
_CONTINUED, _FIRST, _LAST = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Links:
    """Content of an Ogg file.

    Attributes:
        parts: Its links: consecutive recordings with their own headers.
        damage: Truncation within a page, in words; None otherwise.
        doubt: A stream without a last page, in words; None otherwise.
    """

    parts: tuple[Part, ...]
    damage: str | None
    doubt: str | None


def links(content: Content) -> Links:
    """Read the page headers of a file.

    A link begins where a stream begins after the pages of an earlier one: streams that begin together are one link.
    """
    starts: list[int] = []
    open_streams: set[int] = set()
    headers_alone, unfinished, damage = False, False, None
    size, at = len(content), max(content.find(b"OggS"), 0)
    while at < size:
        header = content[at : at + _HEADER_BYTES]
        if header[:4] != b"OggS":
            if b"OggS".startswith(header[:4]):
                damage = _CUT
                break
            at = content.find(b"OggS", at)
            if at < 0:  # tags, or zeros of a file system
                break
            continue
        end = at + _HEADER_BYTES + (header[26] if len(header) == _HEADER_BYTES else 0)
        end += sum(content[at + _HEADER_BYTES : end])
        if len(header) < _HEADER_BYTES or end > size:
            damage = _CUT
            break
        kind, stream = header[5], int.from_bytes(header[14:18], "little")
        if kind & _FIRST:
            if not headers_alone:
                unfinished |= bool(open_streams)
                open_streams.clear()
                starts.append(at)
            open_streams.add(stream)
        headers_alone = bool(kind & _FIRST)
        if kind & _LAST:
            open_streams.discard(stream)
        at = end
    doubt = _NO_END if damage is None and (unfinished or open_streams) else None
    return Links(tuple(Part(*ends) for ends in zip(starts, [*starts[1:], size], strict=True)), damage, doubt)


_CUT = "it was cut short within a page"
_NO_END = "it has no last page: its writer was interrupted, or what came after was cut off"
