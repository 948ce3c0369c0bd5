"""The entry scripts that every side runs."""
