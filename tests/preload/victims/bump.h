/* SPDX-License-Identifier: MIT */
#ifndef BP_BUMP_H
#define BP_BUMP_H

#ifdef __cplusplus
extern "C"
#endif
int bump_has(const void *p);

#endif
