#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Frames made, scaled, encoded and decoded again; the digest of each frame is printed.
set -euo pipefail

ffmpeg -nostdin -v error -bitexact -threads 2 -f lavfi -i testsrc2=size=1280x720:rate=10:duration=2 -f lavfi -i sine=duration=2 \
    -c:v mpeg4 -q:v 3 -c:a pcm_s16le -flags +bitexact -fflags +bitexact -y video.mkv
md5sum video.mkv
ffmpeg -nostdin -v error -bitexact -threads 2 -i video.mkv -vf scale=640:360:flags=bitexact+bicubic,transpose -f framemd5 -
