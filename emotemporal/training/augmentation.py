"""Random changes to face crops, a whole batch at a time, on the training device.

They span what the aligner leaves over (position, roll and scale of faces vary by what was measured
on FER2013) and what video does to a face (darkness, blur, low resolution, noise).
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from emotemporal.models.mixed import MIRRORED
from emotemporal.training.config import AugmentationConfig


def _uniform(shape: tuple[int, ...], low: float, high: float, like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng).to(like.device) * (high - low) + low


def augment_faces(images: Tensor, config: AugmentationConfig, rng: torch.Generator) -> Tensor:
    """Return changed copies of gray faces.

    Args:
        images: float32 (B, S, S), values 0-255.
        config: how strong.
        rng: CPU generator, so that the draw does not depend on the device.
    Returns: float32 (B, S, S), values 0-255.
    """
    return _augment(images, config, rng)[0]


def augment_faces_with_landmarks(
    images: Tensor, landmarks: Tensor, config: AugmentationConfig, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Do as `augment_faces` does, and move the landmarks with the picture.

    Args:
        images: float32 (B, S, S), values 0-255.
        landmarks: float32 (B, P, 2) in pixels of the pictures; not finite where there are none.
        config: how strong.
        rng: CPU generator.
    Returns: changed pictures and landmarks; left and right of mirrored faces change places.
    """
    side = images.shape[-1]
    images, matrix = _augment(images, config, rng)
    # The matrix says where each place of the new picture is taken from; landmarks go the other way. Its
    # coordinates run from -1 to 1 between the picture's edges.
    forward = torch.linalg.inv(matrix[:, :, :2])
    places = 2 * landmarks / side - 1 - matrix[:, None, :, 2]
    moved = (places @ forward.mT + 1) * side / 2
    mirrored = torch.linalg.det(matrix[:, :, :2]) < 0
    renamed = moved[:, MIRRORED[landmarks.shape[1]]]
    return images, torch.where(mirrored[:, None, None], renamed, moved)


def _augment(images: Tensor, config: AugmentationConfig, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return changed pictures and the matrices (B, 2, 3) they were warped by."""
    matrix = _draw_warp(images, config, rng)
    grid = F.affine_grid(matrix, [len(images), 1, *images.shape[1:]], align_corners=False)
    warped = F.grid_sample(images.unsqueeze(1), grid, padding_mode="border", align_corners=False)
    images = warped.squeeze(1)
    if config.gamma > 0:
        exponent = _uniform((len(images), 1, 1), -config.gamma, config.gamma, images, rng).exp()
        images = 255 * (images / 255).clamp(0, 1) ** exponent
    images = _degrade(images, config, rng)
    return _erase(images, config, rng), matrix


def _draw_warp(images: Tensor, config: AugmentationConfig, rng: torch.Generator) -> Tensor:
    """Return for each picture the matrix (2, 3) from places in the new one to places in the old one."""
    num = len(images)
    angle = torch.deg2rad(_uniform((num,), -config.rotation_degrees, config.rotation_degrees, images, rng))
    zoom = _uniform((num,), -config.scale, config.scale, images, rng).exp()
    mirror = (torch.rand((num,), generator=rng) < 0.5).to(images.device).to(images.dtype) * -2 + 1
    shear = _uniform((num,), -config.shear, config.shear, images, rng)
    # grid_sample's coordinates run from -1 to 1: a fraction of the side is twice as much there.
    shift = _uniform((num, 2), -2 * config.shift, 2 * config.shift, images, rng)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    return torch.stack(
        [
            torch.stack([cos * mirror, -sin + shear, shift[:, 0]], 1),
            torch.stack([sin * mirror, cos, shift[:, 1]], 1),
        ],
        1,
    )


def _degrade(images: Tensor, config: AugmentationConfig, rng: torch.Generator) -> Tensor:
    chosen = (torch.rand((len(images),), generator=rng) < config.degrade_probability).to(images.device)
    if not chosen.any():
        return images
    small = int(torch.randint(20, 41, (1,), generator=rng))
    side = images.shape[-1]
    low = F.interpolate(images[chosen].unsqueeze(1), size=small, mode="bilinear", antialias=True)
    back = F.interpolate(low, size=side, mode="bilinear").squeeze(1)
    noise = torch.randn(back.shape, generator=rng).to(images.device)
    deviation = _uniform((len(back), 1, 1), 0.0, 10.0, images, rng)
    images = images.clone()
    images[chosen] = (back + deviation * noise).clamp(0, 255)
    return images


def _erase(images: Tensor, config: AugmentationConfig, rng: torch.Generator) -> Tensor:
    num, side = len(images), images.shape[-1]
    chosen = torch.rand((num, 1), generator=rng) < config.erase_probability
    area = torch.rand((num, 1), generator=rng) * 0.16 + 0.04
    aspect = (torch.rand((num, 1), generator=rng) * 2 - 1).mul(0.8).exp()
    height, width = (area * aspect).sqrt() * side, (area / aspect).sqrt() * side
    top = torch.rand((num, 1), generator=rng) * (side - height)
    left = torch.rand((num, 1), generator=rng) * (side - width)
    at = torch.arange(side).unsqueeze(0)
    rows = (at >= top) & (at < top + height)
    columns = (at >= left) & (at < left + width)
    hole = (chosen.unsqueeze(-1) & rows.unsqueeze(2) & columns.unsqueeze(1)).to(images.device)
    noise = (torch.rand(images.shape, generator=rng) * 255).to(images.device)
    return torch.where(hole, noise, images)


def mix_pairs(images: Tensor, alpha: float, rng: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Blend each face with another of the batch.

    Args:
        images: (B, S, S).
        alpha: Beta parameter; 0 leaves the batch as it is.
    Returns: blended (B, S, S); the partner's position (B,); the weight of the first, in [0.5, 1].
    """
    partner = torch.randperm(len(images), generator=rng).to(images.device)
    if alpha == 0:
        return images, partner, 1.0
    seed = int(torch.randint(2**31, (1,), generator=rng))
    weight = float(np.random.default_rng(seed).beta(alpha, alpha))
    weight = max(weight, 1 - weight)
    return weight * images + (1 - weight) * images[partner], partner, weight
