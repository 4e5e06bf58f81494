"""What setup.cfg cannot say: a wheel has the recipes of ``configs/`` in the package.

A link to the folder would do, but git makes none on Windows.
"""

import pathlib
import shutil

import setuptools
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Adds ``configs/`` as ``avemo_jax/configs``, where recipes are found by name."""

    def run(self) -> None:
        """Build; an editable install finds the recipes in the checkout."""
        super().run()
        if not self.editable_mode:
            to = pathlib.Path(self.build_lib) / "avemo_jax" / "configs"
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree("configs", to, ignore=ignored, dirs_exist_ok=True)


setuptools.setup(cmdclass={"build_py": BuildWithRecipes})
