"""Every section of the experiment file, as strict models."""
