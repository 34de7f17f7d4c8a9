/* SPDX-License-Identifier: MIT */
/* What dso.c offers: blocks made and freed on the library's side. */
#pragma once

#include <stddef.h>

void *dso_block(size_t size);
void dso_free(void *block);
