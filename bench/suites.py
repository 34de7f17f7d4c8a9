# SPDX-License-Identifier: MIT
"""What bench/run measures: the cases of each suite, and the targets that --check holds bufpool to."""

from dataclasses import dataclass

from benchlib import FLOOR, OURS, PEERS, Verdict, size_bytes, size_text


@dataclass(frozen=True)
class Case:
    workload: str
    bytes: int
    threads: int = 1
    only: tuple = ()   # candidates, when not all

    def __str__(self):
        return f"{self.workload} {size_text(self.bytes)} x{self.threads}"

    @property
    def uneven(self):
        """
        Batches that differ by what the allocator or the scheduler did in them: a lucky one says nothing,
        so the mean of the whole run stands for both the median and the best batch.
        """
        return self.workload in ("mixed", "grow_mixed", "prodcons") or (self.workload == "batch" and self.threads > 1)


# The sizes each workload is run at: (quick, full).
SIZES = {
    "pair": ("1M", "64K 256K 1M 4M 16M 64M 256M 1G"),
    "touch": ("64K 1M 64M", "64K 256K 1M 4M 16M 64M 256M"),
    "fill": ("1M", "64K 1M 16M 64M"),
    "calloc": ("1M", "64K 1M 16M 64M"),
    "sparse": ("64M", "1M 16M 64M 256M 1G"),
    "small": ("1000", "1000"),
    "batch": ("1M", "64K 256K 1M 4M"),
    "mixed": ("16M", "16M"),
    "grow": ("64M", "64M 256M"),
    "grow_step": ("16M", "16M"),
    "grow_two": ("64M", "64M 256M"),
    "grow_mixed": ("16M", "16M"),
    "grow_cold": ("1G", "1G 4G"),
    "triad": ("1M", "64K 256K 1M 4M"),
    "update": ("1M", "64K 256K 1M 4M"),
    "stencil": ("1M", "64K 256K 1M 4M"),
    "prodcons": ("1M", "256K 1M 4M"),
    "load": ("64M", "64M 256M 512M 550M"),
}
WORKLOADS = list(SIZES)

# Peak RSS grows with the length of a random walk, so all walk equally far: this many operations a thread.
# The time limit then only cuts off the slow, whose peak is so understated.
OPS = {"mixed": 16384, "grow_mixed": 16384}
# Those that copy a gigabyte a thousand times need a minute and a half.
ONLY = {"grow_cold": (FLOOR, "glibc", "glibc-tuned", "tcmalloc", OURS)}
OPS_SECONDS = 1.0


def cases_of(workloads, sizes, threads, full):
    return [Case(w, size_bytes(s), t, ONLY.get(w, ())) for w in workloads for s in sizes or SIZES[w][full].split() for t in threads]


def suite(name):
    if name == "full":
        return cases_of(WORKLOADS, None, (1, 2, 4), True)
    return cases_of(WORKLOADS, None, (1,), False) + cases_of(("batch", "mixed", "prodcons"), None, (2,), False)


PAIR_SIZES = [size_bytes(s) for s in ("64K", "1M", "16M", "256M", "1G")]
CALLOC_SIZES = [size_bytes(s) for s in ("1M", "16M", "64M", "256M")]
TOUCH_SIZES = [size_bytes(s) for s in ("64K", "256K", "1M", "16M", "64M", "256M")]
MIB = 1 << 20
CHECK_THREADS = (1, 2, 4)
UNTUNED = [peer for peer in PEERS if peer != "glibc-tuned"]
ARRAYS = ("triad", "update", "stencil")


def check_cases():
    yield from (Case("pair", b, 1, () if b == MIB else (OURS,)) for b in PAIR_SIZES)
    yield Case("small", 1000, 1, (OURS, "glibc"))
    yield from (Case("touch", b, t, (OURS, FLOOR)) for b in TOUCH_SIZES for t in CHECK_THREADS)
    for workload, size in (("batch", MIB), ("mixed", 16 * MIB), ("prodcons", MIB)):
        yield from (Case(workload, size, threads) for threads in CHECK_THREADS)
    yield Case("load", 512 * MIB)
    yield from (Case("grow", 64 * MIB, threads) for threads in (1, 2))
    yield Case("grow_two", 64 * MIB)
    yield from cases_of(("grow_cold",), ("4G",), (1,), True)
    yield from (Case("calloc", b) for b in CALLOC_SIZES)
    yield Case("sparse", 1024 * MIB, 1, (OURS, "glibc"))
    yield from (Case(workload, MIB, 1, (OURS, "glibc", "jemalloc")) for workload in ARRAYS)


