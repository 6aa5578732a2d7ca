#!/usr/bin/python3
# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for the program of mpioperator/mpi-pi: pi from random points, a share of them on each rank, summed over MPI.

It prints the lines that upstream's C++ program prints, and like it needs all ranks: without one there is no sum.
"""

from __future__ import annotations

import random

from mpi4py import MPI

POINTS = 1_000_000  # on each rank

world = MPI.COMM_WORLD
if world.rank == 0:
    print(f"Workers: {world.size}", flush=True)
print(f"Rank {world.rank} on host {MPI.Get_processor_name()}", flush=True)
draw = random.Random(world.rank).random  # noqa: S311 no secret
inside = sum(draw() ** 2 + draw() ** 2 <= 1 for _point in range(POINTS))
total = world.reduce(inside, MPI.SUM)
if world.rank == 0:
    print(f"pi is approximately {4 * total / POINTS / world.size:.16f}")
