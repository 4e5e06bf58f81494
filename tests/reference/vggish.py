"""VGGish in PyTorch, with the names of torchvggish's state dict."""

import re

import numpy as np
import torch
from torch import nn

_LAYERS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


class Vggish(nn.Module):
    """From (examples, 1, 96, 64) to (examples, 128), before the PCA.

    ``layers`` and ``hidden`` make a narrow one.
    """

    def __init__(self, layers=_LAYERS, hidden=4096):
        super().__init__()
        sizes, layers, channels = layers, [], 1
        for layer in sizes:
            if isinstance(layer, int):
                layers += [nn.Conv2d(channels, layer, 3, padding=1), nn.ReLU()]
                channels = layer
            else:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(channels * 6 * 4, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 128),
            nn.ReLU(),
        )

    def forward(self, examples: torch.Tensor) -> torch.Tensor:
        x = self.features(examples)
        # Height, width, channel: the order of the original's weights.
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))


def outputs_of(state: dict[str, np.ndarray], examples: np.ndarray) -> np.ndarray:
    """The network of these weights, of the published size or narrow, on examples."""
    tensors = {
        name: torch.from_numpy(values)
        for name, values in state.items()
        if not name.startswith("pca.")
    }
    widths = (len(t) for name, t in tensors.items() if re.match("feat.*weight", name))
    layers = [each if each == "pool" else next(widths) for each in _LAYERS]
    with torch.device("meta"):
        net = Vggish(layers, hidden=len(tensors["embeddings.0.weight"]))
    net.load_state_dict(tensors, assign=True)
    with torch.inference_mode():
        return net(torch.from_numpy(examples)[:, None]).numpy()
