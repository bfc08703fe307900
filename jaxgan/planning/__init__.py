"""What a training program needs on devices that are not here: compiled for them, and read."""
