"""The files of an evaluation: its figures, their picture, and every prediction.

Shapes: N = tiles, K = classes.
"""

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsimclr.data.tile_index import TileIndex
from medsimclr.evaluation.result import Evaluation, to_json
from medsimclr.files.atomic import write_text
from medsimclr.report.evaluation_figure import evaluation_figure
from medsimclr.report.picture_files import save_figure
from medsimclr.store.reader import TileStore

__all__ = ["write_evaluation"]


def write_evaluation(
    out: Path,
    evaluation: Evaluation,
    *,
    store: TileStore,
    tested: TileIndex,
    probabilities_NK: npt.NDArray[np.float64],
) -> None:
    """Write predictions.csv, evaluation.png and, last, result.json.

    Args:
        out: the folder, there already.
        evaluation: figures and notes.
        store: names the slides of the tiles.
        tested: the tiles.
        probabilities_NK: what the first run predicts for them, 0 to 1.

    Raises:
        OutputError: the file system refused.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = evaluation.class_names
    writer.writerow(["slide", "x", "y", "label", *(f"probability_{name}" for name in names)])
    for i, (x, y) in enumerate(tested.level0_xy_N2.tolist()):
        slide = store.slides[int(tested.slide_N[i])].slide_id
        figures = (f"{p:.6f}" for p in probabilities_NK[i])
        writer.writerow([slide, x, y, names[int(tested.label_N[i])], *figures])
    write_text(out / "predictions.csv", text.getvalue())
    figure = evaluation_figure(evaluation.rows, names, unit=evaluation.unit)
    save_figure(figure, out / "evaluation.png")
    write_text(out / "result.json", to_json(evaluation))
