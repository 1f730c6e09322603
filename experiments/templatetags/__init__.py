"""What the templates of experiments and runs share."""
