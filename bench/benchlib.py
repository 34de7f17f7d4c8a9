# SPDX-License-Identifier: MIT
"""What bench/run and bench/real share: the allocators compared, how a process is run, and tables."""

import csv
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
PEER_LIBRARIES = {
    "jemalloc": "libjemalloc.so.2",
    "mimalloc": "libmimalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "tbb": "libtbbmalloc_proxy.so.2",
}
TUNED = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296:glibc.malloc.top_pad=67108864"
PEERS = ["glibc", "glibc-tuned", *PEER_LIBRARIES]
OURS = "bufpool"
FLOOR = "floor"   # no allocator: bench/run touches a kept buffer
EMPTY = "empty"   # a preloaded object that does nothing: what the preloading itself costs a process


@dataclass(frozen=True)
class Candidate:
    """One allocator set-up: a name and what it adds to the environment."""

    name: str
    env: tuple = ()


def find_candidate(spec, preload, build):
    """NAME, NAME:K=V+K=V (a variant of it) or the path of a library to preload. None when it is not installed."""
    name, _, settings = spec.partition(":")
    if name in ("glibc", FLOOR):
        env = {}
    elif name == "glibc-tuned":
        env = {"GLIBC_TUNABLES": TUNED}
    else:
        if name == OURS:
            library = Path(preload)
        elif name == EMPTY:
            library = build / "bench" / "libpreload_empty.so"
        elif name in PEER_LIBRARIES:
            library = next((p for p in (Path(f, PEER_LIBRARIES[name]) for f in LIBRARY_FOLDERS) if p.exists()), None)
        else:
            library = Path(name)
        if not library or not library.exists():
            print(f"skipped: {spec}: {library or PEER_LIBRARIES[name]} not found", file=sys.stderr)
            return None
        env = {"LD_PRELOAD": str(library.resolve())}
    env.update(pair.split("=", 1) for pair in settings.split("+") if pair)
    return Candidate(spec, tuple(env.items()))


def add_common_arguments(parser, candidates):
    parser.add_argument("--peers", type=lambda text: text.split(","), default=candidates,
                        help="candidates: a peer, bufpool, NAME:K=V+K=V or a library's path (default: %(default)s)")
    parser.add_argument("--env", action="append", default=[], metavar="K=V[+K=V]",
                        help="one more candidate: bufpool so set")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="build folder (default: build)")
    parser.add_argument("--preload", type=Path, help="default: BUILD/preload/libbufpool_preload.so")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="every run, one row each")


def find_candidates(arguments):
    preload = arguments.preload or arguments.build / "preload" / "libbufpool_preload.so"
    specs = arguments.peers + [f"{OURS}:{settings}" for settings in arguments.env]
    return [candidate for spec in specs if (candidate := find_candidate(spec, preload, arguments.build))]


