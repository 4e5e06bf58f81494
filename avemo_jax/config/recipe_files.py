"""The recipes in ``configs/``, found by name wherever the package is installed."""

import pathlib

# A link to the folder beside the package; in a wheel the folder itself.
FOLDER = pathlib.Path(__file__).parents[1] / "configs"


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
    names = recipe_names()
    if name not in names:
        raise ValueError(
            f"no configuration {name!r}; expected a file or one of {', '.join(names)}; "
            "name one: --config expr_mlp"
        )
    return FOLDER / f"{name}.py"


def located(name: str) -> str:
    """What ``--config`` names, with a file in the place of a recipe's name.

    Args:
        name: A path or the name of a recipe, perhaps with an argument behind a colon,
            as "expr_mlp:vggish".

    Raises:
        ValueError: If there is no such file and no such recipe, or the file is neither
            Python nor JSON.
    """
    file, colon, argument = name.partition(":")
    return f"{recipe_file(file)}{colon}{argument}"
