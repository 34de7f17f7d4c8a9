#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Pages drawn at once and in bands by threads, written as PDF, and read again by another program.
set -euo pipefail

cat >pages.ps <<'PAGES'
%!PS
/Helvetica findfont 30 scalefont setfont
1 1 6 { /page exch def
    0 10 300 { dup 300 div page 6 div 0.5 setrgbcolor 0 exch 595 10 rectfill } for
    0 setgray 50 400 moveto (Page ) show page 10 string cvs show
    0 1 100 { /i exch def newpath i 4 mul 100 add 500 i 3 mod 10 add 0 360 arc stroke } for
    showpage } for
PAGES
gs -q -dNOPAUSE -dBATCH -sDEVICE=ppmraw -r200 -sOutputFile=- pages.ps | md5sum
gs -q -dNOPAUSE -dBATCH -dNumRenderingThreads=4 -dBandHeight=200 -dBufferSpace=4000000 -sDEVICE=ppmraw -r300 -sOutputFile=- pages.ps | md5sum
gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -sOutputFile=pages.pdf pages.ps
pdftotext pages.pdf - | md5sum
pdftoppm -r 150 pages.pdf | md5sum
