"""Normalised cuts of feature grids (Shi & Malik, 2000; spec unmore 2.1 and 2.2): graphs, and their eigenvectors.

VoteCut wants eigenvectors of the symmetric normalised Laplacian ``L = 1 - D^-1/2 A D^-1/2``, MaskCut those of
``(D - A) x = lambda D x``, which are the former divided by the square roots of the degrees. Only the second smallest
(and perhaps some next to it) are needed, so a block Krylov method with thick restarts takes a few dozen products with A
instead of a full factorisation. The smallest one, ``sqrt(degrees)``, is known and projected out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.errors import DataError

__all__ = ["FeatureGraph", "generalised", "smallest_vectors", "smallest_vectors_dense"]

DENSE_UP_TO = 256  # nodes: a full factorisation takes milliseconds
BLOCK = 4  # vectors multiplied at once: reading the matrix costs more than multiplying it
MOST_COLUMNS, KEPT = 64, 12  # of the Krylov basis, before and after a restart
CHECK_EVERY = 3  # blocks
MOST_PRODUCTS = 300  # blocks; what has not converged by then goes to the dense solver
TOLERANCE = 1e-9  # norm of the residual of an eigenvector of length 1


@dataclass(frozen=True)
class FeatureGraph:
    """Affinities between the cells of B grids: 1 between alike features, ``epsilon`` between others.

    Attributes:
        neighbours: (B, n, n) 0 or 1, float64.
        epsilon: what takes the place of 0.
    """

    neighbours: Tensor
    epsilon: float = 1e-5

    @classmethod
    def of(cls, features: Tensor, tau: float = 0.15, epsilon: float = 1e-5) -> FeatureGraph:
        """Join cells whose features have a cosine above ``tau``.

        Args:
            features: (B, n, C); a zero vector is like nothing, not even itself.
            tau: least cosine.
            epsilon: affinity of all others.

        Raises:
            DataError: features that are not finite.
        """
        if not bool(features.isfinite().all()):
            raise DataError("the features of the image are not finite", hint="use other weights or precision")
        unit = F.normalize(features.float(), dim=-1)
        return cls((unit @ unit.mT > tau).double(), epsilon)

    @property
    def degrees(self) -> Tensor:
        """(B, n) sums of the affinities of each cell."""
        linked = self.neighbours.sum(-1)
        return linked + self.epsilon * (self.neighbours.shape[-1] - linked)

    @property
    def affinity(self) -> Tensor:
        """(B, n, n) the full matrix A."""
        return self.neighbours + self.epsilon * (1 - self.neighbours)

    def product(self, vectors: Tensor) -> Tensor:
        """A times (B, n, k) vectors, with the matrix of 0 and 1 and a rank one term."""
        linked = self.neighbours @ vectors
        return self.epsilon * vectors.sum(1, keepdim=True) + (1 - self.epsilon) * linked


def generalised(graph: FeatureGraph, vectors: Tensor) -> Tensor:
    """Turn eigenvectors of the symmetric Laplacian into those of ``(D - A) x = lambda D x``, with ``x' D x = 1``."""
    return vectors * graph.degrees.rsqrt()[..., None]


def smallest_vectors(graph: FeatureGraph, count: int = 1) -> tuple[Tensor, Tensor]:
    """The smallest eigenvectors of the symmetric normalised Laplacian but the constant one.

    Deterministic. The sign is the one that makes the entry of largest magnitude positive.

    Args:
        graph: B graphs of n cells.
        count: how many, from the second smallest on.

    Returns:
        Eigenvalues (B, count), ascending, and vectors of length 1 (B, n, count), float64.
    """
    if graph.neighbours.shape[-1] <= DENSE_UP_TO:
        return smallest_vectors_dense(graph, count)
    values, vectors, converged = _krylov(graph, count)
    for index in (~converged).nonzero()[:, 0].tolist():
        one = FeatureGraph(graph.neighbours[index : index + 1], graph.epsilon)
        values[index : index + 1], vectors[index : index + 1] = smallest_vectors_dense(one, count)
    return values, _signed(vectors)


def smallest_vectors_dense(graph: FeatureGraph, count: int = 1) -> tuple[Tensor, Tensor]:
    """The same by a full factorisation: exact, O(n^3); the oracle of the fast one."""
    scale = graph.degrees.rsqrt()
    laplacian = -(scale[:, :, None] * graph.affinity * scale[:, None, :])
    laplacian.diagonal(dim1=-2, dim2=-1).add_(1)
    values, vectors = torch.linalg.eigh(laplacian)
    return values[:, 1 : 1 + count], _signed(vectors[..., 1 : 1 + count])


def _signed(vectors: Tensor) -> Tensor:
    largest = vectors.abs().argmax(1, keepdim=True)
    return vectors * vectors.gather(1, largest).sign()


def _krylov(graph: FeatureGraph, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Block Krylov iteration for the largest eigenvectors of ``D^-1/2 A D^-1/2`` beside the known one.

    Returns:
        Eigenvalues of the Laplacian (B, count), vectors (B, n, count) and whether they converged (B,).
    """
    batch, size, _ = graph.neighbours.shape
    degrees = graph.degrees
    scale = degrees.rsqrt()[..., None]
    known = F.normalize(degrees.sqrt(), dim=1)[..., None]

    def multiply(vectors: Tensor) -> Tensor:
        product = scale * graph.product(scale * vectors)
        return product - known @ (known.mT @ product)

    # The same start for every graph and machine.
    draws = torch.randn(size, BLOCK, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    block = _orthonormal(draws.to(scale).expand(batch, -1, -1), known)
    basis, images = block[..., :0], block[..., :0]
    for step in range(1, MOST_PRODUCTS + 1):
        image = multiply(block)
        basis, images = torch.cat([basis, block], -1), torch.cat([images, image], -1)
        block = _orthonormal(image, torch.cat([known, basis], -1))
        full = basis.shape[-1] + BLOCK > MOST_COLUMNS
        if not (full or step % CHECK_EVERY == 0):
            continue
        values, mix = torch.linalg.eigh(basis.mT @ images)  # the basis is orthonormal: Rayleigh-Ritz
        values, mix = values.flip(-1), mix.flip(-1)
        found, moved = basis @ mix[..., :count], images @ mix[..., :count]
        residual = (moved - found * values[:, None, :count]).norm(dim=1).amax(-1)
        converged = residual < TOLERANCE
        if bool(converged.all()):
            break
        if full:
            basis, images = basis @ mix[..., :KEPT], images @ mix[..., :KEPT]
    return 1 - values[:, :count], found, converged


def _orthonormal(block: Tensor, against: Tensor) -> Tensor:
    """Orthonormal columns (B, n, k) that span what a block adds to orthonormal columns; twice, for rounding."""
    for _ in range(2):
        block = block - against @ (against.mT @ block)
        block = torch.linalg.qr(block).Q
    return block
