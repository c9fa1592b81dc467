# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Domains: named families of procedural worlds, each with its own look, layout and camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mono_metric_depth.camera import Camera

Range = tuple[float, float]
Palette = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Domain:
    """A family of worlds. A range is sampled uniformly, once per drive unless said otherwise.

    Attributes:
        name: What the domain is called in :data:`DOMAINS`.
        camera: The camera of the domain.
        focal: Factors of the camera's focal length: no two drives have the same lens.
        height: Camera above the road (m).
        pitch, roll: Largest constant attitude error of the mount (rad).
        jitter: Amplitude of the smooth shaking of pitch and roll from frame to frame (rad).
        speed: Speed of the camera (m/s).
        rate: Frames per second.
        lane_width: Width of each of the two lanes (m).
        parking: Width of the parking lane beside each lane (m); 0 for none.
        verge, pavement: Widths of the strip of grass beside the road and of the footway (m).
        bend: Amplitude of the road's bends (m).
        setback: From the outer edge of the footway to a building (m), per building.
        building_width, building_height: Size of buildings (m), per building.
        building_gap: Space between buildings (m), per gap.
        side_street: Distance between side streets (m).
        gabled: Share of buildings with a pitched roof.
        tree_spacing: Distance between trees along each side (m).
        tree_height: Height of trees (m), per tree.
        hedges, fences: Share of plots that end in a hedge or a fence.
        parked_spacing: Distance between parked cars along each side (m).
        back_row: Distance between the buildings behind those along the road (m).
        movers: Number of oncoming vehicles in about six seconds.
        leads: Share of drives with a vehicle ahead, of those where nothing stands in the lane.
        obstructed: Share of drives that pass vehicles which stand in part of the camera's lane.
        heavy: Share of trucks and buses among vehicles.
        cyclists: Share of drives with a cyclist ahead.
        pedestrians: Number of pedestrians per 100 m.
        lamps: Distance between lamp posts (m).
        walls, roofs, foliage, cars: Palettes (sRGB 0..255).
        asphalt, paving, ground: Colours of road, footway and open ground (sRGB 0..255).
        sky: Zenith colours (sRGB 0..255).
        rails: Share of the road beside a guard rail.
        fields: Whether open fields, not plots, lie beside the road.
        skyline, hills: Height of the distant tree line and of the hills behind it (m).
        haze: Distance at which haze hides 63 % of the contrast (m).
    """

    name: str
    camera: Camera
    focal: Range
    height: Range
    pitch: float
    roll: float
    jitter: float
    speed: Range
    rate: float
    lane_width: Range
    parking: Range
    verge: Range
    pavement: Range
    bend: Range
    setback: Range
    building_width: Range
    building_height: Range
    building_gap: Range
    side_street: Range
    gabled: float
    tree_spacing: Range
    tree_height: Range
    hedges: float
    fences: float
    parked_spacing: Range
    back_row: Range
    movers: tuple[int, int]
    leads: float
    obstructed: float
    heavy: float
    cyclists: float
    pedestrians: float
    lamps: float
    walls: Palette
    roofs: Palette
    foliage: Palette
    cars: Palette
    asphalt: Palette
    paving: Palette
    ground: Palette
    sky: Palette
    rails: float
    fields: bool
    skyline: Range
    hills: Range
    haze: Range


def _focal(width: int, degrees: float) -> float:
    """Focal length (px) of a distortion-free image of this width and field of view."""
    return width / 2 / math.tan(math.radians(degrees) / 2)


_TOWN_CAMERA = Camera(
    640,
    320,
    _focal(640, 94.0),
    _focal(640, 94.0),
    321.3,
    157.8,
    'plumb_bob',
    (-0.06, 0.012, 0.0006, -0.0004),
)
_SUBURB_CAMERA = Camera(640, 352, _focal(640, 52.0), _focal(640, 52.0), 317.2, 171.9)
_COUNTRY_CAMERA = Camera(
    640,
    336,
    _focal(640, 72.0),
    _focal(640, 72.0),
    318.4,
    166.2,
    'plumb_bob',
    (0.05, -0.03, -0.0003, 0.0005),
)
_CARS: Palette = (
    (32, 34, 38),
    (190, 192, 196),
    (225, 226, 226),
    (122, 125, 130),
    (70, 74, 82),
    (140, 32, 30),
    (34, 56, 110),
    (64, 92, 78),
)

