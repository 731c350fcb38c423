"""The command: chooses a world, runs the rows, prints what happened, and clears up."""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

from . import compose, namespaces, report, rows
from .drill import IDLE, START_LIMIT, Drill
from .ledger import LOST
from .memory import Memory
from .watch import Watch

VERBS = {
    "kill": "SIGKILL; the restart policy brings it back",
    "stop": "a clean stop, and a start after --seconds",
    "pause": "SIGSTOP, and SIGCONT after --seconds",
    "cut": "all packets dropped for --seconds; --one-way: only those that it sends",
    "lossy": "--percent of the packets that come in dropped for --seconds",
    "slow": "--ms of delay each way for --seconds",
    "fill-disk": "its disk full for --seconds",
    "corrupt": "stopped, bytes of its store flipped, started",
    "storm": "all killed at once",
    "drill": "all of it in turn, with memory written all the while; --short: what the gate runs",
}


def say(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def parse(words):
    parser = argparse.ArgumentParser(
        prog="scripts/chaos.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Starts a mesh of sixteen nodes in three sectors, breaks it on purpose, and "
        "prints what happened.",
        epilog="verbs:\n" + "\n".join(f"  {verb:<10} {what}" for verb, what in VERBS.items())
        + "\n\nexit: 0 all rows passed, 1 one failed, 2 wrong words, 77 no world can be made here")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", nargs="?")
    parser.add_argument("--world", choices=("compose", "namespaces"),
                        help="else compose where an engine and the image are, or namespaces")
    parser.add_argument("--target", help="a name, role or sector, or all")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--percent", type=int, default=20)
    parser.add_argument("--ms", type=int, default=100)
    parser.add_argument("--one-way", action="store_true")
    parser.add_argument("--short", action="store_true", help="of the drill, what the gate runs")
    parser.add_argument("--only", help="of the drill, these rows: NAME,NAME")
    parser.add_argument("--seed", type=int, default=1, help="draws targets and bytes")
    parser.add_argument("--load", action="store_true", help="every core busy meanwhile")
    parser.add_argument("--restart-after", type=float, default=5,
                        help="seconds until a process comes back (namespaces) [%(default)s]")
    parser.add_argument("--dud", choices=("nothing", "elsewhere", "forget"),
                        help="proves the drill: does nothing, or to another, or takes a write for "
                        "acknowledged that never was; exit 0 if each row sees")
    parser.add_argument("--out", help="folder for picture, JSON and logs [a new one in /tmp]")
    parser.add_argument("--json", action="store_true", help="print JSON, not the table")
    parser.add_argument("--override", help="one more compose file, on top (compose)")
    parser.add_argument("--keep", action="store_true", help="leave the containers (compose)")
    parser.add_argument("--list", action="store_true", help="print the rows of the drill")
    options = parser.parse_args(words)
    if options.verb is None and not options.list:
        parser.error("say what to do: " + ", ".join(VERBS))
    if not 1 <= options.percent <= 100 or options.ms < 1:
        parser.error("--percent is 1 to 100, --ms at least 1")
    if options.dud == "forget" and options.verb not in (None, "drill"):
        parser.error("--dud forget is of the drill: only that writes memory")
    if options.seconds is not None and options.seconds <= 0:
        parser.error("--seconds is above 0")
    wanted = options.only.split(",") if options.only else []
    if unknown := set(wanted) - {row.key for row in rows.DRILL}:
        parser.error(f"--only {','.join(sorted(unknown))}: no such row; --list names them")
    options.docker = os.environ.get("CHAOS_DOCKER") or None
    options.image = os.environ.get("CHORUS_IMAGE") or "chorus:latest"
    options.repo = pathlib.Path(__file__).resolve().parents[2]
    options.chorus = binary(options.repo)
    return options


def binary(repo):
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or repo / "target")
    for path in (os.environ.get("CHORUS"), target / "release/chorus", target / "debug/chorus"):
        if path and os.access(path, os.X_OK):
            return os.path.abspath(path)
    return None


def choose(options):
    """The world that is there; says which, and why not the other."""
    why = {}
    for module, kind in ((compose, compose.Compose), (namespaces, namespaces.Namespaces)):
        if options.world in (None, kind.name):
            why[kind.name] = module.missing(options)
            if why[kind.name] is None:
                others = [f"; {name} {lack}" for name, lack in why.items() if lack]
                say(f"world: {kind.name}{''.join(others)}")
                return kind
    # The gate counts these.
    print("skipped: chaos " + "; ".join(f"{name} {lack}" for name, lack in why.items()))
    raise SystemExit(77)


