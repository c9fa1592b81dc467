# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Exposure: how the camera of one drive turns light into pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mono_metric_depth.worlds.light import Light
from mono_metric_depth.worlds.weather import Weather


@dataclass(frozen=True)
class Exposure:
    """The settings and the flaws of one camera.

    Attributes:
        gain: Factor from linear colour to the sensor.
        swell: Amplitude (share), angular frequency (rad/s) and phase (rad) with which an automatic
            exposure rises and falls.
        white: White balance, one factor per channel.
        saturation: 0 for grey, 1 for the colours as they are.
        contrast: Strength of an S-shaped tone curve; negative flattens.
        veil: Stray light, as a share of full scale.
        vignette: How much darker the corners are, 0..1.
        blur: Weights of a row and of a column of pixels beside each, nearest first.
        grain: Standard deviation of the noise, as a share of full scale.
    """

    gain: float
    swell: tuple[float, float, float]
    white: tuple[float, float, float]
    saturation: float
    contrast: float
    veil: float
    vignette: float
    blur: tuple[tuple[float, float], tuple[float, float]]
    grain: float

    def develop(self, colour: Tensor, seconds: float, glare: float, noise_seed: int) -> Tensor:
        """(h, w, 3) uint8 RGB.

        Args:
            colour: (h, w, 3) linear.
            seconds: Since the start of the drive (s).
            glare: Stray light of the sun, as a share of full scale.
            noise_seed: Of the noise.
        """
        amplitude, rate, phase = self.swell
        gain = self.gain * (1 + amplitude * math.sin(rate * seconds + phase))
        height, width = colour.shape[:2]
        y = torch.linspace(-1, 1, height, device=colour.device)[:, None]
        x = torch.linspace(-1, 1, width, device=colour.device)
        shade = (gain * (1 - 0.5 * self.vignette * (x * x + y * y))).unsqueeze(2)
        image = colour * (shade * colour.new_tensor(self.white))
        stray = self.veil + glare
        image = image.mul_(1 - stray).add_(stray * 0.55).clamp_(0, 1.6).sqrt_()
        image = torch.lerp(image.mean(2, keepdim=True), image, self.saturation)
        image = image + self.contrast * (image - 0.45) * image * (1 - image)
        plane = _blurred(_blurred(image.permute(2, 0, 1), self.blur[0], 2), self.blur[1], 1)
        generator = torch.Generator(colour.device).manual_seed(noise_seed)
        grain = torch.randn(plane.shape, generator=generator, device=colour.device)
        image = (plane + self.grain * grain).permute(1, 2, 0)
        return (image * 255 + 0.5).clamp_(0, 255).to(torch.uint8)


def _blurred(plane: Tensor, weights: tuple[float, float], axis: int) -> Tensor:
    """(3, h, w) with each pixel mixed with its two neighbours on either side along an axis."""
    result = plane * (1 - 2 * sum(weights))
    length = plane.shape[axis]
    for step, weight in enumerate(weights, 1):
        if weight <= 0 or length <= step:
            continue
        inner = length - step
        first, last = plane.narrow(axis, 0, 1), plane.narrow(axis, length - 1, 1)
        result.narrow(axis, step, inner).add_(plane.narrow(axis, 0, inner), alpha=weight)
        result.narrow(axis, 0, inner).add_(plane.narrow(axis, step, inner), alpha=weight)
        result.narrow(axis, 0, step).add_(first, alpha=weight)
        result.narrow(axis, inner, step).add_(last, alpha=weight)
    return result


def exposure_of(weather: Weather, light: Light, rng: np.random.Generator) -> Exposure:
    """The exposure of one drive in that weather and light."""
    goal = float(np.clip(math.exp(rng.normal(math.log(0.34), 0.22)), 0.2, 0.55))
    goal *= 0.65 + 0.35 * weather.day
    smear = rng.random()
    along = 0.16 if smear < 0.12 else 0.0
    upward = 0.16 if smear > 0.9 else 0.0
    soft = (0.1 + rng.uniform(0, 0.1), 0.1 + rng.uniform(0, 0.1))
    red = rng.uniform(-0.07, 0.07)
    return Exposure(
        gain=goal / light.brightness,
        swell=(rng.uniform(0, 0.08), rng.uniform(0.2, 0.9), rng.uniform(0, 6)),
        white=(1 + red, 1 + rng.uniform(-0.03, 0.03), 1 - red * rng.uniform(0.5, 1.2)),
        saturation=rng.uniform(0.6, 1.1),
        contrast=rng.uniform(-0.3, 0.7),
        veil=weather.veil,
        vignette=max(0.0, rng.uniform(-0.1, 0.4)),
        blur=((soft[0], along), (soft[1], upward)),
        grain=rng.uniform(0.002, 0.009) * (1 + 1.2 * (1 - weather.day)),
    )
