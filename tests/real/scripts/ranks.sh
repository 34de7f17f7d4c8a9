#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Open MPI, which hooks munmap: as it comes, and with what was sent left registered.
set -euo pipefail

export BUFPOOL_DEVICES=pool # although libraries of network cards are there
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpicc -O1 "$SCRIPTS/ranks.c" -o ranks
for leave_pinned in 0 1; do
    mpirun --oversubscribe -np 2 --mca mpi_yield_when_idle 1 --mca pml ob1 --mca btl vader,self --mca mpi_leave_pinned "$leave_pinned" ./ranks
done
