"""Published tables as suites of runs: what is trained, what is told of it, and what is kept."""

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import experiment
from jaxgan.cli.main import main
from jaxgan.cli.reproduce import NAMES
from jaxgan.config import with_values
from jaxgan.errors import UserError
from jaxgan.reproductions import REPRODUCTIONS, mixtures, suite
from jaxgan.reproductions.suite import Column, Figure, Outcome, Row, Suite

ROOT = Path(__file__).parents[1]
SUITES = {name: each for name, each in REPRODUCTIONS.items() if isinstance(each, Suite)}
ROWS = [(name, row) for name, each in SUITES.items() for row in each.rows]


# Sets of the same shapes that are at hand, for those that are not.
SIZES = {"mnist": 28, "fashion_mnist": 28, "cifar10": 32, "folder": 128}


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-{row.name}" for name, row in ROWS])
def test_each_row_can_be_trained(name, row):
    of = SUITES[name]
    for quick in (False, True)[: 1 + (row is of.rows[0])]:
        config = suite.config_of(of, row, of.seeds, 1000 if quick else of.steps, (), quick)
        if config.data.name in SIZES:
            config.data.image_size = SIZES[config.data.name]
            config.data.name, config.data.split = "fashion_mnist_mini", "train"
        if config.data.name == "stacked_mnist":
            config.data.name = "stacked:fashion_mnist_mini"
        config, _ = experiment.prepare(config)
        algorithm = experiment.build(config)
        for tried in row.search.values():
            experiment.build(with_values(config, tried))
        assert len(experiment.members(config)) == of.seeds
        for metric in row.published:
            assert metric in {column.metric for column in of.columns}
    assert algorithm.batch_size % config.pack == 0


def test_help_lists_all():
    assert set(NAMES) == set(REPRODUCTIONS)


def test_tables_measure_images_that_were_not_trained_on():
    for name in ("mnist_parzen", "lucic"):
        of = SUITES[name]
        config = suite.config_of(of, of.rows[0], 1, 1000, (), False)
        assert config.evaluation.split == "test" != config.data.split


def test_the_networks_are_as_large_as_pacgans():
    """PacGAN's code: 484,802 and, for one point, 405,201 parameters."""
    ring = SUITES["ring"]
    for row, pack in zip(ring.rows[:4], (1, 2, 3, 4), strict=True):
        config = suite.config_of(ring, row, 1, 1000, ("parallel.data=1",), False)
        config, _ = experiment.prepare(config)
        state = experiment.abstract_state(experiment.build(config), experiment.make_mesh(config))
        count = lambda params: sum(x.size for x in jax.tree.leaves(params))  # noqa: E731
        assert count(state.generator.params) == 484_802
        assert count(state.discriminator.params) == 405_201 + (pack - 1) * 2 * 1000


def test_figures_and_how_far_they_are_apart():
    ours = suite.figure(np.array([1.0, 2.0, 3.0, math.nan]))
    assert ours == Figure(2.0, 1 / math.sqrt(3), 3)
    assert suite.apart(ours, Figure(3.0, 0.0)) == pytest.approx(math.sqrt(3))
    assert math.isnan(suite.apart(ours, Figure(math.nan)))
    assert math.isnan(suite.figure(np.array([math.nan])).mean)
    assert [suite.cell(each, 1) for each in (ours, Figure(4.0), Figure(math.nan))] == [
        "2.0 ± 0.6 (of 3)",
        "4.0",
        "-",
    ]


TINY = Suite(
    summary="a tiny table",
    config="ring",
    settings={
        "batch_size": 8,
        "model.generator.features": (8,),
        "model.discriminator.features": (8,),
        "steps_per_call": 2,
        "log_every": 2,
        "evaluate_every": 2,
        "sample_every": 2,
        "checkpoint_every": 2,
        "evaluation.metrics": "modes,sliced_wasserstein",
        "evaluation.samples": 64,
        "best_metric": "sliced_wasserstein",
    },
    rows=(
        Row("GAN, alone", {}, {"sliced_wasserstein": Figure(0.5, 0.1)}),
        Row("penalised", {"penalties.r1": 1.0}),
    ),
    columns=(Column("modes", "modes", digits=1), Column("sliced_wasserstein", "sliced", 100.0)),
    seeds=2,
    steps=4,
    published_steps=400,
)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(REPRODUCTIONS, "ring", TINY)
    return tmp_path


