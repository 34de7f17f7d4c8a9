/* SPDX-License-Identifier: MIT */
/* What dso.c offers: blocks made and freed on the library's side. */
#ifndef BP_DSO_H
#define BP_DSO_H

#include <stddef.h>

void *dso_block(size_t size);
void dso_free(void *block);

#endif
