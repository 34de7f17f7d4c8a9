#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Large pictures made, blurred, resized, turned, packed and unpacked; digests of the pixels are printed.
set -euo pipefail

export MAGICK_THREAD_LIMIT=2
convert -size 1600x1200 gradient:red-blue -depth 8 gradient.ppm
convert gradient.ppm -resize 2000x -rotate 30 -blur 0x2 -depth 8 ppm:- | md5sum
convert -size 1000x1000 plasma:fractal -seed 5 -depth 8 -colors 64 null:
convert gradient.ppm \( +clone -flip \) -compose difference -composite -depth 8 ppm:- | md5sum
convert gradient.ppm picture.png
convert gradient.ppm -quality 80 picture.jpg
convert picture.png -depth 8 ppm:- | cmp - gradient.ppm && echo same
identify -format '%w %h %m\n' picture.png picture.jpg
