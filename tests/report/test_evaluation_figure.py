import io

import numpy as np
import pytest
from PIL import Image

from medsimclr.evaluation.result import model_row
from medsimclr.report.evaluation_figure import evaluation_figure


def draw_rows(names, class_names, *, n_patients=12):
    generator = np.random.default_rng(0)
    units = np.repeat(np.arange(n_patients), 20)
    labels = generator.integers(0, len(class_names), len(units))
    rows = []
    for name in names:
        probabilities = generator.dirichlet(np.ones(len(class_names)), len(units))
        rows.append(
            model_row(
                name,
                labels,
                probabilities,
                units,
                class_names=class_names,
                n_resamples=50,
                seed=0,
            )
        )
    return rows


def texts_of(figure):
    found = [figure.get_supxlabel()]
    for axes in figure.axes:
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        found += [text.get_text() for text in [*axes.texts, *labels, axes.title]]
    return "\n".join(found)


@pytest.mark.parametrize("class_names", [("normal", "tumour"), tuple("abcdefg")])
def test_figure_names_models_classes_and_values(class_names):
    rows = draw_rows(["finetuned", "colour alone"], class_names)
    text = texts_of(evaluation_figure(rows, class_names))
    metrics, intervals = rows[1].metrics, rows[1].intervals
    interval = intervals.auroc
    for expected in ["finetuned", "colour alone", *class_names]:
        assert expected in text
    assert f"{metrics.auroc:.3f} ({interval.low:.3f}–{interval.high:.3f})" in text
    assert "95 % interval from 50 resamples of 12 patients" in text


def test_confusion_cells_state_count_rate_and_interval():
    row = draw_rows(["finetuned"], ("normal", "tumour"))[0]
    count = row.metrics.confusion_CC[0][1]
    rate = count / sum(row.metrics.confusion_CC[0])
    interval = row.intervals.confusion_rate_CC[0][1]
    expected = f"{count}\n{rate:.0%}\n({100 * interval.low:.0f}–{interval.high:.0%})"
    text = texts_of(evaluation_figure([row], ("normal", "tumour")))
    assert expected.replace("%", " %") in text


def test_warnings_stand_in_the_caption_once():
    rows = draw_rows(["finetuned", "colour alone"], ("normal", "tumour"), n_patients=4)
    text = texts_of(evaluation_figure(rows, ("normal", "tumour")))
    assert text.count("4 patients are few") == 1


def test_one_patient_and_an_absent_class_are_drawn():
    rows = draw_rows(["finetuned"], ("normal", "tumour"), n_patients=1)
    assert "come from one patient" in texts_of(evaluation_figure(rows, ("normal", "tumour")))
    labels, probabilities = [0, 0, 0], np.full((3, 2), 0.5)
    row = model_row(
        "finetuned", labels, probabilities, [1, 2, 3], class_names=("normal", "tumour"), seed=0
    )
    assert "not defined" in texts_of(evaluation_figure([row], ("normal", "tumour")))


def test_figure_renders_without_warnings():
    target = io.BytesIO()
    names = ["a rather long name of a model that takes two lines", "colour alone"]
    evaluation_figure(draw_rows(names, tuple("abcd")), tuple("abcd")).savefig(target)
    with Image.open(target) as picture:
        assert picture.width > 800
