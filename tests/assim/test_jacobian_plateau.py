"""The Jacobian of a window of the land model hardly depends on the size of the perturbations, around the default."""

import importlib.util

import numpy as np

from tests.support import REPOSITORY


def test_the_default_lies_on_a_plateau(tmp_path, capsys):
    """Forward and central differences over sizes, without any data; the table and figure of the documentation."""
    file = REPOSITORY / "benchmarks/jacobian_plateau.py"
    specification = importlib.util.spec_from_file_location("jacobian_plateau", file)
    plateau = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(plateau)
    plateau.main(["--figure", str(tmp_path / "plateau.png")])
    assert "| 1 | " in capsys.readouterr().out
    assert (tmp_path / "plateau.png").read_bytes().startswith(b"\x89PNG")

    factors = np.array(plateau.FACTORS)
    found = plateau.differences(plateau.FACTORS)
    on_it = (factors >= 9e-5) & (factors <= 11.0)
    for kind in ("forward", "central"):
        assert (found[kind][on_it] < 1e-3).all()
        assert (found[kind][[0, -1]] > 10.0 * plateau.PLATEAU).all()  # rounding, and curvature
