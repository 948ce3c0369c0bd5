"""The steps of ``sales.toml``: made-up sales, and a model for each store and brand."""
