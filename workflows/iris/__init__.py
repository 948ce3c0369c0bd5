"""The steps of ``iris.toml``: the flowers inside scikit-learn, and a model that tells their varieties."""
