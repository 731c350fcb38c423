"""Which faults there are, at whom, and for how long."""

from . import disks, faults, sectors


class Row:
    def __init__(self, key, label, target, make, limit=30, live=None, known=None, short=None):
        """`target`: a name, role, sector or `all`; of a role one is drawn by the seed.
        `limit`: seconds until whole; `live`: until live everywhere; `known`: until a dead
        one is noticed, unless it is back before; `label` may hold its seconds. `short`: how `make` is called for the gate."""
        self.key, self.label, self.target, self.make = key, label, target, make
        self.limit, self.live, self.known, self.short = limit, live, known, short


def _of(kind, **more):
    return lambda *words, **over: kind(*words, **{**more, **over})


DRILL = (
    Row("memory", "memory", "all", _of(sectors.Spread), short={}),
    Row("kill-agent", "kill agent", "agent", _of(faults.Kill), known=30, short={}),
    Row("kill-lead", "kill lead", "lead", _of(faults.Kill), known=30, short={}),
    Row("kill-coordinator", "kill coordinator", "coordinator", _of(faults.Kill), known=30),
    Row("pause-10", "pause {:g} s", "agent", _of(faults.Pause, seconds=10), live=15, short={}),
    Row("pause-45", "pause {:g} s", "lead", _of(faults.Pause, seconds=45), live=15),
    Row("cut-60", "cut {:g} s", "coordinator", _of(faults.Drop, seconds=60), live=15,
        short={"seconds": 5}),
    Row("cut-leg", "backbone cut {:g} s", "coordinator", _of(faults.CutLeg), live=15),
    Row("sector-60", "sector cut {:g} s", "s2", _of(sectors.CutSector, seconds=60), live=15,
        short={"seconds": 5}),
    Row("unplug", "unplug {:g} s", "agent", _of(faults.Unplug, seconds=10), live=15, short={}),
    Row("loss-5", "loss 5 %", "all", _of(faults.Drop, seconds=30, percent=5, hooks=("input",)),
        live=15),
    Row("loss-20", "loss 20 %", "all", _of(faults.Drop, seconds=30, percent=20, hooks=("input",)),
        live=15),
    Row("delay-100", "delay 100 ms", "coordinator", _of(faults.Slow, seconds=30, ms=100), live=15),
    Row("one-way", "one-way cut {:g} s", "lead",
        _of(faults.Drop, seconds=20, hooks=("output",)), live=15),
    Row("full-disk", "full disk", "small-disk", _of(disks.FillDisk, seconds=10)),
    Row("corrupt", "corrupted store", "agent", _of(disks.Corrupt)),
    Row("lost-store", "lost store", "agent", _of(disks.LoseStore), known=30),
    Row("storm", "all killed", "all", _of(faults.Kill), limit=60),
)
SHORT = {
    "namespaces": ("memory", "kill-agent", "kill-lead", "pause-10", "cut-60", "sector-60"),
    "compose": ("memory", "kill-agent", "unplug", "sector-60"),
}


def single(options):
    """The row of a verb."""
    seconds = {} if options.seconds is None else {"seconds": options.seconds}
    verb, target = options.verb, options.target
    if verb == "kill":
        return Row(verb, "kill", target or "agent", _of(faults.Kill), known=30)
    if verb == "stop":
        return Row(verb, "stop", target or "agent", _of(faults.Stop, **seconds), known=30)
    if verb == "pause":
        return Row(verb, "pause", target or "agent", _of(faults.Pause, **seconds), live=15)
    if verb == "cut":
        hooks = ("output",) if options.one_way else ("input", "output")
        label = "one-way cut" if options.one_way else "cut"
        return Row(verb, label, target or "agent", _of(faults.Drop, hooks=hooks, **seconds),
                   live=15)
    if verb == "lossy":
        return Row(verb, f"loss {options.percent} %", target or "all",
                   _of(faults.Drop, hooks=("input",), percent=options.percent, **seconds), live=15)
    if verb == "slow":
        return Row(verb, f"delay {options.ms} ms", target or "coordinator",
                   _of(faults.Slow, ms=options.ms, **seconds), live=15)
    if verb == "fill-disk":
        return Row(verb, "full disk", target or "small-disk", _of(disks.FillDisk, **seconds))
    if verb == "corrupt":
        return Row(verb, "corrupted store", target or "agent", _of(disks.Corrupt))
    return Row(verb, "all killed", target or "all", _of(faults.Kill), limit=60)
