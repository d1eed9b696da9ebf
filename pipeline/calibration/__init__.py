"""`ldas calibrate`: parameters of one site from observed fluxes or soil moisture, with their uncertainty."""
