"""Sounds as images and back: transforms, files, a run that speaks."""

import io
import shutil
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import config as configs
from jaxgan import data, loop, references
from jaxgan.cli.main import main
from jaxgan.data import sounds
from jaxgan.data.known import known
from jaxgan.errors import UserError

SIZE, RATE = 16, 2000
LENGTH = SIZE * SIZE


def tone(frequency, seconds=0.3, rate=RATE, silence=0.0):
    time = np.arange(int(seconds * rate)) / rate
    clip = np.sin(2 * np.pi * frequency * time) * np.exp(-3 * time)
    return np.concatenate([np.zeros(int(silence * rate)), clip])


def test_the_inverse_gives_back_the_clip():
    clip = np.random.default_rng(0).normal(size=LENGTH)
    spectra = sounds.transform(clip, SIZE)
    assert spectra.shape == (SIZE + 1, SIZE)
    again = sounds.inverse(spectra, SIZE)
    # The first window alone sees the first samples, and its weight there is next to nothing.
    np.testing.assert_allclose(again[2:], clip[2:], atol=1e-6)


def test_a_tone_is_a_row():
    for frequency in (250.0, 500.0, 750.0):  # each a whole number of times in a window
        logs = sounds.log_magnitudes(tone(frequency)[:LENGTH], SIZE)
        row = round(frequency * 2 * SIZE / RATE)
        assert (logs[:, 2:-2].argmax(0) == row).all()


def test_pixels_are_clipped_deviations_with_the_highest_frequency_on_top():
    sound = {"mean": [1.0, 2.0], "deviation": [0.5, 2.0]}
    logs = np.array([[1.0, 1.5, 2.5, 9.0], [2.0, -4.0, 0.0, -99.0]])
    pixels = sounds.to_pixels(logs, sound)[..., 0]
    expected = np.array([[0, -3, -1, -3], [0, 1, 3, 3]]) / 3  # of the second, then the first
    np.testing.assert_array_equal(pixels, np.round((expected + 1) * 127.5))


def test_a_sound_comes_back_out_of_its_image():
    random = np.random.default_rng(0)
    clips = [sounds.cut(tone(random.uniform(100, 900)), LENGTH) for _ in range(30)]
    logs = np.stack([sounds.log_magnitudes(clip, SIZE) for clip in clips])
    deviation = logs.std((0, 2)).tolist()
    sound = {"rate": RATE, "mean": logs.mean((0, 2)).tolist(), "deviation": deviation}
    for each in logs[:5]:
        pixels = sounds.to_pixels(each, sound)
        clip = sounds.to_clip(pixels, sound)
        assert clip.shape == (LENGTH,) and np.isclose(np.abs(clip).max(), 0.95)
        again = sounds.log_magnitudes(clip, SIZE)
        loud = np.exp(each) > 0.1 * np.exp(each).max()
        difference = (again - each)[loud]
        assert np.std(difference) < 0.35  # but for a factor, of the peak
        np.testing.assert_array_equal(clip, sounds.to_clip(pixels, sound))


def test_clips_begin_where_they_are_loud():
    clip = sounds.cut(0.01 * tone(300.0, silence=0.1), LENGTH)
    assert len(clip) == LENGTH and np.abs(clip).max() == 1
    np.testing.assert_allclose(clip, sounds.cut(tone(300.0), LENGTH), atol=1e-9)
    short = sounds.cut(np.ones(10), LENGTH)
    assert (short[:10] == 1).all() and not short[10:].any()
    assert not sounds.cut(np.zeros(10), LENGTH).any()


def write(path, samples, width=2, channels=1, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    top = 2 ** (8 * width - 1) - 1
    whole = np.round(np.repeat(samples[:, None], channels, 1) * top).astype(np.int64)
    whole += 128 if width == 1 else 0
    content = whole.astype("<i8").view(np.uint8).reshape(len(samples), channels, 8)[..., :width]
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, len(samples), "NONE", ""))
        file.writeframes(content.tobytes())


@pytest.mark.parametrize("width, tolerance", [(1, 0.01), (2, 1e-4), (3, 1e-6), (4, 1e-8)])
def test_files_of_any_width(width, tolerance, tmp_path):
    clip = 0.9 * tone(300.0)
    write(tmp_path / "a.wav", clip, width, channels=2)
    found = sounds.read_wav(tmp_path / "a.wav", RATE)
    np.testing.assert_allclose(
        found / np.abs(found).max(), clip / np.abs(clip).max(), atol=tolerance
    )


