/* SPDX-License-Identifier: MIT */
#ifndef BP_FUZZ_H
#define BP_FUZZ_H
/*
 * The entry point that libFuzzer, AFL++ and replay.c call with one input after another. Whatever is wrong aborts.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C"
#endif
    int
    LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