def chosen_rows(options, world):
    if options.verb != "drill":
        return [rows.single(options)]
    keys = [row.key for row in rows.DRILL]
    if options.only:
        keys = options.only.split(",")
    elif options.short:
        keys = rows.SHORT[world]
    known = {row.key: row for row in rows.DRILL}
    return [known[key] for key in keys]


def interrupted(number, _):
    raise KeyboardInterrupt(signal.Signals(number).name)


def main():
    options = parse(sys.argv[1:])
    if options.list:
        for row in rows.DRILL:
            print(f"{row.key:<18} {row.target}")
        return 0
    kind = choose(options)
    wanted = chosen_rows(options, kind.name)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, interrupted)
    out = pathlib.Path(options.out or f"/tmp/chorus-chaos-{os.getpid()}")
    out.mkdir(parents=True, exist_ok=True)
    run = Run(options, kind, out)
    say(f"seed {options.seed}, output in {out}")
    stopped = picture = None
    try:
        run.begin()
        if options.load:
            run.load(os.cpu_count())
        run.rows(wanted)
    except (RuntimeError, OSError, subprocess.SubprocessError, KeyboardInterrupt) as why:
        stopped = f"{type(why).__name__}: {why}"
    finally:
        # What clears up shall not be cut off by a second signal.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        run.end_load()
        run.end(out, options.keep)
    return tell(run, out, stopped, len(wanted))


class Run:
    """The rows at a mesh; at a new one, when the last was not whole again."""

    def __init__(self, options, kind, out):
        self.options, self.kind, self.out = options, kind, out
        self.world = self.watch = self.memory = None
        self.busy, self.results, self.samples, self.bands = [], [], [], []

    def begin(self):
        begun = time.monotonic()
        self.world = self.kind(self.options, say)
        self.world.start()
        self.watch = Watch(self.world, self.samples)
        _, whole, missing = self.watch.until_whole(begun, START_LIMIT)
        if whole is None:
            raise RuntimeError(f"not whole {START_LIMIT} s after its start: {'; '.join(missing)}")
        say(f"{len(self.world.nodes)} nodes whole after {whole:.1f} s")
        for line in (self.world.look_inside(), self.world.look_between()):
            if line:
                say(line)
        if self.options.verb == "drill":
            self.memory = Memory(self.world, say)

    def rows(self, wanted):
        rng = random.Random(self.options.seed)
        for number, row in enumerate(wanted):
            drill = Drill(self.world, self.watch, self.memory, self.options, say, self.bands)
            self.results.append(drill.row(row, rng, self.options.short))
            is_last = number + 1 == len(wanted)
            if self.results[-1]["recover_s"] is None and not is_last:
                say("not whole again: the next row gets a new mesh")
                self.end(self.out / f"before-{wanted[number + 1].key}")
                self.begin()

    def end(self, out, keep=False):
        """Ends the mesh; its logs go to `out`."""
        world, watch, memory = self.world, self.watch, self.memory
        self.watch = self.memory = None
        if memory:
            memory.close()
        if watch:
            watch.close()
        if world is None:
            return
        try:
            out.mkdir(exist_ok=True)
            world.logs(out)
        finally:
            if keep and world.may_stay:
                say(f"kept: the containers of the project {world.project}")
            else:
                world.close()

    def load(self, count):
        self.busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
                     for _ in range(count)]
        say(f"load: {count} busy loops")

    def end_load(self):
        for process in self.busy:
            process.kill()
            process.wait()


def tell(run, out, stopped, wanted):
    options, world, results = run.options, run.world, run.results
    text = report.to_json(world, options, results, wanted)
    (out / "chaos.json").write_text(text + "\n")
    print(text if options.json else report.table(results))
    if run.samples:
        (out / "timeline.svg").write_text(report.picture(world, run.samples, run.bands))
        say(f"timeline: {out / 'timeline.svg'}")
    if stopped:
        print(f"FAILED: {stopped}", file=sys.stderr)
        return 1
    if options.dud:
        wrong = LOST if options.dud == "forget" else IDLE
        red = sum(any(why.startswith(wrong) for why in row["wrong"]) for row in results)
        say(f"{red} of {wanted} rows saw it: {wrong}")
        return 0 if red == wanted else 1
    passed = sum(row["ok"] for row in results)
    say(f"{passed} of {wanted} rows passed")
    return 0 if passed == wanted else 1


if __name__ == "__main__":
    sys.exit(main())
