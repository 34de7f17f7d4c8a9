# SPDX-License-Identifier: MIT
"""What every JSON report of bufpool must hold, whatever the program did."""

KIB, MIB = 1024, 1024 * 1024

COUNTS = """schema_version pid large_requests thread_cache_hits shard_hits stolen fresh forwarded oversize over_budget contention
    live_bytes cached_bytes peak_live_bytes peak_cached_bytes mean_cached_bytes realloc_in_place realloc_moved realloc_copied calloc_bytes_not_zeroed
    faults_avoided syscalls_avoided refills flushes drops threads""".split()

IDENTITIES = [
    'schema_version >= 1',
    'large_requests == thread_cache_hits + shard_hits + stolen + fresh + forwarded',
    'abs(hit_rate - (thread_cache_hits + shard_hits + stolen) / max(large_requests, 1)) < 0.001',
    'forwarded == oversize + over_budget + no_memory + own_policy',
    'live_bytes <= peak_live_bytes',
    'cached_bytes <= peak_cached_bytes',
    'mean_cached_bytes <= peak_cached_bytes',
    'live_bytes + cached_bytes == footprint_bytes <= peak_footprint_bytes',
    'peak_live_bytes <= peak_footprint_bytes and peak_cached_bytes <= peak_footprint_bytes',
    'thread_cache_hits == sum(c["thread_cache_hits"] for c in classes)',
    'shard_hits == sum(c["shard_hits"] for c in classes)',
    'stolen == sum(c["stolen"] for c in classes)',
    'fresh == sum(c["fresh"] for c in classes)',
    'all(c["requests"] == c["thread_cache_hits"] + c["shard_hits"] + c["stolen"] + c["fresh"] for c in classes)',
    'all(c["requests"] > 0 for c in classes)',
    'sorted(c["size_bytes"] for c in classes) == [c["size_bytes"] for c in classes]',
    'not places or thread_cache_hits + shard_hits + stolen == sum(p["local_hits"] + p["remote_hits"] for p in places)',
    'not places or fresh == sum(p["fresh"] for p in places)',
    'not places or stolen == sum(p["stolen"] for p in places)',
    'not places or live_bytes == sum(p["live_bytes"] for p in places)',
    'not places or cached_bytes == sum(p["cached_bytes"] for p in places)',
    'realloc_copied == realloc_copied_small + realloc_copied_changed + realloc_copied_mappings + realloc_copied_refused',
    'realloc_exchanged <= realloc_moved and realloc_exchanged_bytes <= realloc_moved_bytes',
    'mode in ("pool", "off", "forward", "hardened")',
    'reason in ("end", "signal")',
    'isinstance(program, str) and isinstance(estimate_method, str)',
]


def untrue(report, expressions):
    """The expressions that do not hold for the report, with the numbers that they name."""
    names = {**report, 'KIB': KIB, 'MIB': MIB}
    wrong = []
    for expression in expressions:
        try:
            if eval(expression, names):
                continue
            shown = ' '.join(f'{k}={report[k]}' for k in report if k in expression and k != 'classes')
            wrong.append(f'report: not so: {expression} ({shown})')
        except (NameError, KeyError, TypeError) as error:
            wrong.append(f'report: {expression}: {error!r}')
    return wrong


def problems(report):
    """Everything that is wrong with a report by itself."""
    wrong = [f'report: {key} is {report.get(key)!r}' for key in COUNTS if not isinstance(report.get(key), int) or report[key] < 0]
    return wrong or untrue(report, IDENTITIES)
