"""What may be done with the latents of a trained generator, a function (z, labels) -> images."""