def test_rates_are_converted(tmp_path):
    write(tmp_path / "a.wav", 0.5 * tone(200.0, rate=6000), rate=6000)
    found = sounds.read_wav(tmp_path / "a.wav", RATE)
    expected = tone(200.0)
    assert len(found) == len(expected)
    inner = slice(40, -40)
    correlation = np.corrcoef(found[inner], expected[inner])[0, 1]
    assert correlation > 0.999


def test_what_is_written_is_read(tmp_path):
    clip = 0.95 * tone(300.0)
    sounds.write_wav(tmp_path / "a.wav", clip, RATE)
    found = sounds.read_wav(tmp_path / "a.wav", RATE) / 2**31
    np.testing.assert_allclose(found, clip, atol=1e-4)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Low and high tones, in two folders."""
    folder = tmp_path_factory.mktemp("sounds") / "clips"
    random = np.random.default_rng(0)
    for name, low in (("high", 600), ("low", 100)):
        for n in range(80):
            write(folder / name / f"{n}.wav", 0.5 * tone(random.uniform(low, low + 200)))
    return folder


@pytest.fixture(scope="module")
def prepared(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "set"
    asked = ["prepare", "--source", str(clips), "--out", str(out)]
    assert main([*asked, "--sound", str(RATE), "--image_size", str(SIZE)]) == 0
    return out


def test_a_set_of_sounds(prepared):
    opened = data.open_set("folder", path=str(prepared))
    assert (opened.shape, opened.num_examples) == ((SIZE, SIZE, 1), 144)
    assert opened.class_names == ("high", "low") and opened.splits == ("train", "test")
    assert data.open_set("folder", "test", path=str(prepared)).num_examples == 16
    sound = opened.details["sound"]
    assert sound["rate"] == RATE and len(sound["mean"]) == len(sound["deviation"]) == SIZE
    images, labels = opened.read(np.arange(144))
    values = images[..., 0] / 127.5 - 1
    np.testing.assert_allclose(values.mean((0, 2)), 0, atol=0.06)
    assert 0.2 < values.std() < 0.4  # a third, of deviation 1
    upper = values[:, : SIZE // 2].mean((1, 2)) - values[:, SIZE // 2 :].mean((1, 2))
    assert upper[labels == 0].min() > upper[labels == 1].max()


def test_a_run_on_sounds_speaks(prepared, tmp_path, capsys):
    flags = ["data.name=folder", f"data.path={prepared}", "model.name=dcgan"]
    given = configs.tiny(configs.load("configs/cgan.py", flags))
    given.evaluate_every = 0
    run, out = tmp_path / "run", tmp_path / "spoken"
    assert loop.train(given, run) == 0
    assert "mean" not in capsys.readouterr().out.splitlines()[1]  # the summary's line of the data
    assert main(["sample", "--workdir", str(run), "--num", "3", "--out", str(out)]) == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == ["00000_class0.wav", "00001_class1.wav", "00002_class0.wav"]
    with wave.open(str(out / names[0])) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (RATE, LENGTH, 1)
    assert main(["sample", "--workdir", str(run), "--num", "3", "--out", f"{out}.png"]) == 0


# --------------------------------------------------------------------------------------------------
# Sounds by their samples


@pytest.fixture(scope="module")
def waves(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "waves"
    asked = ["prepare", "--source", str(clips), "--out", str(out), "--waves"]
    assert main([*asked, "--sound", str(RATE), "--image_size", str(SIZE)]) == 0
    return out


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_set_of_waves_has_the_files_samples(split, clips, waves):
    opened = data.open_set("folder", split, path=str(waves))
    assert opened.shape == (LENGTH,) and opened.class_names == ("high", "low")
    found, labels = opened.read(np.arange(opened.num_examples))
    assert found.dtype == np.int16

    def samples(file):
        clip = sounds.cut(sounds.read_wav(file, RATE), LENGTH)
        return np.round(clip * 32767).astype(np.int16).tobytes()

    names = list(enumerate(opened.class_names))
    of_files = {
        (label, samples(file)) for label, name in names for file in (clips / name).iterdir()
    }
    assert {
        (int(label), clip.tobytes()) for label, clip in zip(labels, found, strict=True)
    } < of_files
    floats = np.asarray(data.to_float(found))
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, found / 32767, rtol=1e-6)


def test_waves_look_like_the_images_of_their_sounds(waves, prepared):
    of_waves, of_images = (data.open_set("folder", path=str(each)) for each in (waves, prepared))
    sound = of_waves.details["sound"]
    assert sound.pop("samples") == LENGTH and sound == of_images.details["sound"]
    found, _ = of_waves.read(np.arange(144))
    seen = np.asarray(data.to_uint8(data.spectrograms(data.to_float(found), sound)))
    assert seen.shape == (144, SIZE, SIZE, 1)
    difference = np.abs(seen.astype(int) - of_images.read(np.arange(144))[0])
    assert difference.max() <= 1 and difference.mean() < 0.01
    section = {"name": "folder", "path": str(waves), "dir": "", "image_size": 0, "split": "train"}
    examples = references.open_examples(section, "train")
    assert examples.shape == (SIZE, SIZE, 1)
    pixels, labels = examples.read(np.arange(144))
    assert np.abs(pixels.astype(int) - seen).max() <= 1
    np.testing.assert_array_equal(labels, of_images.read(np.arange(144))[1])


def test_what_no_file_holds_is_not_seen(waves):
    sound = data.open_set("folder", path=str(waves)).details["sound"]
    seen = lambda samples: np.asarray(data.spectrograms(jnp.asarray(samples), sound))  # noqa: E731
    quiet = np.zeros((1, LENGTH), np.float32)
    noise = np.random.default_rng(0).uniform(-1, 1, (1, LENGTH)).astype(np.float32)
    np.testing.assert_array_equal(seen(quiet), seen(quiet + np.float32(1e-5) * noise))
    np.testing.assert_array_equal(seen(3 * noise), seen((3 * noise).clip(-1, 1)))
    assert (seen(quiet) != seen(noise)).any()


@pytest.mark.parametrize("cache", ["device", "host", "none"])
def test_each_way_delivers_waves(cache, waves):
    opened = data.open_set("folder", path=str(waves))
    feed = opened.feed(cache, flip=False, seed=0, minibatches=2, batch_size=4)
    inputs = {name: jnp.asarray(each[0]) for name, each in feed.inputs(3, 1).items()}
    batch = feed.minibatches(jax.tree.map(jnp.asarray, feed.resident), inputs)
    chosen = data.indices(0, 3 * 8, 8, 144)
    expected, labels = opened.read(chosen)
    np.testing.assert_array_equal(batch["image"].reshape(8, -1), data.to_float(expected))
    np.testing.assert_array_equal(batch["label"].reshape(8), labels)


def test_wavegan_trains_is_judged_and_speaks(waves, tmp_path, capsys):
    flags = [f"data.path={waves}", "conditional=True", "model.discriminator.shuffle=0"]
    given = configs.tiny(configs.load("configs/wavegan.py", flags))
    given.evaluate_every = 0
    run, out = tmp_path / "run", tmp_path / "spoken"
    assert loop.train(given, run) == 0
    assert (run / "samples" / "00000004.png").is_file()
    workdir = ["--workdir", str(run)]
    assert main(["sample", *workdir, "--num", "3", "--out", str(out)]) == 0
    assert main(["sample", *workdir, "--num", "3", "--out", f"{out}.npy"]) == 0
    assert main(["sample", *workdir, "--num", "3", "--out", f"{out}.png"]) == 0
    drawn = np.load(f"{out}.npy")
    assert drawn.shape == (3, LENGTH) and drawn.dtype == np.float32
    for n, name in enumerate(["00000_class0", "00001_class1", "00002_class0"]):
        found = sounds.read_wav(out / f"{name}.wav", RATE) / 2**31
        np.testing.assert_allclose(found, drawn[n], atol=1e-4)
    capsys.readouterr()
    asked = ["--metrics", "frechet,accuracy", "--samples", "64", "--split", "test"]
    assert main(["evaluate", *workdir, *asked]) == 0, capsys.readouterr().err
    assert "accuracy" in capsys.readouterr().out
    assert main(["evaluate", *workdir, "--metrics", "membership"]) == 2
    assert "gives images to the run's own networks" in capsys.readouterr().err


def test_two_sets_of_waves_are_measured_by_the_same_scale(clips, waves, prepared, tmp_path, capsys):
    """Half of the clips, whose spectrograms alone have other means, against all."""
    half = tmp_path / "half"
    for name in ("high", "low"):
        (half / name).mkdir(parents=True)
        for n in range(0, 80, 2 if name == "high" else 4):
            shutil.copy(clips / name / f"{n}.wav", half / name)
    asked = ["prepare", "--source", str(half), "--sound", str(RATE), "--image_size", str(SIZE)]
    assert main([*asked, "--out", str(tmp_path / "waves"), "--waves"]) == 0
    assert main([*asked, "--out", str(tmp_path / "images")]) == 0
    sets = [
        references.open_examples(
            {"name": "folder", "path": str(path), "dir": "", "image_size": 0, "split": split}, split
        )
        for path in (waves, tmp_path / "waves")
        for split in ("train", "test")
    ]
    sound = sets[0].identity["sound"]
    seen = {image.tobytes() for each in sets[:2] for image in each.read(np.arange(each.total))[0]}
    for half in sets[2:]:
        own = {image.tobytes() for image in half.read(np.arange(half.total))[0]}
        alike = references.as_spectrograms(half, sound).read(np.arange(half.total))[0]
        assert not own & seen and {image.tobytes() for image in alike} < seen
    metrics = ["--metrics", "sliced_wasserstein"]
    given = ["--real", str(waves), "--fake", str(tmp_path / "waves")]
    assert main(["evaluate", *given, *metrics]) == 0
    given = ["--real", str(prepared), "--fake", str(tmp_path / "images")]
    assert main(["evaluate", *given, *metrics]) == 2
    assert "that they are scaled by; prepare both" in capsys.readouterr().err


def test_a_damaged_clip_is_told(waves):
    with pytest.raises(ValueError, match="a clip is L of"):
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(buffer, "PNG")
        sounds.wave_of(buffer.getvalue(), LENGTH)
    with pytest.raises(OSError):
        sounds.wave_of(b"no picture", LENGTH)


def test_what_is_known_of_waves_without_a_run(waves, capsys):
    assert known("folder", path=str(waves)).shape == (LENGTH,)
    asked = ["plan", "--config", "configs/wavegan.py", "--topology", "cpu:1"]
    asked += [f"--config.data.path={waves}", "--config.model.generator.width=2"]
    assert main([*asked, "--config.model.discriminator.width=2"]) == 0
    for name in ("stacked:folder", "unpaired:folder,folder"):
        with pytest.raises(UserError, match=r"set of|sets of"):
            known(name, path=str(waves))
    with pytest.raises(UserError, match="is of sounds; it has no images"):
        data.load("folder", path=str(waves))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["model.name=dcgan", "model.discriminator.norm=none"], "dcgan draws images"),
        (["data.flip=True"], "data.flip: it mirrors images"),
        (["pack=2"], "pack: .* is of sounds"),
        (["model.discriminator.shuffle=-1"], "model.discriminator.shuffle: -1 is not allowed"),
        (["data.image_size=8"], "data.image_size: .* is of sounds"),
        (["data.name=unpaired:folder"], "unpaired:folder: folder is no set of single images"),
        (["data.name=stacked:folder"], "stacked:folder: folder is no set of grey images"),
        (["augment.policy=color", "augment.p=1"], "'color' changes images"),
    ],
)
def test_what_takes_images_refuses_waves(flags, message, waves, tmp_path):
    given = configs.tiny(configs.load("configs/wavegan.py", [f"data.path={waves}", *flags]))
    with pytest.raises(UserError, match=message):
        loop.train(given, tmp_path / "run")


# --------------------------------------------------------------------------------------------------
# What goes wrong


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--sound", "10", "--image_size", "16"], "--sound: 10 samples a second"),
        (["--sound", "2000"], "--image_size: 0 is not within 16 to 512"),
        (["--sound", "2000", "--fit", "pad"], "--fit: it is of pictures, and --sound reads"),
        (["--sound", "2000", "--name", "mnist"], "--sound, --waves: mnist is of images"),
        (["--sound", "2000", "--image_size", "20", "--waves"], "--image_size: 20 is no power of 2"),
        (["--waves"], "--waves: say with --sound how many samples a second"),
    ],
)
def test_mistakes_are_one_sentence(flags, message, clips, tmp_path, capsys):
    out = tmp_path / "set"
    assert main(["prepare", "--source", str(clips), "--out", str(out), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_files_that_are_none_are_told(clips, tmp_path):
    bad = tmp_path / "bad"
    for n in range(20):
        write(bad / "a" / f"{n}.wav", tone(300.0))
    (bad / "a" / "7.wav").write_bytes(b"RIFF, or not")
    with pytest.raises(UserError, match=r"7\.wav: cannot be read as WAV"):
        sounds.prepare(bad, tmp_path / "set", RATE, SIZE, waves=False)
    write(bad / "a" / "7.wav", np.zeros(0))
    with pytest.raises(UserError, match=r"7\.wav: there are no samples"):
        sounds.prepare(bad, tmp_path / "set", RATE, SIZE, waves=False)
    (bad / "a" / "7.wav").rename(bad / "7.wav")
    with pytest.raises(UserError, match=r"some \.wav files lie in folders"):
        sounds.prepare(bad, tmp_path / "set", RATE, SIZE, waves=False)
    with pytest.raises(UserError, match=r"0 files called \.wav"):
        sounds.prepare(tmp_path / "none", tmp_path / "set", RATE, SIZE, waves=False)
    assert not (tmp_path / "set").exists()
