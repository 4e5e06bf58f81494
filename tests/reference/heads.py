"""The original's heads, of PyTorch's own layers.

Built from the description of the original: its layers, its names in the state dicts,
its order.
"""

import torch
from torch import nn

OUTPUTS = {"EXPR": 8, "AU": 12, "VA": 1}


class TorchMlp(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.fc1 = nn.Linear(spec.input_dim, spec.mlp_dim)
        self.fc2 = nn.Linear(spec.mlp_dim, OUTPUTS[spec.task])

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


class TorchVaMlp(nn.Module):
    def __init__(self, spec):
        super().__init__()
        dim, hidden = spec.input_dim, spec.mlp_dim
        self.shared = spec.va_form == "shared"
        affine = [nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 1)]
        self.ahead = nn.Sequential(*affine)
        if self.shared:
            self.feat_fc = nn.Conv1d(dim, spec.feat_dim, 1)
            self.vhead = nn.Sequential(
                nn.Linear(spec.feat_dim, hidden),
                nn.LeakyReLU(0.1),
                nn.BatchNorm1d(hidden),
                nn.Linear(hidden, 1),
            )
        else:
            self.vhead = nn.Sequential(
                nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 1)
            )

    def forward(self, x):
        wide = self.feat_fc(x[..., None])[..., 0] if self.shared else x
        return torch.cat([self.vhead(wide), self.ahead(x)], dim=-1)


class TorchTransformer(nn.Module):
    """``x`` is (sequences, frames, dim); ``mask`` True where a frame is there."""

    def __init__(self, spec):
        super().__init__()
        dim = spec.model_dim
        self.feat_fc = nn.Conv1d(spec.input_dim, spec.feat_dim, 1)
        self.conv1 = nn.Conv1d(spec.feat_dim, dim, 1)
        layer = nn.TransformerEncoderLayer(
            dim, spec.num_heads, spec.ffn_dim, dropout=0.3, batch_first=True
        )
        self.transformer_encoder = nn.TransformerEncoder(
            layer, spec.num_layers, enable_nested_tensor=False
        )
        if spec.positions == "learned":
            self.positions = nn.Parameter(torch.zeros(spec.window, dim))
        if spec.task == "VA":
            self.vhead, self.ahead = self._out(spec), self._out(spec)
        else:
            self.head = self._out(spec)

    @staticmethod
    def _out(spec):
        drop = [nn.Dropout(0.3)] if spec.task == "EXPR" else []
        return nn.Sequential(
            nn.Linear(spec.model_dim, spec.head_dim),
            nn.BatchNorm1d(spec.head_dim),
            *drop,
            nn.Linear(spec.head_dim, OUTPUTS[spec.task]),
        )

    def forward(self, x, mask=None):
        """Logits of the frames that are there, one after the other."""
        wide = nn.functional.leaky_relu(self.feat_fc(x.transpose(1, 2)), 0.1)
        x = self.conv1(wide).transpose(1, 2)
        if hasattr(self, "positions"):
            x = x + self.positions[: x.shape[1]]
        x = self.transformer_encoder(
            x, src_key_padding_mask=None if mask is None else ~mask
        )
        x = x.flatten(0, 1) if mask is None else x[mask]
        if hasattr(self, "vhead"):
            return torch.cat([self.vhead(x), self.ahead(x)], dim=-1)
        return self.head(x)


def reference(spec, seed=0, dtype=torch.float64):
    """PyTorch's network with random weights, norms and running statistics too."""
    torch.manual_seed(seed)
    if spec.kind == "transformer":
        network = TorchTransformer(spec)
    else:
        network = TorchVaMlp(spec) if spec.task == "VA" else TorchMlp(spec)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name.endswith("running_mean") or value.ndim == 1:
                value.normal_(0.3, 0.5)
            elif value.ndim:
                value.mul_(1.5) if name != "positions" else value.normal_(0, 0.5)
    return network.to(dtype).eval()