def clean_env(extra=()):
    """This environment without what would set up an allocator, and with `extra`."""
    dropped = ("LD_PRELOAD", "GLIBC_TUNABLES", "BUFPOOL_", "MALLOC_", "MIMALLOC_", "TCMALLOC_", "TBB_MALLOC_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return {**env, **dict(extra)}


@dataclass
class Outcome:
    status: int
    output: str
    wall_s: float
    cpu_s: float
    rss_bytes: int


def run_process(argv, env, cwd=None, capture=False):
    """Runs argv to its end."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if capture else {
        "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = time.perf_counter()
    with subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, text=True, **streams) as child:
        text = child.stdout.read() if capture else ""
        outcome = wait_for(child)
    outcome.output, outcome.wall_s = text, time.perf_counter() - start
    return outcome


def wait_for(child):
    """
    CPU time of the child and of those it waited for, peak memory of the largest of them. The kernel counts
    in that memory what the child shared with this script before exec: some 15 MiB.
    """
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Outcome(child.returncode, "", 0.0, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def interleave(cases, candidates_of, turns_of, run_once):
    """
    {(case, candidate): [result of each turn]}. Candidates alternate inside each turn of a case, so that
    the machine's moods, which last for minutes, meet all of them.
    """
    results = {}
    for number, case in enumerate(cases, 1):
        progress(f"{number}/{len(cases)} {case}")
        candidates = candidates_of(case)
        results.update({(case, candidate): [] for candidate in candidates})
        for turn in range(turns_of(case)):
            first = turn % len(candidates)   # nobody is always the one after the heaviest
            for candidate in candidates[first:] + candidates[:first]:
                if (result := run_once(case, candidate)) is not None:
                    results[case, candidate].append(result)
    progress("")
    return {key: runs for key, runs in results.items() if runs}


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


median = statistics.median


def size_bytes(text):
    """64K, 1M, 2G or plain bytes."""
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * scale[text[-1]] if text[-1] in scale else int(text)


def size_text(count):
    for unit, scale in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if count >= scale and count % scale == 0:
            return f"{count // scale}{unit}"
    return str(count)


def mib_text(count):
    return f"{count / (1 << 20):.0f}M"


def time_text(seconds):
    for unit, scale in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def ratio_text(value, base):
    if value is None or not base:
        return "-"
    ratio = value / base
    return f"{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}"


def print_table(columns, rows):
    """First column to the left, the others to the right. A row of None is a blank line."""
    widths = [max(len(str(row[i])) for row in [columns, *filter(None, rows)]) for i in range(len(columns))]
    for row in [columns, *rows]:
        cells = [str(c).rjust(w) if i else str(c).ljust(w) for i, (c, w) in enumerate(zip(row or [], widths))]
        print("  ".join(cells).rstrip())


@dataclass
class Verdict:
    """A figure against its limit, by medians and by bests. SPLIT: they disagree, so measure again."""

    target: str
    limit: float
    by_median: float
    by_best: float

    @property
    def word(self):
        met = [figure <= self.limit for figure in (self.by_median, self.by_best)]
        return "PASS" if all(met) else "SPLIT" if any(met) else "MISS"


def print_verdicts(verdicts, strict):
    print()
    print_table(["target", "limit", "by median", "by best", ""],
                [[v.target, f"<= {v.limit}", f"{v.by_median:.3g}", f"{v.by_best:.3g}", v.word] for v in verdicts])
    words = [v.word for v in verdicts]
    print(f"\n{words.count('PASS')} PASS, {words.count('SPLIT')} SPLIT, {words.count('MISS')} MISS")
    if strict and "MISS" in words:
        sys.exit(1)


def write_csv(path, records):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def write_svg(path, panels, x_label, y_label):
    """panels: {title: {series: [(x, y)]}}, both axes logarithmic. Needs gnuplot; says so when it is not there."""
    if not shutil.which("gnuplot"):
        print("skipped: plot: gnuplot is not installed", file=sys.stderr)
        return
    wide = min(3, len(panels))
    high = -(-len(panels) // wide)
    names = sorted({name for series in panels.values() for name in series})
    lines = [f"set terminal svg size {wide * 420},{high * 320} noenhanced background 'white'", f"set output '{path}'",
             f"set multiplot layout {high},{wide}", "set logscale x 2", "set logscale y", "set format x '%.0b%B'",
             "set format y '%.0s %c'", "set grid", f"set xlabel '{x_label}'", f"set ylabel '{y_label}'",
             "set key outside right top samplen 1 font ',9'"]
    for title, series in panels.items():
        xs = [x for points in series.values() for x, _ in points]
        lines += [f"set title '{title}'", f"set xrange [{min(xs) / 2}:{max(xs) * 2}]"]
        for name, points in series.items():
            block = f"$d{names.index(name)}"
            lines += [f"{block} << END", *(f"{x} {y}" for x, y in sorted(points)), "END"]
        plots = (f"$d{names.index(n)} with linespoints title '{n}' linetype {names.index(n) + 1}" for n in series)
        lines.append("plot " + ", ".join(plots))
    subprocess.run(["gnuplot"], input="\n".join(lines) + "\n", text=True, check=False)
