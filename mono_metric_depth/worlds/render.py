# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Rendering: from a world and a camera to an image and its depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mono_metric_depth.camera import Camera
from mono_metric_depth.worlds.backdrop import curtains_of, sky
from mono_metric_depth.worlds.domain import Domain
from mono_metric_depth.worlds.exposure import exposure_of
from mono_metric_depth.worlds.ground import ground_of
from mono_metric_depth.worlds.hits import hits_at
from mono_metric_depth.worlds.light import GroundShadow, blob, light_of
from mono_metric_depth.worlds.raycast import FAR, Nearest, cast, corners, overlaps
from mono_metric_depth.worlds.road import Road
from mono_metric_depth.worlds.scene import Scene
from mono_metric_depth.worlds.solids import CENTRE, HALF, MATERIAL, Material
from mono_metric_depth.worlds.surfaces import albedo
from mono_metric_depth.worlds.textures import NoiseTile, above
from mono_metric_depth.worlds.weather import Weather

_TILE = 8
_NEAR = 0.1
#: Solids and wheels further ahead than this (m) are not drawn.
_END, _END_OF_WHEELS = 260.0, 70.0
#: Nor shadows of what moves.
_END_OF_SHADES = 60.0


class Sensor:
    """The rays of a camera, in tiles.

    Args:
        camera: The camera.
        supersample: Side of the grid of samples in each pixel.
        device: Where the rays live.

    Attributes:
        camera: The camera.
        pixel: Angle of a pixel at the image's centre (rad).
        passes: Tiled rays through the centres of pixels, then those of the samples to average; a
            single pass serves both ends without supersampling.
    """

    def __init__(self, camera: Camera, supersample: int, device: torch.device) -> None:
        self.camera = camera
        self.pixel = 2 / (camera.fx + camera.fy)
        self._grid = -(-camera.height // _TILE), -(-camera.width // _TILE)
        grid = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
        shifts = (np.arange(supersample) + 0.5) / supersample - 0.5
        samples = [(u, v) for v in shifts for u in shifts]
        if supersample > 1:
            samples.insert(0, (0.0, 0.0))
        self.passes = [Rays(self._tiled(camera.rays(grid + shift)), device) for shift in samples]

    def _tiled(self, image: np.ndarray) -> np.ndarray:
        """(h, w, 3) -> (tiles, P, 3), NaN beyond the edges."""
        rows, columns = self._grid
        padding = (
            (0, rows * _TILE - image.shape[0]),
            (0, columns * _TILE - image.shape[1]),
            (0, 0),
        )
        image = np.pad(image, padding, constant_values=np.nan)
        tiles = image.reshape(rows, _TILE, columns, _TILE, 3).transpose(0, 2, 1, 3, 4)
        return np.asarray(tiles.reshape(rows * columns, _TILE * _TILE, 3))

    def image(self, tiles: Tensor) -> Tensor:
        """(tiles, P, ...) -> (h, w, ...)."""
        rows, columns = self._grid
        rest = tiles.shape[2:]
        image = tiles.reshape(rows, columns, _TILE, _TILE, *rest).transpose(1, 2)
        image = image.reshape(rows * _TILE, columns * _TILE, *rest)
        return image[: self.camera.height, : self.camera.width]


class Rays:
    """One ray per pixel.

    Attributes:
        direction: (3, tiles * P) x, y, 1 in the optical frame; 0, 0, 1 where there is none.
        valid: (tiles, P) whether there is one.
        bounds: (tiles, 4) least and largest x, least and largest y of each tile.
    """

    def __init__(self, tiles: np.ndarray, device: torch.device) -> None:
        valid = np.isfinite(tiles[..., 0])
        x = np.where(valid[..., None], tiles, np.inf).min(axis=1)
        y = np.where(valid[..., None], tiles, -np.inf).max(axis=1)
        bounds = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32)
        filled = np.where(valid[..., None], tiles, (0.0, 0.0, 1.0)).astype(np.float32)
        self.direction = torch.from_numpy(filled.reshape(-1, 3).T.copy()).to(device)
        self.valid = torch.from_numpy(valid).to(device)
        self.bounds = torch.from_numpy(bounds).to(device)


@dataclass(frozen=True)
class View:
    """What one camera may see at one time, relative to it in the world's axes.

    Attributes:
        table: (n, WIDTH) solids.
        bounds: (n, 4) where each may lie on the image plane.
        closest: (n,) least depth of each (m).
        movers: (m, WIDTH) bodies of the cars that move.
        turn: (3, 3) rotation from the optical frame to the world.
        eye: Optical centre in the world (m).
        pixel: Angle of a pixel (rad).
    """

    table: Tensor
    bounds: Tensor
    closest: Tensor
    movers: Tensor
    turn: Tensor
    eye: tuple[float, float, float]
    pixel: float


