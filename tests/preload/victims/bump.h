/* SPDX-License-Identifier: MIT */
#ifndef BP_BUMP_H
#define BP_BUMP_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
int bump_has(const void *p);
size_t bump_size(const void *p); /* as it was asked for */
#ifdef __cplusplus
}
#endif

#endif
