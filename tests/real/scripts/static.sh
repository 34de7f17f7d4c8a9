#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
set -euo pipefail

gcc -O1 -static "$SCRIPTS/pairs.c" -o pairs
./pairs
