"""Which decoders turn files into pixels and samples, and the version of what they give.

Features are made from what a decoder gives, so decoders that give other numbers make
other features. The versions below count those changes, apart from the decoders' own
releases, of which most change nothing.
"""

from typing import Literal

import av
import PIL
import soxr  # type: ignore[import-untyped]
from PIL import features

# What features are made from: files of pictures, or the pictures or sound of a file
# that libav reads.
Medium = Literal["pictures", "video", "sound"]

# Raise a medium's version when any file gives other pixels, samples or times than the
# version before gave, beyond rounding: by a change of the modules in this folder, or by
# a release of PyAV, soxr or Pillow whose numbers tests/media/test_decoding.py refuses
# and which is then supported. Features that were made before are not mixed with new
# ones then, and users extract them again; so a faster way to the same numbers is no
# reason. Version 0 leaves the fingerprints as they were before decoding had a version.
DECODING_VERSIONS: dict[Medium, int] = {"pictures": 0, "video": 2, "sound": 1}

_LIBAV = ("libavutil", "libavformat", "libavcodec", "libswscale", "libswresample")


def decoders(medium: Medium) -> dict[str, str]:
    """The exact versions of what decodes a medium here, by name."""
    if medium == "pictures":
        jpeg = features.version("libjpeg_turbo")
        return {
            "Pillow": PIL.__version__,
            **({} if jpeg is None else {"libjpeg-turbo": jpeg}),
        }
    libraries = av.library_versions
    found = {"av": av.__version__}
    found |= {name: ".".join(map(str, libraries[name])) for name in _LIBAV}
    return found | ({"soxr": soxr.__version__} if medium == "sound" else {})
