"""Where published weights lie, and how a download of them is known to be right."""

import dataclasses

_HSEMOTION = (
    "https://github.com/av-savchenko/face-emotion-recognition/raw/main/models/"
    "affectnet_emotions/"
)
_TORCHVGGISH = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/"
_TORCHAUDIO = "https://download.pytorch.org/torchaudio/models/"
_THESIS = (
    "https://github.com/bichuyen99/Audiovisual_emotion_recognition/raw/main/best_model/"
)


@dataclasses.dataclass(frozen=True)
class Source:
    """A published file.

    Attributes:
        file: Its name, as it is kept in the cache directory.
        url: Where it lies, over https.
        git_blob: Sha1 that git knows its content by, where published in a repository.
        sha256: Hex digits of its sha256: all 64, or the first few where no more are
            published. Empty: unknown.
        companions: Other files that belong to it, such as VGGish's PCA.
    """

    file: str
    url: str
    git_blob: str = ""
    sha256: str = ""
    companions: tuple["Source", ...] = ()

    @property
    def checkable(self) -> bool:
        """Whether a download can be told from another file."""
        return bool(self.git_blob or self.sha256)


def hsemotion(path: str, git_blob: str) -> Source:
    """A file of HSEmotion's repository (A. Savchenko), below ``affectnet_emotions``."""
    return Source(path.rsplit("/", 1)[-1], _HSEMOTION + path, git_blob=git_blob)


def torchvggish() -> Source:
    """VGGish's body as torchvggish publishes it, and the published PCA with it."""
    pca = Source(
        "vggish_pca_params.npz",
        "https://storage.googleapis.com/audioset/vggish_pca_params.npz",
        sha256="4d878af3e306defbfb37095365aa7e5a6cecb86bad13e859e626151c4e6a8b9d",
    )
    name = "vggish-10086976.pth"
    return Source(name, _TORCHVGGISH + name, sha256="10086976", companions=(pca,))


def torchaudio(file: str) -> Source:
    """A file of torchaudio's wav2vec 2.0 models; no checksum is published."""
    return Source(file, _TORCHAUDIO + file)


def huggingface(repository: str) -> Source:
    """``pytorch_model.bin`` of a Hugging Face repository; no checksum is known here."""
    file = f"{repository.rsplit('/', 1)[-1]}-pytorch_model.bin"
    url = f"https://huggingface.co/{repository}/resolve/main/pytorch_model.bin"
    return Source(file, url)


def thesis_head(folder: str, file: str, git_blob: str) -> Source:
    """A head of the original system; its repository states no licence."""
    return Source(file, f"{_THESIS}{folder}/{file}", git_blob=git_blob)
