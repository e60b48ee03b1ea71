"""Six loose primitives over a plane and a shelf, seen by a camera that stands still and one that turns."""

from __future__ import annotations

import mujoco
import numpy as np

COLOURS = ("0.6 0 0", "0 0.6 0", "0 0 0.6", "0.6 0.6 0", "0 0.6 0.6", "0.6 0 0.6")
SHAPES = ("box", "sphere", "capsule", "cylinder", "ellipsoid", "box")
SIZES = ("0.06 0.04 0.03", "0.05", "0.03 0.06", "0.04 0.05", "0.03 0.05 0.07", "0.03 0.03 0.09")
CAMERAS = ("overview", "moving")
SKY = (0.6, 0.7, 0.8)


def mjcf(overview: str = "", *, texture: int = 0, light: str = 'dir="-0.3 0.2 -1"', head: str = "") -> str:
    """``overview`` goes inside the body that carries that camera; ``texture`` is the ground's."""
    loose = "".join(f'<body pos="{0.15 * (i % 3) - 0.15} {0.2 * (i // 3) - 0.1} 0.2"><freejoint/>'
                    f'<geom type="{shape}" size="{size}" rgba="{colour} 1"/></body>'
                    for i, (shape, size, colour) in enumerate(zip(SHAPES, SIZES, COLOURS, strict=True)))
    return f"""<mujoco><size nuser_geom="1"/>
      <custom><numeric name="sky_rgb" data="{SKY[0]} {SKY[1]} {SKY[2]}"/></custom>
      <visual><headlight ambient="0.4 0.4 0.4" diffuse="0.25 0.25 0.25" specular="0 0 0" {head}/></visual><worldbody>
      <light directional="true" diffuse="0.5 0.5 0.5" specular="0 0 0" {light}/>
      <geom name="ground" type="plane" size="2 2 0.1" rgba="0.3 0.2 0.1 1" user="{texture}"/>
      <geom name="shelf" type="box" size="0.3 0.05 0.1" pos="0 0.35 0.1" rgba="0.1 0.2 0.3 1"/>
      <geom name="lamp" type="sphere" size="0.05" pos="-0.3 0 0.05" rgba="0.2 0.2 0.2 1" group="3"/>
      <body pos="0.1 -0.9 0.8">{overview}<camera name="overview" xyaxes="1 0.05 0 0 0.6 0.8" fovy="45"/></body>
      <body pos="0 0 0.9"><joint name="pan" type="hinge" axis="0 0 1"/><geom size="0.01" mass="1" rgba="0.5 0.5 0.5 0"/>
        <camera name="moving" xyaxes="1 0 0 0 0.97 0.26" fovy="70"/></body>
      {loose}</worldbody></mujoco>"""


MODEL = mujoco.MjModel.from_xml_string(mjcf())


def worlds(count: int, model: mujoco.MjModel = MODEL, seed: int = 0) -> list[mujoco.MjData]:
    """Scattered and turned primitives, with current poses."""
    rng, found = np.random.default_rng(seed), []
    first = model.nq - 7 * len(SHAPES)
    for _ in range(count):
        data = mujoco.MjData(model)
        data.qpos[model.joint("pan").qposadr[0]] = rng.uniform(-3, 3)
        for start in range(first, model.nq, 7):
            data.qpos[start:start + 3] += rng.uniform((-0.1, -0.1, -0.1), (0.1, 0.1, 0.15))
            turn = rng.normal(size=4)
            data.qpos[start + 3:start + 7] = turn / np.linalg.norm(turn)
        mujoco.mj_forward(model, data)
        found.append(data)
    return found


def seen_by_mujoco(data: mujoco.MjData, camera: str, side: int, model: mujoco.MjModel = MODEL) -> np.ndarray:
    """The geom that MuJoCo's own rays meet first in each pixel, -1 for none, (side, side)."""
    index, found_YX = model.camera(camera).id, np.empty((side, side), int)
    focal, axes = side / 2 / np.tan(np.radians(model.cam_fovy[index]) / 2), data.cam_xmat[index].reshape(3, 3)
    met = np.zeros(1, np.int32)
    for y, x in np.ndindex(side, side):
        ray = axes @ [(x + 0.5 - side / 2) / focal, (side / 2 - y - 0.5) / focal, -1]
        mujoco.mj_ray(model, data, data.cam_xpos[index], ray, None, 1, -1, met)
        found_YX[y, x] = met[0]
    return found_YX


def shown_geoms(image_YXC: np.ndarray, model: mujoco.MjModel = MODEL) -> np.ndarray:
    """The geom, or -1 for sky, whose hue is nearest to each pixel's."""
    hues = {geom: model.geom_rgba[geom, :3] for geom in range(model.ngeom) if model.geom_rgba[geom, 3]} | {-1: SKY}
    directions = np.array([np.divide(rgb, np.linalg.norm(rgb)) for rgb in hues.values()])
    return np.array(list(hues))[(image_YXC.astype(float) @ directions.T).argmax(-1)]
