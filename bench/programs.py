# SPDX-License-Identifier: MIT
"""The real programs that bench/real times. Each should take about a second under plain glibc."""

import hashlib
import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import Callable, Optional

import benchlib as lib

PYTHON = "/usr/bin/python3"   # the distribution's, whatever else is first in PATH


@dataclass(frozen=True)
class Program:
    name: str
    argv: tuple
    inputs: tuple = ()                  # files it reads, of MAKERS
    modules: tuple = ()                 # Python modules it imports
    needs: tuple = ()                   # other programs
    output: str = ""                    # the file that it writes, or "-": what it prints; the same for all candidates
    heavy: bool = False                 # lives on large blocks: expected to be level with the best peer
    starts: bool = False                # is all start-up: compared with an empty preloaded object as well
    turns: int = 1                      # repetitions for each one asked for: more where a run is short
    run: Optional[Callable] = None      # when it is more than one command

    def __str__(self):
        return self.name

    def missing(self):
        if missing := [name for name in (self.argv[0], *self.needs) if not shutil.which(name)]:
            return missing
        imports = {m: subprocess.run([PYTHON, "-c", f"import {m}"], capture_output=True) for m in self.modules}
        return [m for m, tried in imports.items() if tried.returncode]

    def run_once(self, env, folder):
        env = {**env, "LC_ALL": "C"}
        if self.run:
            return self.run(self.argv, env, folder)
        outcome = lib.run_process(self.argv, env, folder, capture=self.output == "-")
        if self.output not in ("", "-"):
            with open(folder / self.output, "rb") as file:
                outcome.output = hashlib.file_digest(file, "sha256").hexdigest()
        return outcome


# --- what the programs read ---------------------------------------------------------------------


def make_lines(path):
    rng = random.Random(1)
    with path.open("w", encoding="ascii") as file:
        for _ in range(800_000):
            file.write(rng.randbytes(20).hex() + "\n")


