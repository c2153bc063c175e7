"""MPEG audio (MP3 and its elder layers): frames, and the headers in which encoders say how many there are."""

from __future__ import annotations

from dataclasses import dataclass

from .parts import Content, Part

_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by version (2 also for 2.5) and layer (2 also for layer III of version 2); ISO 11172-3, 13818-3."""

_HERTZ = (44100, 48000, 32000)
_RESYNC_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Stream:
    """What an MPEG file holds.

    Attributes:
        frames: Samples a channel in frames of sound, those that an encoder padded with among them.
        promised: Samples a channel that headers promise, padding among them; None where a part has no such header.
        as_headed: Whether it is one part whose header is right, so that a decoder need not guess.
        ends_within_frame: Whether the last frame is not whole.
        parts: One an encoder's header, each with one of its own if it has none.
    """

    frames: int
    promised: int | None
    as_headed: bool
    ends_within_frame: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Frame:
    version: int
    layer: int
    hertz: int
    mono: bool
    bytes: int
    samples: int
    header: bytes

    @property
    def kind(self) -> tuple[int, int, int, bool]:
        return self.version, self.layer, self.hertz, self.mono

    @property
    def side_bytes(self) -> int:
        """Header and side information of layer III."""
        return 4 + ((17 if self.mono else 32) if self.version == 1 else (9 if self.mono else 17))


@dataclass(slots=True)
class _Run:
    """Frames between two headers of encoders, or between two gaps."""

    start: int
    first: _Frame
    promised: int | None
    tag: bytes
    n: int
    stop: int = 0


def stream(content: Content) -> Stream | None:
    """Go through the frames of a file, without decoding them.

    Returns:
        What it holds; None where there are no frames that can be followed, as in free format.
    """
    runs: list[_Run] = []
    size, at, broken = len(content), _after_tags(content, 0), True
    within_frame = False
    while at < size:
        frame = _frame(content, at)
        if frame is None or (broken and not _confirmed(content, at, frame)):
            behind = _after_tags(content, at)
            found = behind if behind > at else _next(content, at)
            if found is None:
                break
            at, broken = found, True
            continue
        if at + frame.bytes > size:
            within_frame = True
            break
        tagged, promised = _promise(content, at, frame)
        if tagged or broken or frame.kind != runs[-1].first.kind:
            runs.append(
                _Run(at, frame, promised, content[at : at + frame.bytes] if tagged else b"", 0 if tagged else 1)
            )
        else:
            runs[-1].n += 1
        broken = False
        at += frame.bytes
        runs[-1].stop = at
    runs = [run for run in runs if run.n]
    if not runs:
        return None
    return _stream(runs, within_frame)


def _stream(runs: list[_Run], within_frame: bool) -> Stream:
    total = sum(run.n * run.first.samples for run in runs)
    promised = None
    if all(run.promised is not None for run in runs):
        # Some encoders count the frame with their header as one of sound.
        counts = [run.n if (run.promised or 0) - run.n == 1 and not within_frame else run.promised or 0 for run in runs]
        promised = sum(n * run.first.samples for n, run in zip(counts, runs, strict=True))
    parts = []
    for run in runs:
        right = run.tag and run.promised == run.n
        parts.append(Part(run.start + (0 if right else len(run.tag)), run.stop, b"" if right else _header(run)))
    as_headed = len(runs) == 1 and runs[0].promised == runs[0].n
    return Stream(total, promised, as_headed, within_frame, tuple(parts))


def _frame(content: Content, at: int) -> _Frame | None:
    header = content[at : at + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = {3: 1, 2: 2, 0: 25}.get(header[1] >> 3 & 3), 4 - (header[1] >> 1 & 3)
    rate, hertz = header[2] >> 4, header[2] >> 2 & 3
    if version is None or layer == 4 or rate in (0, 15) or hertz == 3:
        return None
    table = (1, layer) if version == 1 else (2, min(layer, 2))
    bps, hz = 1000 * _KBPS[table][rate - 1], _HERTZ[hertz] // {1: 1, 2: 2, 25: 4}[version]
    samples = {1: 384, 2: 1152, 3: 1152 if version == 1 else 576}[layer]
    padding = header[2] >> 1 & 1
    length = (12 * bps // hz + padding) * 4 if layer == 1 else samples // 8 * bps // hz + padding
    return _Frame(1 if version == 1 else 2, layer, hz, header[3] >> 6 == 3, length, samples, bytes(header))


def _confirmed(content: Content, at: int, frame: _Frame) -> bool:
    """Whether a frame of the same kind, or the end, follows: four bytes alone look like a header by chance."""
    after = at + frame.bytes
    following = _frame(content, after)
    return after >= len(content) or (following is not None and following.kind == frame.kind)


def _next(content: Content, at: int) -> int | None:
    """Where the next frame may begin, not far off; None where what follows is no sound."""
    found = content.find(b"\xff", at + 1, at + _RESYNC_BYTES)
    while found >= 0:
        frame = _frame(content, found)
        if frame is not None and found + frame.bytes < len(content) and _confirmed(content, found, frame):
            return found
        found = content.find(b"\xff", found + 1, at + _RESYNC_BYTES)
    return None


def _after_tags(content: Content, at: int) -> int:
    """Behind the tags (ID3, APE) that stand at a place."""
    while True:
        start = content[at : at + 32]
        if start[:3] == b"ID3" and len(start) > 10:
            at += 10 + sum((byte & 127) << 7 * i for i, byte in enumerate(reversed(start[6:10])))
            at += 10 if start[5] & 16 else 0
        elif start[:3] == b"TAG":
            at += 128
        elif start[:8] == b"APETAGEX" and len(start) == 32:
            header = start[23] & 32
            at += 32 + (int.from_bytes(start[12:16], "little") if header else 0)
        else:
            return at


def _promise(content: Content, at: int, frame: _Frame) -> tuple[bool, int | None]:
    """Whether a frame is a header of Xing, LAME or Fraunhofer, and how many frames it promises."""
    tag = at + frame.side_bytes
    if frame.layer == 3 and content[tag : tag + 4] in (b"Xing", b"Info"):
        counted = content[tag + 7] & 1
        return True, int.from_bytes(content[tag + 8 : tag + 12], "big") if counted else None
    if frame.layer == 3 and content[at + 36 : at + 40] == b"VBRI":
        return True, int.from_bytes(content[at + 50 : at + 54], "big")
    return False, None


def _header(run: _Run) -> bytes:
    """A frame without sound that says how many frames follow, for a decoder that would otherwise guess."""
    frame, count = run.first, run.n.to_bytes(4, "big")
    if frame.layer != 3:
        return b""
    at = frame.side_bytes
    if run.promised is not None and run.tag[at : at + 4] in (b"Xing", b"Info"):  # it knows the encoder's delay
        return run.tag[: at + 8] + count + run.tag[at + 12 :]
    # No checksum, and a bit rate at which the frame has room: 128 or 64 kbit/s.
    rate = 9 if frame.version == 1 else 8
    header = bytes([frame.header[0], frame.header[1] | 1, rate << 4 | frame.header[2] & 0x0C, frame.header[3]])
    made = _frame(header, 0)
    assert made is not None
    return (header.ljust(at, b"\0") + b"Xing\0\0\0\1" + count).ljust(made.bytes, b"\0")
