"""What the example workflows share: images and labels on disk, training, the entry script, the evaluation."""
