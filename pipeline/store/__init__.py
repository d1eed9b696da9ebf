"""The store: where it is, its arrays and groups, restarts, ledgers, operators, provenance."""
