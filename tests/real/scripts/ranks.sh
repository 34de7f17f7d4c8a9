#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Open MPI, which hooks munmap: by copies between processes, by shared memory, and with what was sent left registered.
set -euo pipefail

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpicc -O1 "$SCRIPTS/ranks.c" -o ranks
for how in 'btl_vader_single_copy_mechanism cma' 'btl_vader_single_copy_mechanism none' 'mpi_leave_pinned 1'; do
    # shellcheck disable=SC2086 # a name and a value
    mpirun --oversubscribe -np 2 --mca mpi_yield_when_idle 1 --mca pml ob1 --mca btl vader,self --mca $how ./ranks
done