TOWN = Domain(
    name='town',
    camera=_TOWN_CAMERA,
    focal=(0.92, 1.08),
    height=(1.3, 1.7),
    pitch=0.035,
    roll=0.012,
    jitter=0.006,
    speed=(6.0, 11.0),
    rate=12.0,
    lane_width=(3.4, 3.8),
    parking=(2.5, 2.8),
    verge=(0.0, 0.0),
    pavement=(2.2, 4.0),
    bend=(0.0, 5.0),
    setback=(0.0, 1.2),
    building_width=(8.0, 20.0),
    building_height=(7.0, 21.0),
    building_gap=(0.0, 0.6),
    side_street=(45.0, 95.0),
    gabled=0.35,
    tree_spacing=(14.0, 34.0),
    tree_height=(4.5, 8.5),
    hedges=0.0,
    fences=0.05,
    parked_spacing=(5.6, 9.5),
    back_row=(16.0, 40.0),
    movers=(1, 4),
    leads=0.65,
    obstructed=0.2,
    heavy=0.16,
    cyclists=0.25,
    pedestrians=9.0,
    lamps=26.0,
    walls=(
        (196, 182, 154),
        (214, 206, 190),
        (170, 104, 80),
        (186, 148, 104),
        (150, 146, 140),
        (206, 186, 140),
        (132, 84, 70),
        (176, 186, 188),
    ),
    roofs=((110, 62, 50), (84, 80, 80), (130, 76, 56)),
    foliage=((74, 96, 46), (58, 82, 44), (92, 104, 50)),
    cars=_CARS,
    asphalt=((96, 96, 98), (84, 86, 90), (108, 105, 102)),
    paving=((160, 156, 150), (146, 140, 136), (170, 162, 148)),
    ground=((134, 128, 118), (120, 116, 104)),
    sky=((118, 158, 210), (140, 165, 196), (176, 184, 192)),
    rails=0.0,
    fields=False,
    skyline=(9.0, 20.0),
    hills=(25.0, 55.0),
    haze=(180.0, 600.0),
)

SUBURB = Domain(
    name='suburb',
    camera=_SUBURB_CAMERA,
    focal=(0.92, 1.08),
    height=(1.2, 1.8),
    pitch=0.025,
    roll=0.015,
    jitter=0.004,
    speed=(6.5, 12.0),
    rate=14.0,
    lane_width=(2.9, 3.3),
    parking=(0.0, 0.0),
    verge=(1.6, 3.2),
    pavement=(1.3, 1.9),
    bend=(2.0, 9.0),
    setback=(4.0, 9.0),
    building_width=(8.0, 14.0),
    building_height=(3.2, 6.2),
    building_gap=(3.0, 9.0),
    side_street=(70.0, 140.0),
    gabled=0.95,
    tree_spacing=(8.0, 16.0),
    tree_height=(4.0, 11.0),
    hedges=0.5,
    fences=0.35,
    parked_spacing=(9.0, 26.0),
    back_row=(16.0, 40.0),
    movers=(0, 2),
    leads=0.6,
    obstructed=0.25,
    heavy=0.14,
    cyclists=0.2,
    pedestrians=3.0,
    lamps=38.0,
    walls=(
        (222, 214, 200),
        (168, 92, 70),
        (204, 196, 170),
        (150, 170, 176),
        (186, 150, 122),
        (226, 224, 216),
    ),
    roofs=((92, 62, 54), (70, 72, 78), (120, 88, 70), (60, 56, 54)),
    foliage=((66, 104, 40), (96, 122, 48), (48, 84, 42), (130, 122, 52)),
    cars=_CARS,
    asphalt=((116, 112, 108), (102, 102, 104), (92, 90, 92)),
    paving=((176, 168, 154), (158, 156, 150)),
    ground=((92, 118, 52), (108, 120, 60), (80, 106, 50)),
    sky=((98, 148, 214), (130, 166, 210), (186, 190, 196)),
    rails=0.0,
    fields=False,
    skyline=(7.0, 14.0),
    hills=(20.0, 70.0),
    haze=(220.0, 800.0),
)

COUNTRY = Domain(
    name='country',
    camera=_COUNTRY_CAMERA,
    focal=(0.92, 1.08),
    height=(1.3, 1.7),
    pitch=0.03,
    roll=0.02,
    jitter=0.005,
    speed=(10.0, 16.0),
    rate=18.0,
    lane_width=(3.4, 3.9),
    parking=(0.0, 0.0),
    verge=(3.0, 6.0),
    pavement=(0.0, 0.0),
    bend=(2.0, 14.0),
    setback=(10.0, 28.0),
    building_width=(9.0, 24.0),
    building_height=(3.0, 6.5),
    building_gap=(45.0, 220.0),
    side_street=(90.0, 260.0),
    gabled=1.0,
    tree_spacing=(10.0, 60.0),
    tree_height=(6.0, 13.0),
    hedges=0.25,
    fences=0.2,
    parked_spacing=(60.0, 200.0),
    back_row=(60.0, 240.0),
    movers=(0, 3),
    leads=0.65,
    obstructed=0.2,
    heavy=0.3,
    cyclists=0.12,
    pedestrians=0.4,
    lamps=300.0,
    walls=((206, 196, 176), (160, 92, 72), (120, 84, 62), (190, 188, 180), (140, 52, 44)),
    roofs=((104, 62, 50), (70, 70, 74), (96, 100, 104), (126, 84, 60)),
    foliage=((72, 92, 40), (104, 112, 54), (56, 76, 38), (140, 118, 56)),
    cars=_CARS,
    asphalt=((118, 116, 114), (96, 96, 98), (132, 126, 118)),
    paving=((142, 130, 108), (120, 112, 98)),
    ground=((116, 116, 56), (156, 136, 76), (92, 108, 52), (122, 96, 66)),
    sky=((96, 146, 208), (132, 170, 212), (168, 182, 198)),
    rails=0.3,
    fields=True,
    skyline=(6.0, 13.0),
    hills=(15.0, 80.0),
    haze=(250.0, 1000.0),
)

#: The domains by name.
DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (TOWN, SUBURB, COUNTRY)}
