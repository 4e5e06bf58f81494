"""Changes to files at random: as bytes, as tokens of a text, as steps of a pickle.

Files inside of archives are changed and packed again with right checksums.
"""

import gzip
import io
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Literal

from avemo_jax.runtime import safe_pickle

Kind = Literal["text", "binary", "pickle"]
_NUMBERS = (0, -1, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 10**12)
_TOKEN = re.compile(rb"[\w.+-]+|\s|[^\w\s]")
_TOKENS = (
    *(b"", b" ", b"\n", b"\r", b"\r\n", b"\0", b",", b";", b"\t", b'"', b"'", b'""'),
    *(b"-1", b"0", b"1e309", b"-1e-400", b"NaN", b"nan", b"NA", b"inf", b"-Infinity"),
    *(b"1_0", b"0x10", b"1" * 400, b"9" * 5000, b"99999999999", b"2147483648", b"0.5"),
    *(b"null", b"true", b"[]", b"{}", b"[" * 500, b'{"a":' * 500, b"[1]", b'{"a": 1}'),
    *(
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x80",
        b"\xc3\xa9",
        b"e\xcc\x81",
        b"\xe2\x80\xa8",
    ),
    *(b"\x1b[31m", b"=cmd|' /C calc'!A0", b"../../x", b"a" * 3000, b"\x85", b"\x0c"),
    *(b"train", b"video", b"frame", b"00001.jpg", b"/", b"\\", b"\\u0000", b"\\ud800"),
)
_STEPS = bytes(safe_pickle.WITH_OBJECTS)
_SNIPPETS = (
    b"cos\nsystem\nU\x04true\x85R",
    b"cbuiltins\neval\nU\x011\x85R",
    b"ctorch\nfloat32\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"cbuiltins\nset\n](K\x01K\x02e\x85R",
    b"c_codecs\nencode\nX\x02\x00\x00\x00aaU\x06latin1\x86R",
    b"ccollections\nOrderedDict\n)R",
    b"ctimm\nA\n)\x81}b",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\xff",
    b"J\xff\xff\xff\xff",
    b"\x8b\xff\xff\xff\x7f",
    b"X\xff\xff\xff\xff",
    b"\x8e\x00\x00\x00\x00\x00\x00\x00\x80",
    b"]q\x00h\x00a",
    b"\x85" * 400,
    b"h\x00h\x00\x86q\x00" * 64,
    b"(h\x00h\x01h\x02u",
    b"\x8f(h\x00\x90",
    b"(tQ",
)
Change = Callable[[bytearray, Sequence[bytes], random.Random], None]


def mutated(
    content: bytes, others: Sequence[bytes], rng: random.Random, kind: Kind
) -> bytes:
    """``content`` with one to eight changes.

    Args:
        content: A file.
        others: Files of which parts may be put in.
        rng: What decides.
        kind: Which changes suit the file.
    """
    if rng.random() < 0.85:
        if content.startswith(b"PK\x03\x04"):
            return _in_archive(content, others, rng, kind)
        if content.startswith(b"\x1f\x8b"):
            inside = mutated(gzip.decompress(content), others, rng, kind)
            return gzip.compress(inside, 1)
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_CHANGES[kind])(made, others, rng)
    return bytes(made)


def _in_archive(
    content: bytes, others: Sequence[bytes], rng: random.Random, kind: Kind
) -> bytes:
    """The archive with changes in one entry, or with an entry more or less."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {one: archive.read(one) for one in archive.infolist()}
    chosen = rng.choice(list(entries))
    pickles = [one for one in entries if one.filename.endswith("data.pkl")]
    if pickles and rng.random() < 0.8:
        chosen = pickles[0]
    lot = rng.random()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry, inside in entries.items():
            name = entry.filename
            if entry is chosen and lot < 0.03:
                continue
            if entry is chosen and lot < 0.06:
                name = rng.choice(("../" + name, "/" + name, name.upper(), "a" * 300))
            if entry is chosen and lot >= 0.06:
                inner = kind if name.endswith((".pkl", ".npy")) else "binary"
                inside = mutated(inside, others, rng, inner)
            archive.writestr(name, inside, entry.compress_type)
    return buffer.getvalue()


def _span(made: bytearray, rng: random.Random) -> tuple[int, int]:
    """First and last place of a span of up to 1,024 bytes, short ones more often."""
    at = rng.randrange(len(made) + 1)
    return at, min(at + int(2 ** rng.uniform(0, 10)), len(made))


def _flip(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if made:
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)


def _set(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if made:
        made[rng.randrange(len(made))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x20))


def _cut(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if rng.random() < 0.4:
        del made[rng.randrange(len(made) + 1) :]


def _remove(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    first, last = _span(made, rng)
    del made[first:last]


def _double(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    first, last = _span(made, rng)
    times = rng.choice((1, 1, 2, 50))
    made[first:first] = made[first:last] * times


def _move(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    first, last = _span(made, rng)
    part = made[first:last]
    at = rng.randrange(len(made) + 1)
    made[at : at + rng.choice((0, len(part)))] = part


def _splice(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    start = rng.randrange(len(other) + 1)
    first, last = _span(made, rng)
    if rng.random() < 0.3:
        made[first:] = other[start:]
    else:
        made[first:last] = other[start : start + last - first]


def _number(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    code = rng.choice("bhiq")
    size = struct.calcsize(code)
    value = rng.choice(_NUMBERS) % 2 ** (8 * size)
    at = rng.randrange(len(made) + 1)
    made[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _noise(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    first, last = _span(made, rng)
    made[first:last] = rng.randbytes(last - first)


def _token(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    """Put a word or a sign in place of another one, or before it."""
    found = list(_TOKEN.finditer(made))
    if not found:
        return
    place = rng.choice(found)
    end = place.end() if rng.random() < 0.8 else place.start()
    own = rng.choice(found).group() if rng.random() < 0.3 else rng.choice(_TOKENS)
    made[place.start() : end] = own


def _line(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    """Remove, double or move a line."""
    lines = bytes(made).split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(3):
        case 0:
            del lines[at]
        case 1:
            lines[at:at] = [lines[at]] * rng.choice((1, 2, 500))
        case 2:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
    made[:] = b"\n".join(lines)


def _step(made: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    """Change an instruction of a pickle, or put some in."""
    at = rng.randrange(len(made) + 1)
    match rng.randrange(3):
        case 0:
            made[at : at + 1] = bytes([rng.choice(_STEPS)])
        case 1:
            made[at:at] = rng.choice(_SNIPPETS)
        case 2:
            made[at:at] = bytes([rng.choice(_STEPS), rng.randrange(256)])


_BYTES: tuple[Change, ...] = (_flip, _set, _cut, _remove, _double, _move, _splice)
_BYTES += (_number, _noise)
_CHANGES: dict[Kind, tuple[Change, ...]] = {
    "binary": (*_BYTES, _flip, _number, _token),
    "text": (*_BYTES, *(_token,) * 9, *(_line,) * 3),
    "pickle": (*_BYTES, *(_step,) * 6),
}