def targets(summary):
    """Verdicts from {(case text, candidate name): Summary}. What could not be measured gives none."""

    def best_of(peers):
        def best(case, field):
            values = [getattr(summary[case, p], field) for p in peers if (case, p) in summary]
            return min(values, default=None)
        return best

    best_peer = best_of(PEERS)

    def against(target, limit, case, base):
        ours = summary.get((case, OURS))
        bases = [base(case, field) for field in ("median_ns", "best_ns")]
        if ours and all(bases):
            yield Verdict(f"{case}: {target}", limit, ours.median_ns / bases[0], ours.best_ns / bases[1])

    def of(name):
        return lambda case, field: getattr(summary[case, name], field) if (case, name) in summary else None

    yield from against("time / best peer", 0.35, "pair 1M x1", best_peer)
    pairs = [summary[c, OURS] for c in (str(Case("pair", b)) for b in PAIR_SIZES) if (c, OURS) in summary]
    if pairs:
        flat = [max(v) / min(v) for v in ([p.median_ns for p in pairs], [p.best_ns for p in pairs])]
        yield Verdict("pair 64K..1G x1: largest / smallest time", 1.3, *flat)
    yield from against("time / plain glibc", 1.05, "small 1000 x1", of("glibc"))
    for case in (str(Case("touch", b, t)) for b in TOUCH_SIZES for t in CHECK_THREADS):
        yield from against("time / floor", 1.05, case, of(FLOOR))
        if (case, OURS) in summary:
            faults = summary[case, OURS].faults_per_page
            yield Verdict(f"{case}: faults per page", 0.01, faults, faults)
    for workload, size in (("batch", "1M"), ("mixed", "16M"), ("prodcons", "1M")):
        for threads in CHECK_THREADS:
            case = f"{workload} {size} x{threads}"
            yield from against("time / best peer", 1.0, case, best_peer)
            if workload == "mixed" and {(case, OURS), (case, "glibc-tuned")} <= summary.keys():
                rss = summary[case, OURS].rss_bytes / summary[case, "glibc-tuned"].rss_bytes
                yield Verdict(f"{case}: peak RSS / tuned glibc", 1.4, rss, rss)
                live = summary[case, OURS].rss_bytes / summary[case, OURS].live_bytes
                yield Verdict(f"{case}: peak RSS / peak live", 1.3, live, live)
    yield from against("time / floor", 1.1, "load 512M x1", of(FLOOR))
    yield from against("time / best peer", 1.0, "load 512M x1", best_peer)
    for case in ("grow 64M x1", "grow 64M x2", "grow_two 64M x1"):
        yield from against("time / best untuned peer", 0.1, case, best_of(UNTUNED))
        yield from against("time / tuned glibc", 1.0 if "two" in case else 2.0, case, of("glibc-tuned"))
    yield from against("time / first touches", 1.11, "grow_cold 4G x1", of(FLOOR))
    for case in (str(Case("calloc", b)) for b in CALLOC_SIZES):
        yield from against("time / best peer", 1.0, case, best_peer)
    if {("sparse 1G x1", OURS), ("sparse 1G x1", "glibc")} <= summary.keys():
        rss = summary["sparse 1G x1", OURS].rss_bytes / summary["sparse 1G x1", "glibc"].rss_bytes
        yield Verdict("sparse 1G x1: peak RSS / plain glibc", 1.05, rss, rss)
    for case in (str(Case(workload, MIB)) for workload in ARRAYS):
        yield from against("time / page-aligned (plain glibc)", 1.0, case, of("glibc"))
        yield from against("time / jemalloc's offsets", 1.02, case, of("jemalloc"))
