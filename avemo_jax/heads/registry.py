"""The kinds of fusion heads: names, and where each is.

A new kind is a file with its module and one line here (docs/extending_heads.md).
"""

# Name in config.head.kind: module and name of its HeadKind, imported on first use.
HEAD_KINDS: dict[str, str] = {
    "mlp": "avemo_jax.heads.mlp:MLP",
    "linear": "avemo_jax.heads.mlp:LINEAR",
    "transformer": "avemo_jax.heads.transformer:TRANSFORMER",
    "recurrent": "avemo_jax.heads.recurrent:RECURRENT",
    "gated": "avemo_jax.heads.gated:GATED",
    "cross_attention": "avemo_jax.heads.cross_attention:CROSS_ATTENTION",
}
