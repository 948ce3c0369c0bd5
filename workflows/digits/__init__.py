"""The steps of ``digits.toml`` that are its own: the digits inside scikit-learn, and a small model for them."""
