"""High dynamic range lands where standard range has the same patches."""

import av
import numpy as np
import pytest
from made.videos import encode_frames, ten_bits

from avemo_jax.media import tone_mapping
from avemo_jax.media.tone_mapping import conversion_of, hlg_light, pq_light, pressed
from avemo_jax.media.video import open_video

PQ, HLG, BT709, BT2020 = 16, 18, 1, 9
WHITE = 203.0
VALUE = 2  # of 255: what 10 bits, rounding and codecs may take
KR, KB = 0.2627, 0.0593  # BT.2020
LOSSLESS_265 = {"x265-params": "lossless=1:log-level=none"}


def pq_code(light: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100-2, table 4: the inverse EOTF of light in cd/m2."""
    power = (np.asarray(light) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_code(scene: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100-2, table 5: the OETF of light of the scene in [0, 1]."""
    scene = np.asarray(scene, float)
    a, b, c = 0.17883277, 1 - 4 * 0.17883277, 0.55991073
    high = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def standard(light: np.ndarray) -> np.ndarray:
    """The value of 8 bits that shows light in units of standard white."""
    return 255 * np.asarray(light, float) ** (1 / 2.4)


def made(tmp_path, codes, trc, primaries=BT2020, space=9, kind=("mkv", "ffv1")):
    """The pixels and notes of a video of patches, 16 x 16 each, of R'G'B' codes."""
    codes = np.atleast_2d(np.asarray(codes, float))
    kr, kb = (KR, KB) if space == 9 else (0.2126, 0.0722)
    luma = codes @ [kr, 1 - kr - kb, kb]
    blue = (codes[:, 2] - luma) / (2 * (1 - kb))
    red = (codes[:, 0] - luma) / (2 * (1 - kr))
    patches = np.stack([luma, blue, red], -1)[None].repeat(16, 0).repeat(16, 1)
    told = {"color_trc": trc, "color_primaries": primaries, "colorspace": space}
    path = encode_frames(
        tmp_path / f"a.{kind[0]}",
        kind[1],
        [ten_bits(patches) for _ in range(3)],
        told=told | {"color_range": 1},
        options=LOSSLESS_265 if kind[1] == "libx265" else {},
    )
    video = open_video(path)
    pictures = list(video.pictures())
    assert {picture.dtype.name for picture in pictures} == {"uint8"}
    middles = pictures[1][8, 8::16].astype(int)
    return middles, video.notes


@pytest.mark.parametrize(
    "kind", [("mkv", "ffv1"), ("mp4", "libx265"), ("mkv", "libx265")]
)
def test_grey_and_white_by_pq(kind, tmp_path):
    light = np.array([0, 5, 26, 0.18 * WHITE, 100, 150, WHITE, 500, 1000, 4000])
    codes = np.repeat(pq_code(light)[:, None], 3, 1)
    found, notes = made(tmp_path, codes, PQ, kind=kind)
    assert (np.ptp(found, axis=1) <= 1).all()  # grey stays grey
    dark = light <= 0.75 * WHITE
    np.testing.assert_allclose(
        found[dark, 0], standard(light[dark] / WHITE), rtol=0, atol=VALUE
    )
    # 18 % grey of a camera, 26 cd/m2 by BT.2408, is 104 by BT.709's curve.
    assert found[2, 0] == pytest.approx(255 * (1.099 * 0.18**0.45 - 0.099), abs=5)
    # Diffuse white is within 6 % of standard white, and highlights are above it.
    assert found[6, 0] == pytest.approx(241, abs=VALUE)
    assert found[7, 0] > found[6, 0] + 3
    assert found[8:, 0].tolist() == [255, 255]
    assert notes == ("high dynamic range (PQ), tone-mapped to standard range",)


def test_grey_and_white_by_hlg(tmp_path):
    # BT.2408: diffuse white is 75 %, a camera's 18 % grey 38 % of the signal.
    found, notes = made(tmp_path, np.repeat([[0], [0.38], [0.75], [1]], 3, 1), HLG)
    np.testing.assert_allclose(found[:, 0], [0, 108, 241, 255], atol=VALUE)
    assert notes == ("high dynamic range (HLG), tone-mapped to standard range",)


def test_colours_become_those_of_bt_709(tmp_path):
    light = np.array([[0.40, 0.20, 0.10], [0.05, 0.30, 0.20], [0.10, 0.12, 0.60]])
    wide = light @ np.linalg.inv(tone_mapping._2020_TO_709.astype(float)).T
    found, _ = made(tmp_path, pq_code(wide * WHITE), PQ)
    np.testing.assert_allclose(found, standard(light), rtol=0, atol=2 * VALUE)
    # The same without a conversion: what libav gives is far from it.
    assert np.abs(255 * pq_code(wide * WHITE) - standard(light)).max() > 20


def test_a_colour_outside_of_bt_709_is_its_nearest_inside(tmp_path):
    wide = np.array([[0.0, 0.3, 0.0]])
    found, _ = made(tmp_path, pq_code(wide * WHITE), PQ)
    assert found[0, [0, 2]].tolist() == [0, 0]
    assert found[0, 1] == pytest.approx(standard([0.3 * 1.1329])[0], abs=2 * VALUE)


def test_standard_range_of_a_wide_gamut(tmp_path):
    light = np.array([[0.40, 0.20, 0.10], [0.2, 0.2, 0.2]])
    wide = light @ np.linalg.inv(tone_mapping._2020_TO_709.astype(float)).T
    found, notes = made(tmp_path, wide ** (1 / 2.4), 14)
    np.testing.assert_allclose(found, standard(light), rtol=0, atol=2 * VALUE)
    assert notes == ("colours of a wide gamut (BT.2020), converted to BT.709",)


def test_ten_bits_of_standard_range_are_left(tmp_path):
    codes = np.array([[0.2, 0.4, 0.6], [0.5, 0.5, 0.5], [1, 1, 1]])
    found, notes = made(tmp_path, codes, 1, BT709, 1)
    np.testing.assert_allclose(found, 255 * codes, rtol=0, atol=2 * VALUE)
    assert notes == ()


def test_other_primaries_are_kept_and_said(tmp_path):
    light = np.array([[0.40, 0.20, 0.10]])
    found, notes = made(tmp_path, pq_code(light * WHITE), PQ, primaries=12)
    np.testing.assert_allclose(found, standard(light), rtol=0, atol=2 * VALUE)
    assert notes == (
        "high dynamic range (PQ), tone-mapped to standard range; their primaries "
        "(number 12 of H.273) are kept",
    )


def test_curves_are_those_of_the_standards():
    codes = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(pq_code(pq_light(codes)), codes, atol=1e-6)
    np.testing.assert_allclose(
        hlg_code((hlg_light(codes) / 1000) ** (1 / 1.2)), codes, atol=1e-7
    )
    assert pq_light(np.array([0.5806]))[0] == pytest.approx(203, rel=1e-3)
    assert hlg_light(np.array([0.75]))[0] == pytest.approx(203, rel=2e-3)


def test_the_curve_bends_without_a_step():
    light = np.linspace(0, 8, 80_001)
    bent = pressed(light)
    np.testing.assert_array_equal(bent[light <= 0.75], light[light <= 0.75])
    slope = np.diff(bent) / np.diff(light)
    assert (slope > -1e-12).all()
    assert (np.diff(slope)[light[1:-1] < 4.9] < 1e-6).all()  # ever flatter
    assert np.abs(np.diff(slope)[light[1:-1] < 4.9]).max() < 1e-3
    assert bent.max() == 1
    assert pressed(np.array([1000 / 203]))[0] == pytest.approx(1)


def test_what_needs_no_conversion():
    for transfer in (1, 2, 6, 13, 14):
        for primaries in (1, 2, 5, 6, 12):
            assert conversion_of(transfer, primaries) is None
    assert conversion_of(PQ, 2).is_wide
    assert not conversion_of(HLG, BT709).is_wide


def test_transparency_of_high_range(tmp_path):
    rgba = np.zeros((16, 16, 4), np.uint16)
    rgba[..., :3] = np.round(65535 * pq_code(100.0))
    rgba[..., 3] = 65535
    rgba[:, 8:, 3] = 32768
    frame = av.VideoFrame.from_ndarray(rgba, "rgba64le").reformat(format="gbrap12le")
    path = encode_frames(
        tmp_path / "a.mkv",
        "ffv1",
        [frame],
        told={"color_trc": PQ, "color_primaries": 1},
    )
    video = open_video(path)
    (picture,) = video.pictures()
    full = standard(100 / WHITE)
    np.testing.assert_allclose(picture[:, :8], full, rtol=0, atol=VALUE)
    np.testing.assert_allclose(picture[:, 8:], full / 2, rtol=0, atol=VALUE)
    assert len(video.notes) == 2
