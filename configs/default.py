"""Every key that a config may have, with its unit and meaning; the other files change some of them.

On its own it trains an unconditional DCGAN on the embedded data set. Any key can be set on the
command line, as in `--config.optimizer.generator.learning_rate=1e-4`. Learning rates, decays,
weights, ema.halflife_kimg, augment.p, instance_noise, top_k and text.temperature may each be a
schedule in place of the number, such as {"kind": "linear", "start": 2e-4, "end": 0.0, "steps":
100_000}, here and on the command line; jaxgan/schedules.py lists the kinds.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # of initial weights, latents and the order of examples
    config.seeds = 1  # runs in one program, of the seeds `seed`, seed + 1, ...
    # Numbers of other keys, all combinations of which train in that program, too, with each seed:
    # config.sweep.penalties.r1 = (0.1, 1.0, 10.0). Those that may be schedules can be swept, but
    # augment.p.
    config.sweep = ConfigDict()
    config.steps = 5_000  # generator updates
    config.batch_size = 64  # images in a minibatch, over all devices
    config.z_dim = 100  # latent dimensions
    config.latent = "normal"  # uniform (-1 to 1), or truncated: normal, drawn anew beyond 2
    # The generator drops out in samples, grids and evaluations, too, as in training; not in images
    # of latents that are given, as of interpolations and exported programs.
    config.sample_dropout = False  # of generators with dropout
    config.conditional = False  # give the data set's labels to both networks
    config.algorithm = "gan"  # jaxgan/algorithms/NAME.py
    config.unrolled_steps = 0  # of the discriminator that algorithm "unrolled" looks ahead
    config.vae = ConfigDict()  # of the algorithms vae and vaegan
    # Of an image's numbers as black or white, drawn by their brightness; as real numbers; as one
    # of 256 levels. See jaxgan/likelihoods.py.
    config.vae.likelihood = "bernoulli"  # bernoulli, gaussian or logistic
    config.vae.bound = "elbo"  # or iwae, the importance-weighted one
    config.vae.samples = 1  # latents of an image in an update
    config.vae.beta = 1.0  # weight of the divergence from the prior, elbo's
    config.vae.gamma = 0.001  # vaegan: weight of the reconstruction in the generator's loss
    config.vae.layer = ""  # vaegan: the discriminator's layer that it is measured in, as Conv_1
    config.inpaint = ConfigDict()  # of the algorithm inpaint
    config.inpaint.masks = "box,strokes,half"  # holes, each of one of these kinds
    config.inpaint.distance = "l1"  # or l2, of the missing pixels
    config.inpaint.reconstruction = 1.0  # weight of that distance
    config.inpaint.adversarial = 0.01  # weight of the generator's adversarial loss
    config.translate = ConfigDict()  # of the algorithms pix2pix and cyclegan
    # pix2pix: what of an image it learns to make the image from: edges, grey or small
    config.translate.source = ""  # "": the data are pairs
    config.translate.l1 = 100.0  # pix2pix: weight of the absolute difference
    config.translate.gan = 1.0  # pix2pix: weight of the generator's adversarial loss
    config.translate.cycle = 10.0  # cyclegan: weight of the way there and back
    config.translate.identity = 0.0  # cyclegan: weight of images that are translated into their own
    config.translate.pool = 50  # cyclegan: generated images of the past for the discriminators
    config.style = ConfigDict()  # of the algorithm style
    config.style.image = ""  # the picture whose style is learnt
    config.style.size = 256  # pixels along a side, to which that is cropped and resized
    config.style.content = 1.0  # weight of the difference in content
    config.style.style = 1e3  # weight of the difference in style
    config.style.variation = 1e-3  # weight of the differences of neighbouring pixels
    config.style.patches = 0.0  # weight of the adversarial loss against pieces of the picture
    config.text = ConfigDict()  # of the algorithm gumbel
    config.text.temperature = 1.0  # of the softmax that a symbol is chosen by
    # The symbol as that softmax gives it, or one-hot, with the softmax's gradient.
    config.text.estimator = "soft"  # soft or straight_through
    config.loss = "nonsaturating"  # see LOSSES in jaxgan/losses.py
    config.label_smoothing = 0.0  # the target of real images is 1 less this
    # NAME = weight, or {"weight": w, "every": n}: in each n-th update, n times as strong (lazily);
    # beside them settings of the penalty. See PENALTIES in jaxgan/penalties.py.
    config.penalties = ConfigDict()  # of the discriminator
    config.generator_penalties = ConfigDict()  # see GENERATOR_PENALTIES
    config.class_loss = ConfigDict()  # where model.discriminator.conditioning is a classifying one
    config.class_loss.discriminator_weight = 1.0  # beside the adversarial loss
    config.class_loss.generator_weight = 1.0  # the same
    config.class_loss.temperature = 1.0  # contragan, reacgan
    config.class_loss.margin = 0.98  # reacgan
    config.n_critic = 1  # discriminator updates, each on a fresh minibatch, in a step
    # DP-SGD of the discriminator, see jaxgan/algorithms/privacy.py; the summary tells epsilon.
    config.privacy = ConfigDict()
    config.privacy.noise = 0.0  # standard deviation of the noise over the clip; 0: no privacy
    config.privacy.clip = 1.0  # largest norm of one example's gradient
    config.privacy.delta = 1e-5  # that epsilon is told for
    config.updates = "alternating"  # or simultaneous: both from the old networks
    # Parts of a minibatch, one after the other, whose gradients are averaged: the same as all at
    # once, but that BatchNorm sees each part alone and spectral normalisation iterates in each.
    config.accumulate = 1  # of both players' minibatches
    config.pack = 1  # images that the discriminator judges together (PacGAN)
    config.instance_noise = 0.0  # standard deviation of noise on all that the discriminator sees
    # The best of them by their logits, that the generator's update looks at.
    config.top_k = 1.0  # share of generated images
    config.steps_per_call = 25  # steps compiled into one call; 3 calls' images wait in memory
    # float32: products are as precise as the device makes them. bfloat16: networks compute in it;
    # weights, statistics, losses and penalties stay float32. bfloat16_products: as float32, but
    # dense layers' factors are rounded; what TPUs do by default, and the fastest on CPUs with AMX.
    config.precision = "float32"  # float32, bfloat16 or bfloat16_products

    config.data = ConfigDict()
    # fashion_mnist_mini (comes with the package), mnist, fashion_mnist, cifar10, cifar100,
    # tfds:NAME (of the TFDS catalogue), folder (your own images), ring, grid, swiss_roll (points),
    # stacked_mnist, stacked:NAME (three grey images as colour channels), unpaired:NAME,NAME or
    # unpaired:folder (from images of one set, or folder in it, to those of the other), grammar
    # (expressions, as sequences of symbols)
    config.data.name = "fashion_mnist_mini"
    config.data.dir = ""  # where prepared sets lie; "": TFDS's own, ~/tensorflow_datasets
    config.data.path = ""  # your files: originals; for folder a directory, .zip, .npy or .npz
    config.data.split = "train"  # or a slice of one, train[:90%]
    config.data.image_size = 0  # pixels along a side; 0: as they are
    config.data.flip = False  # mirror each image, left for right, with probability one half
    # Where images wait: device (all on it), host (all in memory), none (read and decoded as they
    # come, by Grain), auto (the first that fits). Batches are the same.
    config.data.cache = "auto"

    config.model = ConfigDict()
    config.model.name = "dcgan"  # jaxgan/models/NAME.py
    config.model.generator = ConfigDict()  # fields of its Generator
    config.model.discriminator = ConfigDict()  # fields of its Discriminator
    config.model.encoder = ConfigDict()  # fields of its Encoder, where the algorithm has one

    config.optimizer = ConfigDict()
    for player in ("generator", "discriminator"):
        config.optimizer[player] = ConfigDict()
        # 26 of optax's, see OPTIMIZERS in player.py. Not all have b1 and b2, as adagrad has none of
        # them and sgd no b2; rmsprop has b1 for momentum and b2 for decay.
        # An encoder has the generator's settings.
        config.optimizer[player].name = "adam"  # adamw, rmsprop, sgd, lion ...
        config.optimizer[player].learning_rate = 2e-4
        config.optimizer[player].b1 = 0.5  # decay of the mean of gradients; sgd: momentum
        config.optimizer[player].b2 = 0.999  # decay of the mean of their squares
        config.optimizer[player].clip_norm = 0.0  # largest global norm of a gradient; 0: any
        config.optimizer[player].clip_value = 0.0  # largest element of a gradient; 0: any
        config.optimizer[player].clip_weights = 0.0  # largest weight, after each update; 0: any
        config.optimizer[player].arguments = ConfigDict()  # other numbers that it takes, as eps

    config.ema = ConfigDict()  # the average of the generator's weights that samples are drawn from
    config.ema.halflife_kimg = 45.0  # thousands of images; at batch 64 a decay of 0.999 a step
    config.ema.rampup = 0.05  # the half-life is at most this part of the images seen; 0: no ramp

    config.augment = ConfigDict()  # of all images that the discriminator sees, never of samples
    # none; diffaugment, ada (or ada_bgc, its usual part), or transforms by name, joined by commas;
    # apa (generated images among the real ones). See POLICIES in jaxgan/augment.
    config.augment.policy = "none"
    config.augment.p = 0.0  # probability of each transform of the policy; if adapted, the first one
    config.augment.target = 0.0  # mean sign of real logits that p is adapted to; 0: p is as given
    config.augment.kimg = 500.0  # in which p moves by 1 at most, where it is adapted

    config.parallel = ConfigDict()
    # spmd: one program over all devices, BatchNorm over the whole batch; replica: each device has
    # its own part of the batch, as in pmap's time, and gradients are averaged.
    config.parallel.mode = "spmd"  # spmd or replica
    config.parallel.synchronise = False  # replica: BatchNorm over the whole batch all the same
    config.parallel.data = 0  # devices that share the batch; 0: all
    # Of several seeds: vmap does each operation for all at once, map a call's steps of one seed
    # before the next; auto is map for convolutions and, on CPU, for more than 262,144 parameters.
    # Devices share the seeds as far as their number allows.
    config.parallel.seeds = "auto"  # vmap, map or auto
    config.parallel.fsdp = 1  # of them those that share the state; 1: each has all of it

    config.log_every = 100  # steps between lines of metrics.jsonl
    config.sample_every = 500  # steps between grids
    config.evaluate_every = 0  # steps between evaluations; 0: never
    config.checkpoint_every = 1_000  # steps between checkpoints; there is always one at the end
    config.keep_checkpoints = 3  # how many, the newest, to keep
    # What is measured then, as by `python -m jaxgan evaluate`; see METRICS in jaxgan/metrics.
    config.evaluation = ConfigDict()
    config.evaluation.metrics = "sliced_wasserstein"  # names with commas: frechet,kernel,prdc,...
    config.evaluation.samples = 2048  # of the averaged weights, with the latents of `seed`
    config.evaluation.split = ""  # the real images; "": those trained on
    # vgg16, efficientnet_lite0, inception_v3_fid or dinov2_vitl14
    config.evaluation.features = ""  # "": those of a small classifier of the data's own classes
    config.evaluation.weights = ""  # a file or URL with their weights; "": the known ones
    config.evaluation.sha256 = ""  # the checksum of that file; a URL needs it
    config.evaluation.resize = ""  # tf1_bilinear or pil_bicubic; "": as those features are defined
    # Or frechet (of InceptionV3 it is called fid), kernel, coverage, ...
    config.best_metric = "sliced_wasserstein"  # the value that checkpoints/best is best by
    config.wandb = ConfigDict()  # Weights & Biases: what metrics.jsonl and samples/ get goes there
    config.wandb.project = ""  # its name there; "": nothing goes there
    config.wandb.mode = "online"  # or offline: into wandb/ in the run's folder, for `wandb sync`
    # At a loss or gradient that is no finite number: stop; skip the step; or restore, which goes
    # back to the newest checkpoint, and on from it with other latents.
    config.on_nonfinite = "stop"  # stop, skip or restore
    config.nonfinite_attempts = 10  # steps skipped, or checkpoints restored, before a run stops
    return ConfigDict(config.to_dict(), type_safe=False)  # a schedule may take a number's place
