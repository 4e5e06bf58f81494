"""Colours of high dynamic range and wide gamut to those that networks were trained on.

Face networks were trained on pictures of standard range with the primaries of sRGB and
BT.709. Pictures by PQ or HLG (telephones, television) are dull and dark without a
conversion. Each channel's code values become light in units of diffuse white, 203 cd/m2
(ITU-R BT.2408-7, table 1), which a curve bends into [0, 1]; then the primaries are
converted, and light becomes code values for a display of gamma 2.4 (ITU-R BT.1886), as
those of standard videos are.

Up to 3/4 of diffuse white, where faces are, the curve changes nothing. Above it, the
light up to 1000 cd/m2 is pressed into the rest by the extended operator of Reinhard et
al. (Photographic Tone Reproduction for Digital Images, 2002, equation 4), joined
without a bend: diffuse white becomes 7/8 of the light of standard white, code value 241
of 255.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float32, Float64, UInt8, UInt16

# Numbers of ITU-T H.273, as libav has them.
PQ, HLG = 16, 18  # transfer characteristics
BT709, UNSPECIFIED, BT2020 = 1, 2, 9  # primaries

DIFFUSE_WHITE = 203.0  # cd/m2
_PEAK = 1000.0  # cd/m2 that become the brightest value; HLG's nominal peak
_KNEE = 0.75  # of diffuse white
_DISPLAY_GAMMA = 2.4
_HLG_GAMMA = 1.2  # of the whole system at 1000 cd/m2 (ITU-R BT.2100-2)
_BITS = 12  # of the tables; code values have 16
# Linear BT.2020 to linear BT.709, ITU-R BT.2087-0.
_2020_TO_709 = np.array(
    [
        [1.6605, -0.5876, -0.0728],
        [-0.1246, 1.1329, -0.0083],
        [-0.0182, -0.1006, 1.1187],
    ],
    np.float32,
)
_ROWS = 64  # of a picture at a time, so that what is computed stays in caches

Codes = Float64[np.ndarray, " codes"]


def pq_light(codes: Codes) -> Codes:
    """Light in cd/m2 of code values in [0, 1] by PQ (ITU-R BT.2100-2)."""
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    root = codes ** (1 / m2)
    return 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def hlg_light(codes: Codes) -> Codes:
    """Light in cd/m2 of code values in [0, 1] by HLG on a display of 1000 cd/m2.

    The system's gamma is applied to each channel instead of to their luminance
    (ITU-R BT.2100-2): greys are exact, colours become a little stronger.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
    return _PEAK * scene**_HLG_GAMMA


def pressed(light: Codes) -> Codes:
    """Light in units of diffuse white, bent into [0, 1]; the module has the curve."""
    white = (_PEAK / DIFFUSE_WHITE - _KNEE) / (1 - _KNEE)
    over = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    bent = over * (1 + over / white**2) / (1 + over)
    return np.minimum(np.where(light <= _KNEE, light, _KNEE + (1 - _KNEE) * bent), 1)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What the colours of a picture need to be of standard range and of BT.709.

    Attributes:
        transfer: Transfer characteristic by its number in H.273; one that is neither PQ
            nor HLG is taken for standard range.
        is_wide: Whether the primaries are those of BT.2020.
        note: What is done, in words.
    """

    transfer: int
    is_wide: bool
    note: str

    def __call__(
        self, codes: UInt16[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The converted picture.

        Args:
            codes: RGB code values over the whole range of 16 bits.
        """
        light, values = _light_of(self.transfer), _values_of_light()
        out = np.empty(codes.shape, np.uint8)
        for start in range(0, len(codes), _ROWS):
            rows = slice(start, start + _ROWS)
            linear = light[codes[rows] >> (16 - _BITS)]
            if self.is_wide:
                linear = linear @ _2020_TO_709.T
            np.clip(linear, 0, 1, out=linear)
            linear *= len(values) - 1
            linear += 0.5
            out[rows] = values[linear.astype(np.uint16)]
        return out


def conversion_of(transfer: int, primaries: int) -> Conversion | None:
    """The conversion that a picture needs; None: it is of standard range and gamut.

    Args:
        transfer: Its transfer characteristic, by the number in H.273.
        primaries: Its primaries, by the number in H.273; where a picture of high range
            does not state them, those of BT.2020 are assumed, which both standards use.
    """
    kinds = {PQ: "PQ", HLG: "HLG"}
    is_wide = primaries == BT2020
    if transfer in kinds:
        is_wide |= primaries == UNSPECIFIED
        note = f"high dynamic range ({kinds[transfer]}), tone-mapped to standard range"
    elif is_wide:
        note = "colours of a wide gamut (BT.2020), converted to BT.709"
    else:
        return None
    if not is_wide and primaries != BT709:
        note += f"; their primaries (number {primaries} of H.273) are kept"
    return Conversion(transfer, is_wide, note)


@functools.cache
def _light_of(transfer: int) -> Float32[np.ndarray, " codes"]:
    """Light in [0, 1] of each code value of 12 bits."""
    codes = (np.arange(2**_BITS) + 0.5) / 2**_BITS
    if transfer == PQ:
        light = pressed(pq_light(codes) / DIFFUSE_WHITE)
    elif transfer == HLG:
        light = pressed(hlg_light(codes) / DIFFUSE_WHITE)
    else:
        light = codes**_DISPLAY_GAMMA
    return light.astype(np.float32)


@functools.cache
def _values_of_light() -> UInt8[np.ndarray, " lights"]:
    """The value of 8 bits for each of 65,536 steps of light from 0 to 1.

    The darkest values are the steepest: the first step is value 3.
    """
    light = np.arange(2**16) / (2**16 - 1)
    return np.round(255 * light ** (1 / _DISPLAY_GAMMA)).astype(np.uint8)
