"""One site from its own file, and the comparison with reference runs of SURFEX."""
