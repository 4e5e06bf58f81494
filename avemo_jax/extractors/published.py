"""Addresses of published weights, and the checksums of their files."""

import dataclasses

_HSEMOTION = (
    "https://github.com/av-savchenko/face-emotion-recognition/raw/main/models/"
    "affectnet_emotions/"
)
_TORCHVGGISH = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/"
_TORCHAUDIO = "https://download.pytorch.org/torchaudio/models/"
_DINOV2 = "https://dl.fbaipublicfiles.com/dinov2/"
_THESIS = (
    "https://github.com/bichuyen99/Audiovisual_emotion_recognition/raw/main/best_model/"
)


THESIS_LICENCE = "none stated by the repository of the original system"


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A published file.

    Attributes:
        file: Name that the file is kept under in the cache directory.
        url: Address of the file, over https.
        git_blob: Sha1 of git for the content, if published in a repository; else "".
        sha256: Hex digits of its sha256: all 64, or the first few where no more are
            published. Empty: unknown.
        companions: Other files that belong to it, such as VGGish's PCA.
    """

    file: str
    url: str
    git_blob: str = ""
    sha256: str = ""
    companions: tuple["PublishedFile", ...] = ()

    @property
    def checkable(self) -> bool:
        """Whether a checksum of the file is known."""
        return bool(self.git_blob or self.sha256)

    @property
    def whole(self) -> bool:
        """Whether all digits of its sha256 are known; if not, ours are kept."""
        return len(self.sha256) == 64


def hsemotion(path: str, git_blob: str) -> PublishedFile:
    """A file in ``affectnet_emotions`` of HSEmotion's repository (A. Savchenko)."""
    return PublishedFile(path.rsplit("/", 1)[-1], _HSEMOTION + path, git_blob=git_blob)


def dinov2_file(variant: str) -> PublishedFile:
    """A network of DINOv2's authors; no checksum is published."""
    name = f"dinov2_{variant}"
    file = f"{name}_pretrain.pth"
    return PublishedFile(file, f"{_DINOV2}{name}/{file}")


def torchvggish() -> PublishedFile:
    """VGGish's network as torchvggish publishes it, and the published PCA with it."""
    pca = PublishedFile(
        "vggish_pca_params.npz",
        "https://storage.googleapis.com/audioset/vggish_pca_params.npz",
        sha256="4d878af3e306defbfb37095365aa7e5a6cecb86bad13e859e626151c4e6a8b9d",
    )
    name = "vggish-10086976.pth"
    return PublishedFile(
        name, _TORCHVGGISH + name, sha256="10086976", companions=(pca,)
    )


def torchaudio(file: str) -> PublishedFile:
    """A file of torchaudio's wav2vec 2.0 models; no checksum is published."""
    return PublishedFile(file, _TORCHAUDIO + file)


def huggingface(repository: str, sha256: str = "") -> PublishedFile:
    """``pytorch_model.bin`` of a Hugging Face repository."""
    file = f"{repository.rsplit('/', 1)[-1]}-pytorch_model.bin"
    url = f"https://huggingface.co/{repository}/resolve/main/pytorch_model.bin"
    return PublishedFile(file, url, sha256=sha256)


@dataclasses.dataclass(frozen=True)
class PublishedNetwork:
    """A network with published weights that is no extractor, such as a detector.

    Attributes:
        name: Name in commands and of its file of weights.
        network: Name of its architecture.
        licence: Licence of the weights, as their publishers state it.
        sources: Files that its weights may be converted from, preferred first.
    """

    name: str
    network: str
    licence: str
    sources: tuple[PublishedFile, ...]

    @property
    def needs_weights(self) -> bool:
        """Whether it runs only with a file of weights."""
        return True


@dataclasses.dataclass(frozen=True)
class ThesisHead:
    """A head of the original system; its repository states no licence.

    Attributes:
        task: "EXPR", "AU" or "VA".
        head: "mlp" or "transformer" (which the original calls fusion).
        features: Extractors whose features it takes, in the order of its input.
        source: The published file.
    """

    task: str
    head: str
    features: tuple[str, ...]
    source: PublishedFile

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.source.file.removesuffix(".pth")


# The extractors that the words in the original's file names stand for.
_THESIS_FEATURES = {
    "visual": ("enet_b2_8_best",),
    "visual_vggish": ("enet_b2_8_best", "vggish"),
    "visual_wav2vec2": ("enet_b2_8_best", "wav2vec2_base"),
    "effnet_b0_vggish": ("enet_b0_8_va_mtl", "vggish"),
}
_THESIS_HEADS = {"mlp": "mlp", "fusion": "transformer"}
_THESIS_BLOBS = {
    "EXPR_mlp_visual": "7c6b6a53f76d589580cdfec4da2eb19d467c4533",
    "EXPR_mlp_visual_vggish": "420ceb2679f1f60387a80f2cda55f34e3766cc19",
    "EXPR_mlp_visual_wav2vec2": "4036f02eefdd81e1c5f9deea0593c3faf2a790b9",
    "EXPR_fusion_visual": "e2a6ea59e20c1a781e2c7911838f3412994dfadb",
    "EXPR_fusion_visual_vggish": "2fab794d5c8e698e57a746287af6a014d04665e1",
    "EXPR_fusion_visual_wav2vec2": "a956985b233767cf8f5885bcd617066e15bab530",
    "AU_mlp_visual": "9c1c43fc5011a8b3e137302a4bfd233837be6837",
    "AU_mlp_visual_vggish": "f71c327e271a0f0b56e5f1e2f28b7da5027e5a92",
    "AU_mlp_visual_wav2vec2": "46e08b0935435dba217f1b8ef71ecd013b9937da",
    "AU_mlp_effnet_b0_vggish": "dbb4f06712af95e74b58e47fb379626cab6daaa5",
    "AU_fusion_visual": "c299077c15aa01ff51a2bc15d7530af8ffeaa83f",
    "AU_fusion_visual_vggish": "6078e83fd31e77de480e0ebe9626e42fc2582fdb",
    "AU_fusion_visual_wav2vec2": "0c4906cdb16343e2cf2d8c3ef02f3dba922c54a7",
    "VA_mlp_visual": "de416b78a537f75193215e7963aec32c82471599",
    "VA_mlp_visual_vggish": "8a9cfd6c8fbe1f1769e99085c43e55cfd2f28253",
    "VA_mlp_visual_wav2vec2": "bde02f6dbf528d5ff7c29e92ae632b8636100691",
    "VA_fusion_visual": "b49c60f0c60a893fb3529caffd29232c51187f1f",
    "VA_fusion_visual_vggish": "f8f8a137765dfe9f274df3b78a208a2512d3174a",
    "VA_fusion_visual_wav2vec2": "a2bd267977c147d427b2265dfad620860a345d67",
}


def _thesis_head(key: str, git_blob: str) -> ThesisHead:
    task, head, features = key.split("_", 2)
    file = f"best_{key}.pth"
    url = f"{_THESIS}best_{task}_model/{file}"
    return ThesisHead(
        task=task,
        head=_THESIS_HEADS[head],
        features=_THESIS_FEATURES[features],
        source=PublishedFile(file, url, git_blob=git_blob),
    )


THESIS_HEADS = tuple(_thesis_head(*item) for item in _THESIS_BLOBS.items())
