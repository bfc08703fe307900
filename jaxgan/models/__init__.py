"""Networks by name: a model is the module `jaxgan.models.<name>` with `Generator`, `Discriminator`.

    Generator(image_shape=(h, w, c), num_classes=n, **fields)(z, labels, train) -> images
    Discriminator(num_classes=n, **fields)(images, labels, train) -> logits, or (logits, outputs)

`z` is float32 b z, `labels` int32 b (None where num_classes is 0), images are float32 b h w c in
[-1, 1] (r3gan's are not confined) and logits float32 b. `outputs` is a dict of float32 b d arrays,
given where the field `conditioning` is one that classifies or embeds (see heads.py). `train` is a
call argument: with it BatchNorm uses the statistics of the batch and updates its running ones
(collection `batch_stats`), without it the running ones. Spectral normalisation (collection
`spectral`) does one power iteration in every call; like all statistics its vectors change only in
calls in which the collection is mutable.

Params and inputs may be bfloat16, and arithmetic is then; statistics, the power iteration, softmax,
images, logits and outputs stay float32.
"""
