"""The endings by which files of pictures, videos and sound are found, in any case.

What a file holds decides how it is read, whatever it is called; an ending only tells
which files of a folder are meant. Each of libav's formats that are opened stands here
with its endings. Those without one are opened, and not looked for: raw streams that
have none, and animated pictures.
"""

# The names that libav gives formats; one of several names of a format is enough.
_SOUND = {
    **{"aac": ".aac .adts", "ac3": ".ac3", "ac4": ".ac4", "aiff": ".aif .aifc .aiff"},
    **{"amr": ".amr .awb", "amrnb": "", "amrwb": "", "ape": ".ape", "asf": ".wma"},
    **{"au": ".au .snd", "caf": ".caf", "dsf": ".dsf", "dts": ".dts"},
    **{"dtshd": ".dtshd", "eac3": ".eac3 .ec3", "flac": ".flac", "gsm": ".gsm"},
    **{"ircam": ".ircam .sf", "loas": ".loas", "matroska": ".mka .weba"},
    **{"mlp": ".mlp", "mov": ".3ga .isma .m4a .m4b", "mp3": ".m2a .mp2 .mp3 .mpa"},
    **{"mpc": ".mpc", "mpc8": "", "nistsphere": ".nist .sph"},
    **{"ogg": ".oga .ogg .opus .spx", "oma": ".aa3 .oma .omg", "qcp": ".qcp"},
    **{"rm": ".ra", "rso": ".rso", "sox": ".sox", "spdif": ".spdif", "tak": ".tak"},
    **{"truehd": ".thd", "tta": ".tta", "voc": ".voc", "w64": ".w64"},
    **{"wav": ".bwf .rf64 .wav .wave", "wv": ".wv"},
}
_VIDEO = {
    **{"apng": "", "asf": ".asf .wmv", "av1": "", "avi": ".avi .divx"},
    **{"avs2": ".avs2", "avs3": ".avs3", "cavsvideo": "", "dhav": ".dav"},
    **{"dirac": ".drc", "dnxhd": ".dnxhd", "dv": ".dif .dv", "evc": ".evc"},
    **{"flv": ".flv", "gif": "", "gxf": ".gxf", "h261": ".h261", "h263": ".h263"},
    **{"h264": ".264 .avc .h264 .h26l", "hevc": ".265 .h265 .hevc", "ivf": ".ivf"},
    **{"kux": ".kux", "live_flv": "", "lxf": ".lxf", "m4v": ".m4v"},
    **{"matroska": ".mk3d .mkv .webm", "mjpeg": ".mjpeg .mjpg", "mjpeg_2000": ""},
    "mov": ".3g2 .3gp .3gpp .f4v .ismv .mj2 .mov .mp4 .psp .qt",
    "mpeg": ".m2p .mod .mpe .mpeg .mpg .tod .vob",
    **{"mpegts": ".m2t .m2ts .mts .tp .trp .ts", "mpegtsraw": ""},
    **{"mpegvideo": ".m1v .m2v .mpv", "mxf": ".mxf", "nsv": ".nsv", "nut": ".nut"},
    **{"nuv": ".nuv", "obu": ".obu", "ogg": ".ogm .ogv", "pva": ".pva"},
    **{"rm": ".rm .rmvb", "vc1": ".vc1", "vc1test": ".rcv"},
    **{"vvc": ".266 .h266 .vvc", "wtv": ".wtv", "yuv4mpegpipe": ".y4m"},
}
FORMATS = tuple({**_SOUND, **_VIDEO})  # those that libav may open
SOUND_ENDINGS = frozenset(" ".join(_SOUND.values()).split())
VIDEO_ENDINGS = frozenset(" ".join(_VIDEO.values()).split())
MEDIA_ENDINGS = SOUND_ENDINGS | VIDEO_ENDINGS
# What Pillow reads of images.FORMATS.
PICTURE_ENDINGS = frozenset(
    ".bmp .gif .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
# The usual ones, for errors and help; documentation lists all.
USUAL_SOUND = ".wav .flac .mp3 .m4a .aac .ogg .opus .wma .aiff .amr".split()
USUAL_VIDEO = (
    ".mp4 .mov .mkv .avi .webm .mts .m2ts .ts .3gp .wmv .flv .mpg .vob".split()
)


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; empty: it has none."""
    stem, dot, ending = name.rpartition(".")
    return f".{ending}".lower() if stem and dot else ""


def without_endings(name: str) -> str:
    """A file's name without its ending, and without endings of media before that.

    Programs that extract the sound of ``a.mp4`` often call it ``a.mp4.wav``.
    """
    name = name[: len(name) - len(ending_of(name))]
    while (ending := ending_of(name)) in MEDIA_ENDINGS:
        name = name[: len(name) - len(ending)]
    return name
