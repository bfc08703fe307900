"""Networks by name: a model is the module `jaxgan.models.<name>` with `Generator`, `Discriminator`.

    Generator(image_shape=(h, w, c), num_classes=n, **fields)(z, labels, train) -> images
    Discriminator(num_classes=n, **fields)(images, labels, train) -> logits

`z` is float32 b z, `labels` int32 b (None where num_classes is 0), images are float32 b h w c in
[-1, 1] and logits float32 b. `train` is a call argument: with it BatchNorm uses the statistics of
the batch and updates its running ones (collection `batch_stats`), without it the running ones.
"""
