"""The page about runs: what it says, that nothing of theirs runs in it, how a browser shows it."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest

from jaxgan import (
    commands,
    config,
    experiment,
    report,
    workdir,
    writer,
)
from jaxgan.cli.main import main
from jaxgan.report import gather, page

EVIL = "</script><img src=x onerror=alert(1)>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def made(folder, *overrides, lines=5, classes=None, members=1):
    """A run's folder, as training leaves it, without training."""
    settings = config.load("configs/cgan.py", overrides)
    resolved, _ = experiment.prepare(settings)
    if classes:
        resolved.derived.class_names = classes
    folder.mkdir()
    writer.write_json(folder / "config.json", resolved.to_dict())
    workdir.record(folder, "start", step=0, devices="1 x cpu with jax", jaxgan="0.1.0")
    (folder / "samples").mkdir()
    with open(folder / "metrics.jsonl", "w") as file:
        for n in range(1, lines + 1):
            values = {"d_loss": 1 / n, "g_loss": 1 + (n % 3), "sliced_wasserstein": 2.0 * n}
            line = {"step": 100 * n, "kimg": 6.4 * n, "seconds": n, "images_per_second": 640.0}
            if members > 1:
                each = {k: [v + m for m in range(members)] for k, v in values.items()}
                line["seeds"] = each
                values = {k: float(np.mean(v)) for k, v in each.items()}
            file.write(json.dumps({**line, **values}) + "\n")
            grey = np.full((8, 8, 1), 10 * (n % 20), np.uint8)
            for m in range(members):
                ending = f"_seed{m}" if members > 1 else ""
                writer.write_png(folder / "samples" / f"{100 * n:08d}{ending}.png", grey)
    return folder


def data_of(text):
    return json.loads(text.split('id="data">')[1].split("</script>")[0])


def test_names_and_values_of_a_run_are_text(tmp_path):
    run = made(tmp_path / "run", classes=[EVIL, "b"])
    workdir.record(run, "finished", step=600, seconds=1.0, peak_memory=3 * 2**29)
    workdir.record(run, "restored", step=100, reason=EVIL)
    entry = {"figures": {EVIL: {EVIL: {"value": 1.5, "standard_error": 0.25}}}, "protocol": EVIL}
    writer.write_json(run / "evaluation.json", [entry])
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 600, EVIL: 1.0}) + "\n")
    report.write([run], run / "report.html")
    text = (run / "report.html").read_text()
    assert "<img src=x" not in text
    assert text.count("</script>") == 2  # the page's own
    assert data_of(text)["charts"][-1]["title"] == EVIL
    assert "1.5 ± 0.2" in text and ">1.50 GiB<" in text


def test_of_several_runs_the_differing_keys_come_first(tmp_path):
    runs = [made(tmp_path / "a"), made(tmp_path / "b", "steps=77")]
    out = tmp_path / "both.html"
    assert main(["report", "--workdir", *map(str, runs), "--out", str(out)]) == 0
    text = out.read_text()
    assert text.count("<tr class=differs>") == 1
    marked = text.split("<tr class=differs>")[1].split("</tr>")[0]
    assert ">steps<" in marked and ">6000<" in marked and ">77<" in marked
    charts = {chart["title"]: chart for chart in data_of(text)["charts"]}
    assert [each["label"] for each in charts["d_loss"]["series"]] == ["a", "b"]


