"""Stores as files that other tools open: NetCDF and Zarr on a regular grid, GeoTIFF for a map, a STAC item."""
