/* SPDX-License-Identifier: MIT */
/* Ranks of MPI that send each other blocks of all sizes, and write to and read from each other's. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 60, WINDOW_DOUBLES = 500000 };

static void check(int promise, const char *what)
{
    if (!promise) {
        printf("not so: %s\n", what);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static int is_filled(const unsigned char *p, int size, int value)
{
    return p[0] == value && memcmp(p, p + 1, (size_t)size - 1) == 0;
}

static void exchange(int rank, int count)
{
    int next = (rank + 1) % count, last = (rank + count - 1) % count;
    for (int i = 0; i < MESSAGES; i++) {
        int size = 10000 + i * 50021;
        unsigned char *sent = malloc((size_t)size), *received = malloc((size_t)size);
        memset(sent, i + rank, (size_t)size);
        MPI_Sendrecv(sent, size, MPI_CHAR, next, i, received, size, MPI_CHAR, last, i, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        check(is_filled(received, size, i + last), "what was sent has come");
        MPI_Request requests[2];
        MPI_Irecv(received, size, MPI_CHAR, next, i, MPI_COMM_WORLD, &requests[0]);
        MPI_Isend(sent, size, MPI_CHAR, last, i, MPI_COMM_WORLD, &requests[1]);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
        check(is_filled(received, size, i + next), "the same the other way round");
        free(sent);
        free(received);
    }
}

static void reach_into(int rank, int count)
{
    size_t bytes = WINDOW_DOUBLES * sizeof(double);
    double *window = malloc(bytes), *written = malloc(bytes);
    MPI_Win shared;
    MPI_Win_create(window, (MPI_Aint)bytes, sizeof *window, MPI_INFO_NULL, MPI_COMM_WORLD, &shared);
    for (int round = 0; round < 10; round++) {
        double *read = malloc(bytes);
        for (int i = 0; i < WINDOW_DOUBLES; i++)
            written[i] = i * (rank + round + 1.0);
        MPI_Win_fence(0, shared);
        MPI_Put(written, WINDOW_DOUBLES, MPI_DOUBLE, (rank + 1) % count, 0, WINDOW_DOUBLES, MPI_DOUBLE, shared);
        MPI_Win_fence(0, shared);
        MPI_Get(read, WINDOW_DOUBLES, MPI_DOUBLE, (rank + 1) % count, 0, WINDOW_DOUBLES, MPI_DOUBLE, shared);
        MPI_Win_fence(0, shared);
        check(memcmp(written, read, bytes) == 0, "what was put is got");
        free(read);
    }
    MPI_Win_free(&shared);
    MPI_Allreduce(written, window, WINDOW_DOUBLES, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0)
        printf("%.0f\n", window[WINDOW_DOUBLES - 1]);
    free(window);
    free(written);
}

int main(int argc, char **argv)
{
    int rank, count;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    exchange(rank, count);
    reach_into(rank, count);
    MPI_Finalize();
    return 0;
}
