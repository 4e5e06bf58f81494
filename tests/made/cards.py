"""Cards of heads that were never trained."""

from typing import Any

from avemo_jax.models.card import Card, CardData, CardFeatures


def made_card(**fields: Any) -> Card:
    """The card of an EXPR head of one seed on made features, with other ``fields``."""
    usual: dict[str, Any] = {
        "task": "EXPR",
        "head": {"task": "EXPR", "kind": "mlp", "dims": [4]},
        "features": (CardFeatures("made@112", "visual", 4, "made0"),),
        "data": CardData("made data", synthetic=True, fingerprint="made"),
        "protocol": "ours",
        "inputs": "features",
        "missing_audio": "zeros",
        "windows": "average",
        "evaluation_batch_size": 64,
        "train_on": "train",
        "training_videos": ("a", "b"),
        "dev_videos": ("c",),
        "class_counts": (1, 2, 3, 4, 5, 6, 7, 8),
        "counts": {"train": {"videos": 2, "frames": 36}},
        "config": {},
        "version": "0.1.0",
        "candidates": (0, 1),
        "seeds": (0,),
        "setting": {"learning_rate": 1e-3},
        "sweep": (),
        "best_epochs": (1,),
        "dev_scores": (0.5,),
    }
    return Card(**{**usual, **fields})
