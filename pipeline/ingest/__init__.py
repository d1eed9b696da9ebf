"""Ingestion: product files as their providers ship them, to datasets in the store's form. One module a source."""