def test_a_table_is_trained_told_kept_and_gone_on_with(tiny, capsys):
    assert main(["reproduce", "ring"]) == 0
    told = capsys.readouterr().out
    assert "GAN, alone" in told
    assert "0.50 ± 0.10" in told
    for name in ("curves.png", "samples.png", "results.json"):
        assert (tiny / "runs" / "reproduce_ring" / name).stat().st_size > 100
    kept = [json.loads(line) for line in (tiny / "results.jsonl").read_text().splitlines()]
    assert [(each["row"], each["steps"], each["seeds"]) for each in kept] == [
        ("GAN, alone", 4, [0, 1]),
        ("penalised", 4, [0, 1]),
    ]
    assert len({each["settings"] for each in kept}) == 2
    assert kept[0]["command"] == "python -m jaxgan reproduce ring --seeds 2 --steps 4"
    run = tiny / "runs" / "reproduce_ring" / "gan__alone_seeds0to1"
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    expected = [100 * value for value in last["seeds"]["sliced_wasserstein"]]
    assert kept[0]["values"]["sliced_wasserstein"] == pytest.approx(expected)

    assert main(["reproduce", "ring"]) == 0  # is finished: nothing is added
    assert "This run is finished" in capsys.readouterr().out
    assert len((tiny / "results.jsonl").read_text().splitlines()) == 2
    longer = ["reproduce", "ring", "--steps", "6", "--rows", "penalised"]
    assert main(longer) == 0
    assert "going on from step 4" in capsys.readouterr().out

    document = tiny / "RESULTS.md"
    document.write_text("Before.\n<!-- reproduce ring -->\nold\n<!-- end -->\nAfter.\n")
    assert main(["reproduce", "--tables", str(document)]) == 0
    table = document.read_text().splitlines()
    assert (table[0], table[-1]) == ("Before.", "After.")
    assert table[2].startswith("|  | seeds | steps | modes | published | apart |")
    assert table[4].startswith("| GAN, alone | 2 | 4 |")
    assert table[5].startswith("| penalised | 2 | 4 |")
    assert table[6].startswith("| penalised | 2 | 6 |")
    assert "old" not in table


def test_the_best_of_a_rows_settings_is_trained(tiny, monkeypatch, capsys):
    search = {"none": {"z_dim": 2}, "some": {"z_dim": 3}, "more": {"z_dim": 4}}
    rows = (Row("GAN", {"penalties.r1": 1.0}, search=search),)
    columns = TINY.columns[::-1]  # of which less is better
    monkeypatch.setitem(REPRODUCTIONS, "ring", TINY._replace(rows=rows, columns=columns))
    assert main(["reproduce", "ring"]) == 0
    told = capsys.readouterr().out
    runs = tiny / "runs" / "reproduce_ring"
    scores = {}
    for number, name in enumerate(search):
        assert f"GAN, searching: {name}" in told
        folder = runs / "search" / f"gan_{number}"
        found = json.loads((folder / "config.json").read_text())
        assert (found["seed"], found["seeds"], found["steps"]) == (2**31, 1, 4)
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        scores[name] = 100 * last["sliced_wasserstein"]
    (kept,) = [json.loads(line) for line in (tiny / "results.jsonl").read_text().splitlines()]
    assert kept["searched"] == pytest.approx(scores)
    best = min(scores, key=scores.get)
    assert next(iter(kept["searched"])) == best
    number = list(search).index(best)
    config = json.loads((runs / f"gan_{number}_seeds0to1" / "config.json").read_text())
    assert config["z_dim"] == search[best]["z_dim"] and config["penalties"] == {"r1": 1.0}
    assert f"GAN ({best})" in told


