"""Names of what models say to renderers: pure data; what textures look like is in :mod:`.patterns`.

A geom names its texture by index, as the first number of its ``user`` attribute; without one it is plain.  Only the ray
caster draws textures.
"""

TEXTURES: tuple[str, ...] = ("plain", "wood", "checker", "stripes", "marble", "speckle", "tiles", "cloth")
"""Index -> name.  Append only: models carry the index."""
LAMP_GROUP = 3
"""``geom_group`` of lamps: while its colour is not the model's a lamp is lit, and no shade darkens it."""
SKY_NUMERIC, SKY_RGB = "sky_rgb", (0.59, 0.71, 0.82)
"""The custom numeric that holds the colour of the sky, and the colour without it."""
