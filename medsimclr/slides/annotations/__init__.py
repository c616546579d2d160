"""Annotations of slides: three formats in, the area of each class out, its share of each tile.

Coordinates are level-0 pixels, x before y. What the formats leave open is decided thus:

- Areas of one class are united: where two overlap, the ground counts once.
- Areas of different classes keep what they cover: where two overlap, both have the whole overlap,
  and the shares of a tile may sum to more than 1.
- An outline that crosses itself keeps all that it winds around (the non-zero rule, as ASAP fills
  it); an outline that runs along itself to a hole and back keeps the hole.
- What has no area (points, lines, arrows, rulers, outlines of fewer than three points) or no class
  is passed over.

`geojson`, `asap_xml` and `imagescope_xml` say what a class and a hole are in each format.
"""
