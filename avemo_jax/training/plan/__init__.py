"""``avemo plan``: what a training will take, before any features are loaded."""
