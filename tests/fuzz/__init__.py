"""Random files against readers that split nothing."""
