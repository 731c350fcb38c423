"""What a run leaves behind: a table for people, JSON for programs, a picture as SVG."""

import json
from xml.sax.saxutils import escape

COLUMNS = ("fault", "target", "detect s", "recover s", "acked lost", "false deaths",
           "split decisions", "peak queue", "RSS max MB", "result")


def _cells(row):
    number = lambda value: "n/a" if value is None else f"{value:.1f}"
    count = lambda value: "n/a" if value is None else str(value)
    detect = "back" if row["back_before"] else \
        "-" if row["detect_s"] is None else number(row["detect_s"])
    recover = "never" if row["recover_s"] is None else number(row["recover_s"])
    return (row["fault"], row["target"], detect, recover, count(row["acked_writes_lost"]),
            str(row["false_deaths"]), count(row["split_decisions"]), str(row["peak_queue"]),
            number(row["rss_max_mb"]), "ok" if row["ok"] else "FAILED")


def table(rows):
    cells = [COLUMNS, *map(_cells, rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
             for line in cells]
    for row in rows:
        lines += [f"FAILED {row['fault']}: {why}" for why in row["wrong"]]
    return "\n".join(lines)


def to_json(world, options, rows, wanted):
    """`wanted`: how many rows there should be; a run that was ended early is not ok."""
    return json.dumps({"schema": "chorus.chaos/1", "world": world.name, "seed": options.seed,
                       "load": options.load, "nodes": len(world.nodes), "rows": rows,
                       "wanted": wanted,
                       "ok": sum(row["ok"] for row in rows) == wanted}, indent=1)


WIDTH, LEFT, RIGHT, TOP, BAND, GAP = 1200, 60, 20, 40, 200, 40


def picture(world, samples, bands):
    """Live peers, least and most over all nodes that answer, and r as the root has it."""
    samples = sorted(samples)
    if not samples:
        return "<svg xmlns='http://www.w3.org/2000/svg'/>"
    begun, over = samples[0][0], samples[-1][0] + 1
    x = lambda at: LEFT + (at - begun) / (over - begun) * (WIDTH - LEFT - RIGHT)
    count = len(world.nodes)
    live_y = lambda live: TOP + 60 + BAND - live / count * BAND
    r_top = TOP + 60 + BAND + GAP
    r_y = lambda order: r_top + BAND - order * BAND
    height = r_top + BAND + 40
    out = [f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' "
           "font-family='sans-serif' font-size='11'>",
           f"<rect width='{WIDTH}' height='{height}' fill='white'/>",
           f"<text x='{LEFT}' y='16' font-size='14'>{count} nodes, {escape(world.name)}</text>"]
    for number, (since, until, label) in enumerate(bands):
        width = max(1.5, x(until) - x(since))
        # Labels of neighbours at different heights.
        y = TOP + 4 + number % 4 * 14
        at = min(x(since), WIDTH - RIGHT - 7 * len(label))
        out.append(f"<rect x='{x(since):.1f}' y='{y}' width='{width:.1f}' "
                   f"height='{height - 40 - y}' fill='#d33' fill-opacity='.15'/>"
                   f"<text x='{at:.1f}' y='{y - 2}' fill='#a00'>{escape(label)}</text>")
    for top, low, high, name in ((TOP + 60, 0, count, "live"), (r_top, 0, 1, "r of the root")):
        out.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{top + BAND}' y2='{top + BAND}' "
                   f"stroke='#888'/><text x='8' y='{top + 10}'>{high}</text>"
                   f"<text x='8' y='{top + BAND}'>{low}</text>"
                   f"<text x='8' y='{top + BAND / 2}' font-size='10'>{name}</text>")
    step = max(1, int((over - begun) / 12 / 10)) * 10
    for second in range(0, int(over - begun) + 1, step):
        out.append(f"<text x='{x(begun + second):.1f}' y='{height - 24}' "
                   f"text-anchor='middle'>{second} s</text>")
    slots = {}
    for at, _, live, _ in samples:
        slots.setdefault(round(at), []).append(live)
    for pick, colour in ((min, "#06c"), (max, "#0a5")):
        line = " ".join(f"{x(at):.1f},{live_y(pick(live)):.1f}" for at, live in slots.items())
        out.append(f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='1.3'/>")
    line = " ".join(f"{x(at):.1f},{r_y(order or 0):.1f}" for at, name, _, order in samples
                    if name == world.root.name)
    out.append(f"<polyline points='{line}' fill='none' stroke='#639' stroke-width='1.3'/>"
               f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{r_y(.95)}' y2='{r_y(.95)}' "
               "stroke='#639' stroke-dasharray='4 4' stroke-opacity='.5'/>"
               f"<text x='{LEFT}' y='{height - 6}'><tspan fill='#06c'>least live</tspan> and "
               "<tspan fill='#0a5'>most live</tspan> over all nodes that answer; "
               "<tspan fill='#639'>r</tspan>, dashed at .95; red: a fault, until its end or, "
               "of a crash, until all is whole</text></svg>")
    return "\n".join(out)
