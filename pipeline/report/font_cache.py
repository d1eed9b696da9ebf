"""Where Matplotlib keeps its list of fonts: imported before Matplotlib, which makes a new one each time otherwise."""

import os
from pathlib import Path

from ldas.landmodel.compile import cache_root

if "MPLCONFIGDIR" not in os.environ:
    _usual = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    if not os.access(next(folder for folder in (_usual, *_usual.parents) if folder.exists()), os.W_OK):
        os.environ["MPLCONFIGDIR"] = str(cache_root() / "matplotlib")
