"""What ``avemo prepare`` prepares: files to extract from, and how they are packed."""

import dataclasses
from collections.abc import Callable

from avemo_jax.extraction.jobs import Material
from avemo_jax.extraction.outcomes import Outcomes
from avemo_jax.extraction.prepare.inventory import Inventory
from avemo_jax.extraction.settings import Settings
from avemo_jax.packing.report import BuildReport


@dataclasses.dataclass(frozen=True)
class Preparation:
    """A tree whose store is to be made.

    Attributes:
        inventory: The files that were found, and what their headers declare.
        material: The files to extract from.
        lines: What was found, for people to read.
        check: Raises ``ValueError`` if what the flags ask for is not there.
        pack: Builds the store of what was extracted, given the settings, the outcomes
            and the command line, and returns its report.
    """

    inventory: Inventory
    material: Material
    lines: tuple[str, ...]
    check: Callable[[], None]
    pack: Callable[[Settings, Outcomes, str], dict[str, BuildReport]]
