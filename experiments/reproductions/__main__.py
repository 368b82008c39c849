"""Lists the published settings as Markdown; docs/reproductions.md holds what it prints.

python -m spikeprop.experiments.reproductions
"""

from __future__ import annotations

import importlib
import pkgutil

from spikeprop.experiments import reproductions
from spikeprop.experiments.reproductions.setting import Setting

__all__ = ["listing", "settings"]


def settings() -> dict[str, Setting]:
    """Return all settings by the names of their files."""
    names = sorted(module.name for module in pkgutil.iter_modules(reproductions.__path__))
    return {
        name: importlib.import_module(f"{reproductions.__name__}.{name}").SETTING
        for name in names
        if name not in ("setting", "__main__")
    }


def listing() -> str:
    """Return a paragraph for each setting."""
    parts = []
    for name, setting in settings().items():
        figures = "; ".join(f"`{rule}` {said}" for rule, said in setting.published.items())
        differs = "; ".join(setting.differs)
        parts.append(
            f"**`{name}`** ({setting.source}): hidden layers {setting.network}, {setting.epochs} "
            f"epochs, batch {setting.batch_size}.\n"
            f"Published: {figures}.\n"
            f"Differs: {differs}."
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(listing())
