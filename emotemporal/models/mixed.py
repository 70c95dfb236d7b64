"""The second branch of a frame network: where eyes, nose and mouth are, beside how the picture looks.

Points are five (MTCNN: eyes, nose, mouth corners) or 68 (iBUG's order, Sagonas et al. 2013, as dlib
gives them), in any pixels: position, scale and roll are taken out here, so that training pictures,
which are not aligned, and frames of a video give the same vector for the same face.
"""

import torch
from torch import Tensor, nn

_WIDTH = 64

# Number of points -> those of the eye on the picture's left, and of the other.
_EYES = {5: ([0], [1]), 68: (list(range(36, 42)), list(range(42, 48)))}

# Number of points -> which point each becomes in a mirrored picture.
MIRRORED: dict[int, list[int]] = {
    5: [1, 0, 2, 4, 3],
    68: [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *range(27, 31),  # bridge of the nose
        *range(35, 30, -1),  # nostrils
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *range(54, 47, -1),  # lips, outside above
        *range(59, 54, -1),  # lips, outside below
        *range(64, 59, -1),  # lips, inside above
        *range(67, 64, -1),  # lips, inside below
    ],
}


def landmark_vector(points: Tensor) -> Tensor:
    """Return faces' points as the landmark branch sees them.

    The points' mean becomes the origin, their root mean square distance from it 1, and the line between
    the eyes level.

    Args:
        points: (B, P, 2), P 5 or 68; not finite where none were found.
    Returns: float32 (B, 2P + 1), the last column 1 and all others 0 where no usable points were found.
    """
    left, right = _EYES[points.shape[1]]
    points = points.float()
    found = points.isfinite().all((1, 2))
    points = points.nan_to_num(0.0, 0.0, 0.0)
    points = points - points.mean(1, keepdim=True)
    spread = points.square().sum(2).mean(1).sqrt()
    level = points[:, right].mean(1) - points[:, left].mean(1)  # (B, 2)
    length = level.norm(dim=1)
    found &= (spread > 1e-3) & (length > 1e-3)
    cos, sin = (level / length.clamp_min(1e-3).unsqueeze(1)).unbind(1)
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)  # rows times this
    turned = points @ turn / spread.clamp_min(1e-3)[:, None, None]
    vector = turned.flatten(1) * found.unsqueeze(1)
    return torch.cat([vector, (~found).float().unsqueeze(1)], 1)


def mirror_landmarks(points: Tensor) -> Tensor:
    """Return (B, P, 2) points of the pictures mirrored about x = 0, each under the name it then has."""
    return points[:, MIRRORED[points.shape[1]]] * torch.tensor([-1.0, 1.0], device=points.device)


class LandmarkBranch(nn.Module):
    """Two small layers on the vector of a face's points.

    Args:
        num_points: 5 or 68.
    """

    def __init__(self, num_points: int) -> None:
        super().__init__()
        self.width_out = _WIDTH
        self.layers = nn.Sequential(
            nn.Linear(2 * num_points + 1, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU()
        )

    def forward(self, vector: Tensor) -> Tensor:
        """(B, 2P + 1) -> (B, width_out)."""
        return self.layers(vector)
