"""Datasets of Open X-Embodiment and the mixture of them that RoboVLMs pretrains on, as data.  Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RldsDataset:
    """One dataset in RLDS, as TensorFlow Datasets calls it."""

    version: str
    robot: str
    rate_hz: float
    weight: float
    """In ``oxe_magic_soup``; times the number of its frames, it is the share of the windows."""


DATASETS: dict[str, RldsDataset] = {
    "fractal20220817_data": RldsDataset("0.1.0", "google-robot", 3, 0.54087122203),
    "kuka": RldsDataset("0.1.0", "kuka-iiwa", 10, 0.8341046294),
    "bridge_orig": RldsDataset("1.0.0", "widowx", 5, 1.0),
    "taco_play": RldsDataset("0.1.0", "franka", 15, 2.0),
    "jaco_play": RldsDataset("0.1.0", "jaco-2", 10, 1.0),
    "berkeley_cable_routing": RldsDataset("0.1.0", "franka", 10, 1.0),
    "roboturk": RldsDataset("0.1.0", "sawyer", 10, 2.0),
    "viola": RldsDataset("0.1.0", "franka", 20, 2.0),
    "berkeley_autolab_ur5": RldsDataset("0.1.0", "ur5", 5, 2.0),
    "toto": RldsDataset("0.1.0", "franka", 30, 1.0),
    "language_table": RldsDataset("0.0.1", "xarm", 10, 0.1),
    "stanford_hydra_dataset_converted_externally_to_rlds": RldsDataset("0.1.0", "franka", 10, 2.0),
    "austin_buds_dataset_converted_externally_to_rlds": RldsDataset("0.1.0", "franka", 20, 1.0),
    "nyu_franka_play_dataset_converted_externally_to_rlds": RldsDataset("0.1.0", "franka", 3, 3.0),
    "furniture_bench_dataset_converted_externally_to_rlds": RldsDataset("0.1.0", "franka", 10, 0.1),
    "ucsd_kitchen_dataset_converted_externally_to_rlds": RldsDataset("0.1.0", "xarm", 2, 2.0),
    "austin_sailor_dataset_converted_externally_to_rlds": RldsDataset("0.1.0", "franka", 20, 1.0),
    "austin_sirius_dataset_converted_externally_to_rlds": RldsDataset("0.1.0", "franka", 20, 1.0),
    "dlr_edan_shared_control_converted_externally_to_rlds": RldsDataset("0.1.0", "dlr-edan", 5, 1.0),
    "iamlab_cmu_pickup_insert_converted_externally_to_rlds": RldsDataset("0.1.0", "franka", 20, 1.0),
    "utaustin_mutex": RldsDataset("0.1.0", "franka", 20, 1.0),
    "berkeley_fanuc_manipulation": RldsDataset("0.1.0", "fanuc-mate", 10, 2.0),
    "cmu_stretch": RldsDataset("0.1.0", "stretch", 10, 1.0),
}
"""Name -> facts, of the datasets in ``oxe_magic_soup``.

Weights: openvla/openvla at bc8412a, ``prismatic/vla/datasets/rlds/oxe/mixtures.py``; RoboVLMs' fork of it at be038e2
has the same list.  It leaves out bc_z and uiuc_d3field, whose data it calls broken, and nyu_door, which has no static
camera.  Rates: thu-ml/RoboticsDiffusionTransformer at b9baaae, ``configs/dataset_control_freq.json`` (bridge_orig is
its bridgev2, roboturk its three parts).  Versions: those in the Open X-Embodiment bucket; bridge_orig is the project's
own release."""
