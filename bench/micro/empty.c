/* SPDX-License-Identifier: MIT */
/* An object that does nothing: the candidate `empty`. */
int preload_empty;
