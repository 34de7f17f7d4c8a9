#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A Go program built without the go command's cache, then run.
set -euo pipefail

go tool compile -o pairs.o -p main "$SCRIPTS/pairs.go"
go tool link -o pairs pairs.o
./pairs
