"""The recipes in ``configs/``, found by name wherever the package is installed."""

import pathlib
import re
import runpy

from ml_collections import ConfigDict

from avemo_jax.runtime.command_line import did_you_mean

# In a wheel the folder is in the package (setup.py), in a checkout beside it.
_PACKAGE = pathlib.Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "configs"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "configs"


def recipe_names() -> list[str]:
    """Names that ``--config`` takes: "expr_mlp", ..., "original/expr_mlp"."""
    files = [path.relative_to(FOLDER) for path in FOLDER.glob("**/*.py")]
    files.sort(key=lambda path: (len(path.parts), path))
    return [path.with_suffix("").as_posix() for path in files]


def recipe_file(name: str) -> pathlib.Path:
    """The file of a configuration.

    Args:
        name: A path, or the name of a recipe.

    Raises:
        ValueError: If there is no such file and no such recipe, or the file is neither
            Python nor JSON.
    """
    path = pathlib.Path(name)
    if path.is_file():
        if path.suffix not in (".py", ".json"):
            raise ValueError(
                f"{path} has the ending {path.suffix!r}; expected .py, which is run as "
                "Python, or a run's config.json, which is only read: name one"
            )
        return path
    if path.is_dir() and (path / "config.json").is_file():
        raise ValueError(
            f"{path} is the folder of a run; expected its configuration, to repeat it: "
            f"name {path / 'config.json'}"
        )
    names = recipe_names()
    if name not in names:
        meant = did_you_mean(name.removeprefix("configs/").removesuffix(".py"), names)
        raise ValueError(
            f"no configuration {name!r}; {meant}expected a file or one of "
            f"{', '.join(names)}; name one: --config expr_mlp"
        )
    return FOLDER / f"{name}.py"


def file_and_argument(name: str) -> tuple[str, str | None]:
    """What ``--config`` names, and the argument behind its colon, None without one.

    Args:
        name: A path or the name of a recipe, as "expr_mlp:vggish"; on Windows the path
            may begin with a drive, "C:/own.py:vggish".
    """
    drive = name[:2] if re.match(r"[A-Za-z]:[\\/]", name) else ""
    file, colon, argument = name.removeprefix(drive).partition(":")
    return drive + file, argument if colon else None


def run_recipe(path: pathlib.Path, argument: str | None = None) -> ConfigDict:
    """The configuration that the Python file at ``path`` makes.

    Args:
        path: The file, which is run.
        argument: What its ``get_config`` is called with; None: nothing.

    Raises:
        ValueError: If it has no ``get_config``.
    """
    get_config = runpy.run_path(str(path)).get("get_config")
    if get_config is None:
        raise ValueError(
            f"{path} has no function get_config; expected one that returns a "
            "configuration: write one as configs/expr_mlp.py has it"
        )
    return get_config() if argument is None else get_config(argument)