def test_a_quick_look_keeps_nothing(tiny):
    look = ["reproduce", "ring", "--quick", "--steps", "4", "--seeds", "1", "--rows", "penalised"]
    assert main([*look, "--config.z_dim=3"]) == 0
    assert not (tiny / "results.jsonl").exists()
    run = tiny / "runs" / "reproduce_ring_quick" / "penalised_seeds0to0"
    assert json.loads((run / "config.json").read_text())["z_dim"] == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "NAME: which experiment?"),
        (["rign"], "did you mean 'ring'?"),
        (["ring", "--rows", "GANs"], "--rows: there is no 'GANs'"),
        (["ring", "--seeds", "0"], "--seeds: 0 is not 1 or more"),
        (["ring", "--config.zdim=4"], "did you mean z_dim?"),
        (["ring", "--config.batch_size=4"], "--config.batch_size: the table sets it"),
        (["ring", "--config.steps=4"], "--config.steps: the table sets it"),
        (["mnist_parzen", "--config.model.generator.dropout=0.3"], "dropout: the table sets it"),
        (["ring", "--config.model={}"], "--config.model: the table sets it"),
        (
            ["lucic", "--config.optimizer.discriminator.clip_weights=1.0"],
            "clip_weights: the table sets it",
        ),
        (["grid", "--config.precision=bfloat16"], "float32 (row 'unrolled GAN, 5'; --rows names"),
        (["grid", "--config.precision=half"], "or 'bfloat16_products'\n"),
        (["dirac", "--steps", "4"], "--steps: is of a table's rows"),
        (["dirac", "--config.steps=4"], "--config.steps=4: is of a table's rows"),
        (["--tables", "nowhere.md"], "--tables: nowhere.md cannot be read"),
    ],
)
def test_mistakes(tiny, capsys, monkeypatch, arguments, text):
    monkeypatch.setattr("jaxgan.loop.train", lambda *_: pytest.fail("trained"))
    assert main(["reproduce", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_what_is_no_result_is_told(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(
        '{"reproduction": "r", "row": "GAN", "values": {}, "steps": 1, "seeds": []}\n[1]\n'
    )
    with pytest.raises(UserError, match="line 2 is no result"):
        suite.read_results(path)
    with pytest.raises(UserError, match="end --> is missing"):
        suite.with_tables("<!-- reproduce ring -->\n", {"ring": ["x"]})


def test_seeds_that_were_trained_apart_are_one_row():
    def line(seeds, modes, steps=4, more=""):
        at = f" --seed {seeds[0]}" if seeds[0] else ""
        command = f"python -m jaxgan reproduce ring --seeds {len(seeds)} --steps {steps}{at}{more}"
        values = {"modes": modes, "sliced_wasserstein": modes}
        told = {"row": "penalised", "steps": steps, "seeds": seeds, "values": values}
        return {**told, "skipped": 1, "command": command}

    apart = [line([0, 1], [1.0, 2.0]), line([2], [6.0])]
    [found] = suite.joined(apart).values()
    assert (found["seeds"], found["values"]["modes"]) == ([0, 1, 2], [1.0, 2.0, 6.0])
    assert found["skipped"] == 2
    row = suite.table(TINY, apart)[2]
    assert row[:4] == ["penalised", "3", "4 (2 skipped by some)", "3.0 ± 1.5"]
    again = [*apart, line([2], [5.0])]  # the later of the same seed
    assert suite.joined(again)[4]["values"]["modes"] == [1.0, 2.0, 5.0]
    overlapping = suite.joined([line([0, 1, 2], [1.0, 2.0, 3.0]), line([2, 3], [6.0, 7.0])])[4]
    assert overlapping["seeds"] == [0, 1, 2, 3]
    assert overlapping["values"]["modes"] == [1.0, 2.0, 6.0, 7.0]
    other = line([3], [9.0], more=" --config.batch_size=4")
    assert suite.joined([other, *apart])[4]["seeds"] == [0, 1, 2]
    digests = [{**each, "settings": each["command"]} for each in apart]
    assert len(suite.joined(digests)[4]["seeds"]) == 1
    digests = [
        {**line([n], [0.0], more=f" --config.data.dir={n}"), "settings": "a"} for n in (0, 1)
    ]
    assert suite.joined(digests)[4]["seeds"] == [0, 1]
    lacking = {**apart[0], "values": {"modes": [1.0, 2.0]}}
    assert suite.table(TINY, [lacking])[2][-3] == "-"
    assert suite.joined([lacking, apart[1]])[4]["seeds"] == [2]
    longer = suite.joined([line([3], [9.0], 5), *apart])
    assert [each["seeds"] for each in longer.values()] == [[0, 1, 2], [3]]


def test_a_row_that_was_not_run_says_so():
    lines = suite.table(mixtures.RING, [])
    assert lines[1][:4] == ["GAN", "", "not run here", "-"]
    assert lines[1][4] == "6.3 ± 0.5"
    large = suite.table(REPRODUCTIONS["sngan_cifar10"], [])
    assert large[1][2] == f"not run here; {REPRODUCTIONS['sngan_cifar10'].rows[0].cost}"


def test_pictures_over_time(tiny, monkeypatch):
    shown = []
    monkeypatch.setattr(
        suite, "sheet", lambda pictures, titles, path: shown.append((pictures, titles))
    )
    for over_time in (False, True):
        monkeypatch.setitem(REPRODUCTIONS, "ring", TINY._replace(over_time=over_time))
        assert main(["reproduce", "ring", "--rows", "penalised"]) == 0
    (every, seeds), (early, steps) = shown
    names = [[path.stem for path in each["penalised"]] for each in (every, early)]
    assert seeds == ["seed 0", "seed 1"] and names[0] == ["00000004_seed0", "00000004_seed1"]
    assert steps == ["step 2", "step 4"]
    assert names[1] == ["00000002_seed0", "00000004_seed0"]


def test_outcomes_are_of_each_seed(tmp_path):
    lines = [
        {"step": 2, "modes": 1.0, "seeds": {"modes": [1.0, 1.0], "sliced_wasserstein": [0, None]}},
        {"step": 3, "d_loss": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    found = suite.outcome(TINY, tmp_path)
    assert isinstance(found, Outcome)
    assert found.steps == [2]
    np.testing.assert_array_equal(found.values["sliced_wasserstein"], [[0.0, math.nan]])


def test_the_tables_of_results_are_those_of_the_file():
    document, results = (ROOT / "RESULTS.md").read_text(), ROOT / "results.jsonl"
    records = suite.read_results(results)
    tables = {
        name: suite.markdown(suite.table(each, [r for r in records if r["reproduction"] == name]))
        for name, each in SUITES.items()
    }
    assert suite.with_tables(document, tables) == document
    for name in tables:
        assert f"<!-- reproduce {name} -->" in document
