"""MPEG audio (layers I to III): frames, and encoder headers with the number of frames."""

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
_TAIL_BYTES = 2**12
"""Maximum number of unknown bytes after the last frame, such as unknown tags, that are not a sign of damage."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Content of an MPEG file.

    Attributes:
        frames: Samples per channel in frames of sound, including encoder padding.
        promised: Samples per channel that headers promise, including padding, plus those of joined files without a
            header.
        is_joined: Whether it was joined from several files.
        as_headed: Whether it is one part with a correct header, so a decoder need not estimate.
        doubt: Possible damage if no header gives the length; None if there is no sign of it.
        parts: Parts to decode one after another; a header is added to those without one. If frames are missing, only
            the parts before the gap, if it can be located.
    """

    frames: int
    promised: int
    is_joined: bool
    as_headed: bool
    doubt: str | None
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
    """Frames between two headers of encoders, or between two gaps.

    `continues` marks a run after a gap: bytes that are neither frames nor tags.
    """

    start: int
    first: _Frame
    promised: int | None
    tag: bytes
    n: int
    continues: bool
    stop: int = 0


def stream(content: Content) -> Stream | None:
    """Count the frames of a file without decoding them.

    Returns:
        Its content; None if frames cannot be followed, as in free format.
    """
    runs: list[_Run] = []
    size, at, broken, tags = len(content), _skip_tags(content, 0), True, True
    within_frame = False
    while at < size:
        frame = _frame(content, at)
        if frame is None or (broken and not _is_followed_by_frame(content, at, frame)):
            behind = _skip_tags(content, at)
            tags = tags or behind > at
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
            continues = broken and not tags and not tagged and frame.kind == runs[-1].first.kind
            tag = content[at : at + frame.bytes] if tagged else b""
            runs.append(_Run(at, frame, promised, tag, 0 if tagged else 1, continues))
        else:
            runs[-1].n += 1
        broken = tags = False
        at += frame.bytes
        runs[-1].stop = at
    files = _files(runs)
    return _stream(files, within_frame, size - at) if files else None


def _files(runs: list[_Run]) -> list[list[_Run]]:
    """Return the runs of each of the joined files."""
    files: list[list[_Run]] = []
    for run in runs:
        if run.continues:
            files[-1].append(run)
        else:
            files.append([run])
    return [file for file in files if any(run.n for run in file)]


def _stream(files: list[list[_Run]], within_frame: bool, rest: int) -> Stream:
    total = promised = 0
    whole: list[_Run] = []
    doubt = "it ends within a frame" if within_frame else None
    is_whole = True
    for file in files:
        head, n = file[0], sum(run.n for run in file)
        # Some encoders include the frame with their header in the count.
        counts_header = len(file) == 1 and head.promised == n + 1 and not within_frame
        expected = n if head.promised is None or counts_header else max(n, head.promised)
        total += n * head.first.samples
        promised += expected * head.first.samples
        if head.promised is None and len(file) > 1:
            doubt = f"{file[1].start - head.stop:,} bytes within it are no frames of MPEG"
        elif head.promised is None and file is files[-1] and not within_frame and rest > _TAIL_BYTES:
            doubt = f"its last {rest:,} bytes are no frames of MPEG"
        if is_whole:
            whole += file if expected == n else file[:1]
        is_whole = is_whole and expected == n
    parts = []
    for run in whole:
        if run.n:
            right = run.tag and run.promised == run.n
            parts.append(Part(run.start + (0 if right else len(run.tag)), run.stop, b"" if right else _header(run)))
    first = files[0][0]
    as_headed = len(files) == len(files[0]) == 1 and first.promised == first.n
    return Stream(total, promised, len(files) > 1, as_headed, doubt, tuple(parts))


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


def _is_followed_by_frame(content: Content, at: int, frame: _Frame) -> bool:
    """Return whether a frame of the same kind or the end follows: four bytes may look like a header by chance."""
    after = at + frame.bytes
    following = _frame(content, after)
    return after >= len(content) or (following is not None and following.kind == frame.kind)


def _next(content: Content, at: int) -> int | None:
    """Return the start of the next possible frame nearby; None if the following bytes are not sound."""
    found = content.find(b"\xff", at + 1, at + _RESYNC_BYTES)
    while found >= 0:
        frame = _frame(content, found)
        if frame is not None and found + frame.bytes < len(content) and _is_followed_by_frame(content, found, frame):
            return found
        found = content.find(b"\xff", found + 1, at + _RESYNC_BYTES)
    return None


def _skip_tags(content: Content, at: int) -> int:
    """Return the position after tags (ID3, APE)."""
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
    """Return whether a frame is a header of Xing, LAME or Fraunhofer, and how many frames it promises."""
    tag = at + frame.side_bytes
    if frame.layer == 3 and content[tag : tag + 4] in (b"Xing", b"Info"):
        counted = content[tag + 7] & 1
        return True, int.from_bytes(content[tag + 8 : tag + 12], "big") if counted else None
    if frame.layer == 3 and content[at + 36 : at + 40] == b"VBRI":
        return True, int.from_bytes(content[at + 50 : at + 54], "big")
    return False, None


def _header(run: _Run) -> bytes:
    """Return a frame without sound that contains the number of frames, for decoders that would otherwise estimate
    it."""
    frame, count = run.first, run.n.to_bytes(4, "big")
    if frame.layer != 3:
        return b""
    at = frame.side_bytes
    if run.promised is not None and run.tag[at : at + 4] in (b"Xing", b"Info"):  # it knows the encoder's delay
        return run.tag[: at + 8] + count + run.tag[at + 12 :]
    # No checksum, and a bit rate with enough room in the frame: 128 or 64 kbit/s.
    rate = 9 if frame.version == 1 else 8
    header = bytes([frame.header[0], frame.header[1] | 1, rate << 4 | frame.header[2] & 0x0C, frame.header[3]])
    made = _frame(header, 0)
    assert made is not None
    return (header.ljust(at, b"\0") + b"Xing\0\0\0\1" + count).ljust(made.bytes, b"\0")