def test_several_runs_are_measured_side_by_side_and_keep_their_colours(tmp_path):
    runs = [made(tmp_path / name) for name in "abc"]
    for n, run in enumerate(runs):  # the last in another way
        entry = {
            "samples": 592,
            "statistics": "running",
            "protocol": {"features": {"features": "x"}},
            "step": 5,
        }
        entry["samples"] += n == 2
        entries = [
            entry | {"figures": {"samples": {"frechet": {"value": value, "standard_error": 0.5}}}}
            for value in (90.0 + n, 60.0 + n)
        ]
        (run / "evaluation.json").write_text(json.dumps(entries))
    with open(runs[1] / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 600, "own": 1.0}) + "\n")
    text = page.render([gather.read(run) for run in runs])
    caption = "Side by side: 592 samples, features of x; value ± standard error"
    assert text.count("Side by side") == 2 * text.count(f"<caption>{caption}") == 2
    beside = text.split(f"<caption>{caption}")[1].split("</table>")[0]
    cells = re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", beside)
    assert cells == [
        "metric",
        "a, step 5",
        "b, step 5",
        "better is",
        "frechet",
        "60 ± 0.5",
        "61 ± 0.5",
        "less",
    ]
    charts = {chart["title"]: chart["series"] for chart in data_of(text)["charts"]}
    assert [each["colour"] for each in charts["d_loss"]] == [0, 1, 2]
    assert [each["colour"] for each in charts["own"]] == [1]


def test_members_are_a_mean_and_a_band(tmp_path):
    run = gather.read(made(tmp_path / "run", "seeds=3", members=3))
    (curve,) = run.curves["d_loss"]
    np.testing.assert_allclose(curve.values, [1 / n + 1 for n in range(1, 6)])
    spread = np.std([0, 1, 2])
    np.testing.assert_allclose(np.subtract(curve.high, curve.values), spread)
    np.testing.assert_allclose(np.subtract(curve.values, curve.low), spread)
    assert [*run.samples] == ["seed0", "seed1", "seed2"]
    assert "11 ± 0.6 at 500" in page.render([run])  # of a deviation of 1 over three


def test_pictures_and_points_are_thinned_with_the_first_and_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(gather, "POINTS", 10)
    monkeypatch.setattr(page, "PICTURES", 7)
    text = page.render([gather.read(made(tmp_path / "run", lines=40))])
    data = data_of(text)
    steps = data["charts"][0]["series"][0]["steps"]
    assert (len(steps), steps[0], steps[-1]) == (10, 100, 4000)
    steps = data["tracks"][0]["steps"]
    assert (len(steps), steps[0], steps[-1]) == (7, 100, 4000)
    assert "33 pictures of samples/ are left out" in text and "Long curves are thinned" in text
    monkeypatch.setattr(page, "BYTES", 10)
    data = data_of(page.render([gather.read(tmp_path / "run")]))
    assert data["tracks"][0]["steps"] == [100, 4000]


def test_a_run_that_has_just_begun_and_torn_files_are_told_of(tmp_path):
    run = made(tmp_path / "run", lines=0)
    text = page.render([gather.read(run)])
    assert "metrics.jsonl has no line yet" in text and "There are no samples yet" in text
    for name in ("metrics.jsonl", "history.jsonl", "evaluation.json"):
        with open(run / name, "ab") as file:
            file.write(b'{"step": 1, \xff')
    assert "metrics.jsonl has no line yet" in page.render([gather.read(run)])


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("steps=7", "data.path=/a b"),
        ("penalties.r1=3.0", "penalties.lecam=0.1"),
        ("optimizer.generator.learning_rate={'kind': 'constant', 'value': 1e-3}",),
    ],
)
def test_the_command_gives_the_runs_settings(overrides):
    settings = config.load("configs/cgan.py", overrides)
    told = shlex.split(commands.training(settings, "runs/a b"))
    assert told[:6] == [
        "python",
        "train.py",
        "--config",
        "configs/cgan.py",
        "--workdir",
        "runs/a b",
    ]
    assert len(told) <= 6 + len(overrides)
    assert "'\"'" not in commands.training(settings, "runs/a b")
    again = config.load(told[3], [each.removeprefix("--config.") for each in told[6:]])
    assert again.to_dict() == settings.to_dict()


def test_what_samples_nothing_starts_from_images():
    for path in (commands.CONFIGS.parent / "jaxgan" / "algorithms").glob("*.py"):
        text = path.read_text()
        if "class " in text and ("def translate(" in text or "def complete(" in text):
            assert path.stem in commands.FROM_IMAGES
        assert path.stem not in commands.FROM_IMAGES or "def sample(" not in text