def make_image(path, wide=4000, high=3000):
    rows = bytes(range(256)) * (wide * 3 // 256 + 2)
    with path.open("wb") as file:
        file.write(b"P6\n%d %d\n255\n" % (wide, high))
        for y in range(high):
            file.write(rows[y % 256:y % 256 + wide * 3])


def make_source(path, functions=500):
    loop = "for (int i = 0; i < n; i++) s = s * 31 + a[i] % (i + 1);"
    lines = (f"int f{i}(const int *a, int n) {{ int s = {i}; {loop} return s; }}\n" for i in range(functions))
    path.write_text("".join(lines), encoding="ascii")


def make_data(path):
    block = random.Random(2).randbytes(1 << 20)
    with path.open("wb") as file:
        for _ in range(64):
            file.write(block)


def make_long_lines(path):
    line = random.Random(3).randbytes(1 << 20).replace(b"\n", b" ")
    with path.open("wb") as file:
        for _ in range(8):
            file.write(line * 24 + b"\n")


def make_vector(path):
    subprocess.run(["g++", "-O2", "-o", path, lib.ROOT / "bench" / "micro" / "vector.cc"], check=True)


MAKERS = {"lines.txt": make_lines, "image.ppm": make_image, "source.c": make_source, "data.bin": make_data,
          "long.txt": make_long_lines, "vector": make_vector}


# --- programs that are more than one command ----------------------------------------------------


def run_redis(argv, env, folder):
    """The server under test; its clients under plain glibc. Wall clock of the clients, CPU and memory of the server."""
    socket = folder / "redis.sock"
    client = ["redis-benchmark", "-s", str(socket), "-d", str(1 << 20), "-c", "8", "-n", "1500", "-r", "100",
              "-t", "set,get", "-q"]
    stop = ["redis-cli", "-s", str(socket), "shutdown", "nosave"]
    with subprocess.Popen(argv, env=env, cwd=folder, stdout=subprocess.DEVNULL) as server:
        while not socket.exists() and server.poll() is None:
            time.sleep(0.01)
        driven = lib.run_process(client, lib.clean_env(), folder)
        subprocess.run(stop, env=lib.clean_env(), check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        served = lib.wait_for(server)
    return lib.Outcome(driven.status or served.status, "", driven.wall_s, served.cpu_s, served.rss_bytes)


# --- the table ----------------------------------------------------------------------------------


def numpy(name, statement, mib, loops):
    script = f"""
import numpy as np
a = np.random.default_rng(1).random({mib} << 17)
b = a + 1
c = a + 2
for _ in range({loops}):
    d = {statement}
"""
    return Program(f"numpy {name} {mib}M", (PYTHON, "-c", script), modules=("numpy",), heavy=True)


def octave(mib, loops):
    script = f"a = rand(1, {mib} * 2^17); b = a + 1; for i = 1:{loops} c = a .* b + a; end"
    return Program(f"octave a.*b+a {mib}M", ("octave-cli", "--norc", "--quiet", "--eval", script), heavy=True)


def r_vectors(mib, loops):
    script = f"a <- runif({mib} * 2^17); b <- a + 1; for (i in 1:{loops}) c <- a * b + a"
    return Program(f"R a*b+a {mib}M", ("Rscript", "--vanilla", "-e", script), heavy=True)


# To 1 GiB, as a program that reads from somewhere appends.
BYTEARRAY = """
grown, piece = bytearray(), bytes(range(256)) * 256
while len(grown) < 1 << 30:
    grown += piece
print(len(grown), sum(grown[::4001]))
"""

CONCATENATE = """
import numpy as np
grown = np.zeros(0)
for i in range(100):
    grown = np.concatenate((grown, np.full(1 << 17, float(i))))
print(grown.size, grown.sum())
"""

BUFFER_CONCAT = """
let grown = Buffer.alloc(0);
for (let i = 0; i < 100; i++) grown = Buffer.concat([grown, Buffer.alloc(1 << 20, i + 1)]);
console.log(grown.length, require('crypto').createHash('sha256').update(grown.subarray(0, 1 << 20)).digest('hex'));
"""

# A process tree as configure makes it: 2,000 children, none of which needs a large block.
SHELL_LOOP = """
for i in $(seq 500); do
    /bin/true
    x=$(expr $i + 1)
    echo $x | sed s/1/2/ > out.txt
    /usr/bin/test -f out.txt
done
"""

PROGRAMS = [
    numpy("a*b+c", "a * b + c", 8, 100),
    numpy("a*b+c", "a * b + c", 64, 12),
    numpy("sin", "np.sin(a)", 8, 60),
    numpy("sin", "np.sin(a)", 64, 8),
    numpy("sort", "np.sort(a)", 8, 8),
    numpy("concatenate", "np.concatenate((a, b))", 8, 60),
    numpy("concatenate", "np.concatenate((a, b))", 64, 8),
    octave(8, 100),
    octave(64, 12),
    r_vectors(8, 100),
    r_vectors(64, 12),
    Program("python bytes 50M", (PYTHON, "-c", "for _ in range(60): b'x' * 50_000_000"), heavy=True),
    Program("python read 64M", (PYTHON, "-c", "for _ in range(15): open('data.bin', 'rb').read()"),
            inputs=("data.bin",), heavy=True),
    Program("python bytearray to 1G", (PYTHON, "-c", BYTEARRAY), output="-", heavy=True),
    Program("c++ vector to 1G", ("env", "./vector"), inputs=("vector",), needs=("g++",), output="-", heavy=True),
    Program("numpy concatenate to 100M", (PYTHON, "-c", CONCATENATE), modules=("numpy",), output="-", heavy=True),
    Program("node Buffer.concat to 100M", ("node", "-e", BUFFER_CONCAT), output="-", heavy=True),
    Program("tac long lines", ("sh", "-c", "tac long.txt > tac.txt"), inputs=("long.txt",), needs=("tac",),
            output="tac.txt", heavy=True),
    Program("perl strings 50M", ("perl", "-e", "for (1 .. 30) { my $s = 'x' x (50_000_000 + $_); }")),
    Program("node Buffer 8M", ("node", "-e", "for (let i = 0; i < 300; i++) Buffer.alloc(8 << 20, i + 1)")),
    Program("node Float64Array 8M", ("node", "-e", "for (let i = 0; i < 200; i++) new Float64Array(1 << 20).fill(i)")),
    Program("ffmpeg mpeg4 1080p", ("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i",
                                   "testsrc=size=1920x1080:rate=30:duration=2", "-c:v", "mpeg4", "-f", "null", "-")),
    Program("ImageMagick resize", ("convert-im6.q16", "image.ppm", "-resize", "50%", "null:"), inputs=("image.ppm",)),
    Program("vips gaussblur", ("vips", "gaussblur", "image.ppm", "out.v", "2"), inputs=("image.ppm",)),
    Program("redis SET GET 1M", ("redis-server", "--port", "0", "--unixsocket", "redis.sock", "--save", ""),
            run=run_redis),
    Program("sort", ("sort", "-S", "256M", "-o", "sorted.txt", "lines.txt"), inputs=("lines.txt",),
            output="sorted.txt"),
    Program("xz -T2", ("xz", "-0", "-T2", "-k", "-c", "lines.txt"), inputs=("lines.txt",)),
    Program("zstd -T2", ("zstd", "-9", "-T2", "-q", "-c", "lines.txt"), inputs=("lines.txt",)),
    Program("gcc -O2", ("gcc", "-O2", "-c", "-o", "source.o", "source.c"), inputs=("source.c",)),
    Program("2,000 processes", ("bash", "-c", SHELL_LOOP), starts=True),
    Program("/bin/true", ("/bin/true",), starts=True, turns=60),
]
