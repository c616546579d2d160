"""From slides, image folders and CIFAR-10 to tiles: the grid, the sources, the run."""
