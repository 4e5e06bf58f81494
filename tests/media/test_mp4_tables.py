"""MP4 files whose tables would fill the memory, or never end: refused at once."""

import struct
import time

import pytest

from avemo_jax.media.audio import SoundError, open_sound
from avemo_jax.media.mp4_tables import check_tables
from avemo_jax.media.video import VideoError, open_video

UNITY = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
HEAD = b"\0\0\0\x18ftypisom\0\0\0\0isommp41"


def box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def table(name: bytes, *numbers: int, rest: bytes = b"") -> bytes:
    return box(name, struct.pack(f">{1 + len(numbers)}I", 0, *numbers), rest)


def mp4(
    kind: str,
    *,
    samples: int = 1,
    size: int = 1,
    step: int = 1,
    chunks: int = 1,
    edits: int = 0,
    more: bytes = b"",
) -> bytes:
    """A file with one track of pictures ("vide") or of PCM ("soun")."""
    if kind == "vide":
        entry = struct.pack(">I4s6xH", 86, b"mp4v", 1) + bytes(16)
        entry += struct.pack(">HH", 64, 64) + bytes(12) + struct.pack(">H", 1)
        entry += bytes(32) + struct.pack(">Hh", 24, -1)
    else:
        entry = struct.pack(">I4s6xH", 36, b"sowt", 1) + bytes(8)
        entry += struct.pack(">HHHHI", 1, 16, 0, 0, 48_000 << 16)
    places = struct.pack(">I", 2000) * chunks
    tables = box(
        b"stbl",
        table(b"stsd", 1, rest=entry),
        table(b"stts", 1, samples, step),
        table(b"stsc", 1, 1, max(1, samples // chunks), 1),
        table(b"stsz", size, samples),
        table(b"stco", chunks, rest=places),
    )
    links = table(b"dref", 1, rest=table(b"url ")[:8] + b"\0\0\0\1")
    media = box(
        b"mdia",
        table(b"mdhd", 0, 0, 1000, 1000, 0),
        box(b"hdlr", bytes(8), kind.encode(), bytes(13)),
        box(b"minf", box(b"dinf", links), tables),
    )
    listed = struct.pack(">IIHH", 10, 0, 1, 0) * edits
    edit = box(b"edts", table(b"elst", edits, rest=listed)) if edits else b""
    sizes = struct.pack(">II", 64 << 16, 64 << 16)
    head = table(b"tkhd", 0, 0, 1, 0, 1000, rest=bytes(16) + UNITY + sizes)
    of_all = table(b"mvhd", 0, 0, 1000, 1000, rest=bytes(16) + UNITY + bytes(28))
    moov = box(b"moov", of_all, box(b"trak", head, edit, media))
    return HEAD + more + moov + box(b"mdat", bytes(100_000))


def fragment(samples: int) -> bytes:
    return box(b"moof", box(b"traf", table(b"tfhd", 1), table(b"trun", samples)))


TOO_MANY = {
    "samples of pictures": (
        mp4("vide", samples=2**27),
        "tables state 134217728 samples in 1 ed",
    ),
    "samples of sound": (
        mp4("soun", samples=2**27, step=2),
        "tables state 134217728 samples in 1 e",
    ),
    "edits": (
        mp4("vide", samples=100_000, edits=1000),
        "tables state 100000 samples in 1000",
    ),
    "edits of one sample": (mp4("vide", edits=100_000), "1 samples in 100000 edits"),
    "edits of chunks": (
        mp4("soun", samples=10**6, chunks=10**5, edits=1000),
        "in 1000 edits",
    ),
    "fragments": (
        mp4("vide", more=fragment(2**24) + fragment(2**31)),
        "parts state 2164260864",
    ),
    "boxes": (mp4("vide", more=box(b"free") * 600_000), "over 524288 boxes"),
}


@pytest.mark.parametrize("attack", TOO_MANY)
def test_tables_that_fill_the_memory_are_refused(attack, tmp_path):
    data, said = TOO_MANY[attack]
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    began = time.process_time()
    for read, error in ((open_sound, SoundError), (open_video, VideoError)):
        with pytest.raises(error, match=rf"a\.mp4: cannot be opened .*{said}"):
            read(path)
    assert time.process_time() - began < 10


def whole_sound(path):
    return list(open_sound(path).blocks(48_000))


@pytest.mark.parametrize("kind", ["vide", "soun"])
def test_bytes_that_are_named_again_and_again(kind, tmp_path):
    """A million packets of a few hundred kilobytes."""
    path = tmp_path / "a.mp4"
    path.write_bytes(mp4(kind, samples=10**6, size=20_000, chunks=10**6, step=2))
    began = time.process_time()
    read = open_video if kind == "vide" else whole_sound
    with pytest.raises(
        (SoundError, VideoError), match=r"a\.mp4: its index names the same bytes again"
    ):
        read(path)
    assert time.process_time() - began < 10


def test_hours_of_sound_by_chunks_are_fine(tmp_path):
    """PCM states as many samples as there are, 173 million an hour."""
    path = tmp_path / "a.mov"
    path.write_bytes(mp4("soun", samples=48_000 * 3600, size=2, chunks=3600))
    check_tables(path)
    open_sound(path)


def test_other_files_pass(tmp_path):
    for data in (b"", b"RIFF", b"\0\0\0\1ftyp", HEAD, HEAD + b"\0\0\0\0moov"):
        path = tmp_path / "a"
        path.write_bytes(data)
        check_tables(path)