class World:
    """Everything that a drive passes, ready to be rendered.

    Args:
        domain: What it should look like.
        road, scene, weather: What it is made of.
        rng: Source of light, ground and textures.
        length: Of the drive (m).
        device: Where to render.
    """

    def __init__(
        self,
        domain: Domain,
        road: Road,
        scene: Scene,
        weather: Weather,
        rng: np.random.Generator,
        length: float,
        device: torch.device,
    ) -> None:
        self._device, self._road, self._scene = device, road, scene
        self._light = light_of(domain, weather, rng, device)
        self._exposure = exposure_of(weather, self._light, rng)
        self._noise = NoiseTile(rng, device)
        self._ground = ground_of(domain, road, rng, device)
        self._curtains = curtains_of(domain, rng, length, device)
        static = torch.from_numpy(scene.static.astype(np.float32)).to(device)
        self._shadow = GroundShadow(static, road, self._light, length + 80)

    def render(
        self, sensor: Sensor, pose: np.ndarray, seconds: float, noise_seed: int
    ) -> tuple[Tensor, Tensor]:
        """An image and its depth.

        Args:
            sensor: The camera's rays.
            pose: (4, 4) optical frame to world (m).
            seconds: Time since the start of the drive (s).
            noise_seed: Of the sensor's noise.

        Returns:
            (h, w, 3) uint8 RGB, and (h, w) float32 depth along the optical axis (m): +inf for the
            sky, NaN where the camera has no ray.
        """
        view = self._view(pose, seconds, sensor.pixel)
        colour, depth = self._sample(sensor.passes[0], view)
        if len(sensor.passes) > 1:
            colours = [self._sample(rays, view)[0] for rays in sensor.passes[1:]]
            colour = torch.stack(colours).mean(0)
        # How squarely the camera looks into the sun.
        squarely = max(0.0, float(pose[:3, 2] @ self._light.heading)) ** 6
        image = self._exposure.develop(
            sensor.image(colour), seconds, self._light.glare * squarely, noise_seed
        )
        valid = sensor.image(sensor.passes[0].valid)
        image = image * valid.unsqueeze(2)
        depth = sensor.image(depth)
        depth = depth.masked_fill(depth >= FAR, float('inf')).masked_fill(~valid, float('nan'))
        return image.contiguous(), depth.contiguous()

    def _view(self, pose: np.ndarray, seconds: float, pixel: float) -> View:
        eye = pose[:3, 3]
        rows, bodies = self._scene.at(self._road, seconds)
        reach = np.linalg.norm(rows[:, HALF], axis=1)
        ahead = (rows[:, CENTRE] - eye) @ pose[:3, 2]
        far = (ahead > _END) | ((rows[:, MATERIAL] == Material.WHEEL) & (ahead > _END_OF_WHEELS))
        rows = rows[(ahead + reach > _NEAR) & ~far]
        rows[:, CENTRE] -= eye
        bodies[:, CENTRE] -= eye
        near = bodies[:, CENTRE] @ pose[:3, 2]
        bodies = bodies[(near > -4) & (near < _END_OF_SHADES)]
        table, movers = (
            torch.from_numpy(part.astype(np.float32)).to(self._device) for part in (rows, bodies)
        )
        turn = torch.from_numpy(pose[:3, :3].astype(np.float32)).to(self._device)
        bounds, closest = _screen_bounds(table, turn)
        x, y, z = (float(value) for value in eye)
        return View(table, bounds, closest, movers, turn, (x, y, z), pixel)

    def _sample(self, rays: Rays, view: View) -> tuple[Tensor, Tensor]:
        """(tiles, P, 3) linear colour and (tiles, P) distance of one ray per pixel."""
        shape = rays.valid.shape
        ray = view.turn @ rays.direction
        x, y, z = (part.reshape(shape) for part in ray)
        ground = (view.eye[2] / -z).masked_fill_(z >= -1e-6, FAR)
        near, far = (curtain.distance(view.eye, (x, y, z)) for curtain in self._curtains)
        limit = torch.minimum(torch.minimum(ground, near), far).clamp_(max=FAR)
        behind = (limit < ground).to(torch.int32)
        behind += ((limit < near) & (limit < ground)).to(torch.int32)
        behind.masked_fill_(limit >= FAR, 3)
        pairs = overlaps(rays.bounds, view.bounds)
        origin = torch.zeros(1, 1, device=self._device)
        nearest = cast(view.table, pairs, (origin, origin, origin), (x, y, z), limit, view.closest)
        solid = nearest.solid.to(torch.int32)
        owner = torch.where(solid > 0, solid, -behind)
        colour = self._colours(view, owner.reshape(-1), nearest, ray.T.contiguous())
        return colour.reshape(*shape, 3), nearest.distance

    def _colours(self, view: View, owner: Tensor, nearest: Nearest, ray: Tensor) -> Tensor:
        """(n, 3) linear colours.

        Args:
            view: What is seen.
            owner: (n,) int32: 0 ground, -1 and -2 curtains, -3 sky, else one plus a solid's row.
            nearest: Distances of the same.
            ray: (n, 3) directions in the world's axes.
        """
        distance, light = nearest.distance.reshape(-1), self._light
        result = torch.empty_like(ray)

        def seen(mine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            where = mine.nonzero().squeeze(1)
            return where, ray.index_select(0, where), distance.index_select(0, where)

        where, rays, far = seen(owner > 0)
        row = view.table.index_select(0, owner.index_select(0, where) - 1)
        hits = hits_at(row, rays, far, view.pixel, self._noise)
        height = view.eye[2] + rays[:, 2] * far
        contact = (1 - 0.5 * torch.exp(-height.clamp(min=0) / 0.4)).unsqueeze(1)
        result.index_copy_(0, where, albedo(hits) ** 2 * light.on(hits.normal) * contact)
        where, rays, far = seen(owner == 0)
        result.index_copy_(0, where, self._lit_ground(view, rays, far))
        for number, curtain in enumerate(self._curtains):
            where, rays, far = seen(owner == -1 - number)
            x, y, z = (rays * far.unsqueeze(1)).unbind(1)
            place = (x + view.eye[0], y + view.eye[1], z + view.eye[2])
            colour = curtain.albedo(*place, far * view.pixel, self._noise) ** 2
            result.index_copy_(0, where, colour * (0.6 * light.ambient + 0.35 * light.direct))
        haze = (1 - torch.exp(-distance / light.haze)).unsqueeze(1)
        length = 1 / ray.norm(dim=1, keepdim=True)
        result = torch.lerp(result, light.horizon * 0.9, haze)
        result.add_(haze * light.towards(ray * length) * (0.7 * light.glow))
        where, rays, _ = seen(owner == -3)
        return result.index_copy_(0, where, sky(rays, view.pixel, light, self._noise))

    def _lit_ground(self, view: View, rays: Tensor, far: Tensor) -> Tensor:
        """(n, 3) linear colours of points on the ground."""
        offset = rays * far.unsqueeze(1)
        x, y = offset[:, 0] + view.eye[0], offset[:, 1] + view.eye[1]
        slant = (-rays[:, 2] / rays.norm(dim=1)).clamp_(min=1e-3)
        light = self._light
        colour = self._ground.albedo(x, y, far * view.pixel / slant.sqrt(), self._noise) ** 2
        beside, away = self._ground.beside(x, y)
        share = self._shadow.at(x, beside)
        sun, open_sky = share[:, :1], 0.35 + 0.65 * share[:, 1:]
        east, north, up = light.heading
        throw = 0.9 / max(up, 0.35)
        for body in view.movers:
            shade = 1 - 0.85 * blob(offset[:, 0], offset[:, 1], body).unsqueeze(1)
            thrown = blob(offset[:, 0] + throw * east, offset[:, 1] + throw * north, body)
            sun = sun * shade * (1 - thrown.unsqueeze(1))
            open_sky = open_sky * shade
        lit = sun * (light.direct * up) + open_sky * light.ambient
        if light.wet == 0:
            return colour * lit
        # Water darkens the road and, the flatter one looks, mirrors the sky (after Schlick).
        paved = light.wet * (1 - 0.7 * above(away.abs() - self._road.half_width, far * 0.02))
        mirrored = paved * (0.03 + 0.75 * (1 - slant) ** 5) * share[:, 1]
        sky_there = torch.lerp(light.horizon, light.zenith, slant.unsqueeze(1))
        colour = colour * (1 - 0.5 * paved).unsqueeze(1)
        return torch.lerp(colour * lit, sky_there * 0.85, mirrored.unsqueeze(1))


def _screen_bounds(table: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 4) least and largest x / z, y / z that a solid may cover; (n,) least z.

    Args:
        table: (n, WIDTH) solids relative to the camera, in the world's axes.
        turn: (3, 3) rotation from the optical frame to the world.
    """
    corner = corners(table) @ turn
    x, y, z = corner.unbind(-1)
    crosses = z.amin(1, keepdim=True) < _NEAR
    # What crosses the image plane is bounded by intervals: x over the least and the largest z.
    least, largest = torch.full_like(z, _NEAR), z.amax(1, keepdim=True).expand_as(z)
    far = torch.where(crosses, largest, z)
    near = torch.where(crosses, least, z)
    columns, rows = torch.cat([x / far, x / near], 1), torch.cat([y / far, y / near], 1)
    bounds = torch.stack([columns.amin(1), columns.amax(1), rows.amin(1), rows.amax(1)], dim=1)
    return bounds, z.amin(1)
