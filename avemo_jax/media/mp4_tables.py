"""Bounds on the tables of MP4, MOV and 3GP files, before libav reads them.

A few bytes may state a hundred million samples, or have a table of samples copied once
for each of a thousand edits; libav then fills the memory before it has read any sound
or picture.
"""

import os
import pathlib
import struct
from typing import BinaryIO

import av

_MOST_SAMPLES = 2**24  # of a track, times its edits: four hours of 1000 pictures/s
_MOST_EDITS = 2**16  # of a track
_MOST_BOXES = 2**19
_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"styp", b"moof")
_NESTED = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf")
# Tables that are looked at: their bytes before the number of entries, and more.
_HEADS = {b"elst": 8, b"stsz": 12, b"stz2": 12, b"stts": 16, b"hdlr": 12, b"trun": 8}
_HEADS |= {b"stco": 8, b"co64": 8}
_ONE = (1).to_bytes(4, "big")
_IN_CHUNKS = 1024  # samples of a chunk that libav takes as one


def check_tables(path: pathlib.Path) -> None:
    """Check a file of this family, and let all others pass.

    Args:
        path: Path of the file.

    Raises:
        av.error.InvalidDataError: If its tables state too many samples, or it has too
            many boxes.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] not in _FIRST:
            return
        _Tables(file, path).check()


class _Tables:
    """The numbers of samples that the tables of a file state."""

    def __init__(self, file: BinaryIO, path: pathlib.Path):
        self._file, self._path = file, path
        self._boxes = self._fragments = 0

    def check(self) -> None:
        """Raise if there are too many samples or boxes."""
        self._walk(0, self._file.seek(0, os.SEEK_END), {})

    def _walk(self, at: int, end: int, track: dict[bytes, bytes]) -> None:
        """Look at the boxes between two places; ``track`` gets the heads of tables."""
        while at + 8 <= end:
            self._boxes += 1
            if self._boxes > _MOST_BOXES:
                self._refuse(f"it has over {_MOST_BOXES} boxes")
            self._file.seek(at)
            size, name = struct.unpack(">I4s", self._file.read(8))
            start = at + 8
            if size == 1:
                size = int.from_bytes(self._file.read(8), "big")
                start += 8
            stop = min(end, at + size) if size else end
            if name in _NESTED:
                within = {} if name == b"trak" else track
                self._walk(start, stop, within)
                if name == b"trak":
                    self._check_track(within)
            elif name in _HEADS:
                head = self._file.read(min(_HEADS[name], stop - start))
                track.setdefault(name, head.ljust(_HEADS[name], b"\0"))
                if name == b"trun":
                    self._fragments += _number(head, 4)
                    if self._fragments > _MOST_SAMPLES:
                        self._refuse(f"its parts state {self._fragments} samples")
            if stop <= at:
                return
            at = max(stop, start)

    def _check_track(self, heads: dict[bytes, bytes]) -> None:
        sizes = heads.get(b"stsz", bytes(12))
        samples = _number(heads.get(b"stz2", sizes), 8)
        times = heads.get(b"stts", bytes(16))
        is_sound = heads.get(b"hdlr", b"")[8:12] == b"soun"
        if is_sound and _number(sizes, 4) and (times[4:8], times[12:]) == (_ONE, _ONE):
            # Sound of one size and time a sample is read by chunks.
            chunks = heads.get(b"stco", heads.get(b"co64", bytes(8)))
            samples = _number(chunks, 4) + samples // _IN_CHUNKS
        edits = max(1, _number(heads.get(b"elst", bytes(8)), 4))
        if samples * edits > _MOST_SAMPLES or edits > _MOST_EDITS:
            self._refuse(f"its tables state {samples} samples in {edits} edits")

    def _refuse(self, what: str) -> None:
        code = av.error.InvalidDataError  # as libav's own faults of files
        raise code(1094995529, what, os.fspath(self._path))


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