MISTAKES = {
    "no run": (["--workdir", "{0}"], "is not a run's folder"),
    "no --out": (["--workdir", "{0}/a", "{0}/b"], "--out: of several runs"),
    "other file": (["--workdir", "{0}", "--out", "{0}/x.pdf"], "is not a .html file"),
    "no folder": (["--workdir", "{0}", "--out", "{0}/no/x.html"], "there is no folder"),
    "twice": (["--workdir", "{0}", "{0}", "--out", "{0}/x.html"], "named twice"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_sentence(mistake, tmp_path, capsys):
    arguments, named = MISTAKES[mistake]
    assert main(["report", *(each.format(tmp_path) for each in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and named in err
    assert not [*tmp_path.iterdir()]


def test_a_page_that_cannot_be_written_fails_no_run(tmp_path, capsys, monkeypatch):
    run = made(tmp_path / "run")
    mirror = workdir.Mirror(run, run, writes=True)
    assert report.leave(mirror, [""]) == run / "curves.png"
    assert (run / "report.html").exists()
    (run / "report.html").unlink()
    monkeypatch.setattr(page, "render", lambda runs: 1 / 0)
    assert report.leave(mirror, [""]) == run / "curves.png"
    assert "report.html: not written: division by zero" in capsys.readouterr().err
    assert not (run / "report.html").exists()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def test_the_page_works_in_a_browser(tmp_path, browser):
    runs = [made(tmp_path / "a", classes=[EVIL, "b"]), made(tmp_path / "b", "steps=77")]
    report.write(runs, tmp_path / "both.html")
    sizes = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}
    tab = browser.new_page(**sizes)
    said, asked = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((tmp_path / "both.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"

    image, slider = tab.locator("#track-0"), tab.locator("#sample-step")
    last = image.get_attribute("src")
    slider.focus()
    tab.keyboard.press("ArrowLeft")
    assert image.get_attribute("src") != last
    assert tab.locator("#sample-told").inner_text() == "step 400"
    assert image.get_attribute("alt") == "Samples of a at step 400"
    tab.keyboard.press("End")
    assert image.get_attribute("src") == last

    chart = tab.locator(".chart").first
    drawn, curve = chart.locator("svg[data-range]"), chart.locator("path.curve").first
    whole, path = drawn.get_attribute("data-range"), curve.get_attribute("d")
    drawn.focus()
    tab.keyboard.press("+")
    assert drawn.get_attribute("data-range") != whole
    tab.keyboard.press("0")
    assert drawn.get_attribute("data-range") == whole
    tab.keyboard.press("ArrowRight")
    assert chart.locator("output").inner_text() == "step 100: a 1, b 1"
    drawn.scroll_into_view_if_needed()
    box = drawn.bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 50)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 200, box["y"] + 50)
    tab.mouse.up()
    assert drawn.get_attribute("data-range") != whole
    tab.get_by_role("button", name="Reset zoom").click()
    assert drawn.get_attribute("data-range") == whole
    drawn.focus()
    drawn.scroll_into_view_if_needed()
    box = drawn.bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 50)
    tab.mouse.wheel(0, -100)
    tab.wait_for_function(
        "whole => document.querySelector('[data-range]').dataset.range !== whole", arg=whole
    )
    tab.keyboard.press("Escape")
    assert drawn.get_attribute("data-range") == whole

    smoothing = tab.get_by_label("Smoothing")
    smoothing.focus()
    tab.keyboard.press("End")
    assert curve.get_attribute("d") != path
    tab.keyboard.press("Home")
    assert curve.get_attribute("d") == path
    legend = chart.get_by_role("button", name="a", exact=True)
    legend.click()
    assert legend.get_attribute("aria-pressed") == "false"
    assert chart.locator("path.curve").count() == 1

    nameless = """[...document.querySelectorAll("button, input, svg[tabindex], img, [role=region]")]
        .filter((e) => !(e.ariaLabel || e.alt || e.labels?.length || e.textContent.trim()))"""
    assert tab.evaluate(f"{nameless}.length") == 0
    assert tab.locator("tr.differs").count() == 1
    assert tab.locator("img").count() == 2  # and none of a class's name
    assert not said
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
