"""The published weights of the face detector."""

from avemo_jax.extractors.published import PublishedFile, PublishedNetwork

_REPOSITORY = (
    "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
    "0047ac24afb1a50a0c6105001c89d1b5b805dbf1/"
)

DETECTOR = PublishedNetwork(
    name="yunet_n",
    network="yunet",
    licence="Apache-2.0 (trained mostly on WIDER FACE, whose images are CC BY-NC-ND)",
    sources=(
        PublishedFile(
            "yunet_n.pth",
            f"{_REPOSITORY}weights/yunet_n.pth",
            git_blob="441b9440a911fd79593e1194ba2528e1791523f6",
            sha256="9c7c9e14a4d60e57491d77e4d8b0d451bd834f300e05c0dea7fd1f6533817b06",
        ),
    ),
)
