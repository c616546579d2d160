"""A classifier's heat map of one slide of a store."""

from matplotlib.figure import Figure

from medsimclr.config.heatmap import HeatmapConfig
from medsimclr.data.labels import renumber
from medsimclr.errors import ConfigError
from medsimclr.report.heatmap import heatmap_figure
from medsimclr.report.picture_files import check_picture_place, save_figure
from medsimclr.report.slide_preview import find_slide
from medsimclr.training.compute import choose_device
from medsimclr.training.inference import predict_probabilities
from medsimclr.training.material import check_tiles_fit, open_material
from medsimclr.training.networks import load_classifier

__all__ = ["draw_heatmap"]


def draw_heatmap(config: HeatmapConfig) -> Figure:
    """Predict every tile of a slide, draw one class beside the annotation, and save the picture.

    Raises:
        ConfigError: slide, class or output do not fit, or the store does not fit the run.
    """
    check_picture_place(config.out, example="map.png")
    model, network = load_classifier(config.run)
    material = open_material(config.store)
    check_tiles_fit(material, network, run=config.run)
    slide_index = find_slide(material.store, config.slide)
    slide = material.store.slides[slide_index]
    class_name = config.class_name or network.classes[-1]
    if class_name not in network.classes:
        raise ConfigError(
            f"--class-name must be one of {', '.join(network.classes)}, got {class_name!r}."
        )
    index = renumber(material.index, material.store.meta.classes, network.classes)
    tiles = index.select(index.slide_N == slide_index)
    probabilities_NK = predict_probabilities(
        model,
        config.store,
        tiles,
        view_px=network.view_px,
        device=choose_device(config.device),
    )
    assert slide.dimensions_level0_xy is not None
    assert slide.tile_level0_px is not None
    figure = heatmap_figure(
        material.store.picture(slide_index, "thumbnail"),
        level0_xy_N2=tiles.level0_xy_N2,
        tile_level0_px=slide.tile_level0_px,
        dimensions_level0_xy=slide.dimensions_level0_xy,
        probability_N=probabilities_NK[:, network.classes.index(class_name)],
        label_N=tiles.label_N,
        class_name=class_name,
        class_names=network.classes,
    )
    save_figure(figure, config.out)
    return figure
