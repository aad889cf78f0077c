"""What is printed of a profile, and how two of them differ."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mpiapp.benchmarks.harness.spread import Ratio, ratio_of

#: operators that are listed
N_OPERATORS = 12
#: a change of share that is told
TOLD = 0.02


def lines(profile: Mapping[str, Any]) -> Iterator[str]:
    """Yield a profile in words and tables; why there is none else."""
    if profile['state'] != 'ok':
        yield (f'{profile["way"]} {profile["dtype"]} {profile["device"]}: '
               f'{profile["state"]}, {profile["reason"]}')
        return
    steady = profile['steady']
    yield (f'{profile["way"]} {profile["dtype"]} {profile["device"]}, '
           f'{profile["n_atoms"]} atoms x {profile["batch"]}, '
           f'{profile["n_edges"]} edges: {1e3 * steady["median"]:.2f} ms a '
           f'call (MAD {1e3 * steady["mad"]:.2f}), with hooks '
           f'{1e3 * profile["hooked_s"]:.2f} ms')
    yield ''
    yield ('| stage | shape | dtype | calls | forward ms | backward ms | '
           'share | MFLOP | MB | peak MB | operators | verdict | whole at '
           'most |')
    yield '|' + '---|' * 13
    for row in profile['stages']:
        peak = row['peak_bytes']
        yield (f'| {row["stage"]} | {row["shape"]} | {row["dtype"]} | '
               f'{row["calls"]} | {row["forward_ms"]:.2f} | '
               f'{row["backward_ms"]:.2f} | {100 * row["share"]:.1f} % | '
               f'{row["flops"] / 1e6:.2f} | {row["bytes"] / 1e6:.2f} | '
               f'{"" if peak is None else f"{peak / 1e6:.2f}"} | '
               f'{row["operations"]} | {row["bound"]} | '
               f'{row["amdahl"]:.2f}x |')
    yield ''
    yield from summary_lines(profile)


def summary_lines(profile: Mapping[str, Any]) -> Iterator[str]:
    """Yield totals, ceilings, operators, waits and memory."""
    total, ceilings = profile['total'], profile['ceilings']
    yield (f'total: forward {total["forward_ms"]:.2f} ms, backward '
           f'{total["backward_ms"]:.2f} ms, {total["operations"]} operators,'
           f' {total["flops"] / 1e9:.3f} GFLOP (products '
           f'{total["product_flops"] / 1e9:.3f}), '
           f'{total["bytes"] / 1e9:.3f} GB')
    rates = ', '.join(f'{v / 1e9:.1f} GFLOP/s {k}'
                      for k, v in ceilings['flops'].items())
    yield (f'ceilings, measured: {ceilings["bandwidth"] / 1e9:.1f} GB/s '
           f'(triad), {rates} (GEMM), {1e6 * ceilings["launch"]:.1f} us an '
           'operator')
    yield 'operators (ms hold the cost of watching):'
    for row in profile['operators'][:N_OPERATORS]:
        yield f'  {row["operator"]:32s} {row["calls"]:6d} {row["ms"]:9.2f}'
    waits = profile['synchronisations']
    yield ('the host waits for the device: '
           + ('; '.join(f'{w["calls"]} x {w["operator"]} in {w["stage"]} '
                        f'({w["what"]})' for w in waits) or 'never'))
    yield f'transfers between devices: {profile["transfers"]}'
    if profile['gpu_idle'] is not None:
        yield f'the GPU is idle for {100 * profile["gpu_idle"]:.0f} %'
    memory = profile['memory']
    law = memory['law']
    yield (f'memory: peak {memory["peak_bytes"] / 1e6:.1f} MB; '
           f'{law["m0"] / 1e6:.2f} MB + {law["per_atom"] / 1e3:.1f} kB/atom '
           f'+ {law["per_edge"] / 1e3:.2f} kB/edge (residual '
           f'{100 * law["error"]:.1f} %); {memory["limit_bytes"] / 1e9:.1f} '
           f'GB hold a batch of {memory["largest_batch"]}')
    yield (f'leak: {memory["leak_bytes_per_call"]:.0f} +- '
           f'{memory["leak_error"]:.0f} bytes a call: '
           f'{"YES" if memory["leaks"] else "none shown"}')


def difference(
    a: Mapping[str, Any], b: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], Ratio]:
    """Return the changes of stages, and the ratio of the calls a / b.

    The ratio is one only between equal subjects, save the way.
    """
    old = {r['stage']: r for r in a['stages']}
    new = {r['stage']: r for r in b['stages']}
    rows = []
    for name in dict.fromkeys((*old, *new)):
        one, two = old.get(name), new.get(name)

        def spent(row: Any) -> float:
            return row['forward_ms'] + row['backward_ms'] if row else 0.0
        rows.append({
            'stage': name, 'before_ms': spent(one), 'after_ms': spent(two),
            'share_before': one['share'] if one else 0.0,
            'share_after': two['share'] if two else 0.0,
            'operations': (two['operations'] if two else 0)
            - (one['operations'] if one else 0),
            'flops': (two['flops'] if two else 0)
            - (one['flops'] if one else 0)})
    return rows, ratio_of(a, b, 'way', paired=False)


def difference_lines(
    a: Mapping[str, Any], b: Mapping[str, Any],
) -> Iterator[str]:
    """Yield how two profiles differ, stages beside the whole (R7)."""
    from mpiapp.benchmarks.profiling.roofline import amdahl
    rows, ratio = difference(a, b)
    yield (f'whole call: {1e3 * a["steady"]["median"]:.2f} -> '
           f'{1e3 * b["steady"]["median"]:.2f} ms, {ratio}')
    yield ('| stage | ms before | ms after | share before | share after | '
           'operators | MFLOP | whole at most |')
    yield '|' + '---|' * 8
    for row in rows:
        yield (f'| {row["stage"]} | {row["before_ms"]:.2f} | '
               f'{row["after_ms"]:.2f} | {100 * row["share_before"]:.1f} % | '
               f'{100 * row["share_after"]:.1f} % | {row["operations"]:+d} | '
               f'{row["flops"] / 1e6:+.2f} | '
               f'{amdahl(row["share_before"]):.2f}x |')
