"""How stages run: on which cluster, in which order, with how many tasks in flight."""
