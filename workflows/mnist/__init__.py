"""The steps of ``mnist.toml`` that are its own: fetching MNIST, reading its files, and a model for it."""
