"""The faults of disks: one that is full, a store that is damaged, a store that is lost."""

import errno
import hashlib
import os
import shutil
import time

from . import ask
from .faults import Fault


class FillDisk(Fault):
    """The file system of one home is filled. A member that is enrolled meanwhile gives every
    node something to write."""

    reachable = True
    ghost = None

    def __init__(self, *words, seconds=10):
        super().__init__(*words)
        self.seconds = seconds

    def begin(self):
        for node in self.aimed:
            filler = node.home.parent / "filler"
            self.done.append(filler)
            room = os.statvfs(filler.parent)
            if room.f_bavail * room.f_frsize > 64 << 20:
                continue  # it has no small disk of its own
            with open(filler, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(65536))
                except OSError as why:
                    if why.errno != errno.ENOSPC:
                        raise
                try:
                    while True:
                        file.write(bytes(512))
                except OSError:
                    pass
        self.ghost = self.world.enrol_ghost()

    def proof(self):
        for node in self.targets:
            probe = node.home.parent / "probe"
            try:
                probe.write_bytes(bytes(65536))
            except OSError as why:
                if why.errno != errno.ENOSPC:
                    raise
            else:
                raise ValueError(f"{node}: a write of 64 KiB went through")
            finally:
                probe.unlink(missing_ok=True)
            end = time.monotonic() + 10
            while not (status := ask.status(node.control)) \
                    or status["storage"]["state"] != "STORAGE_FULL":
                if time.monotonic() > end:
                    raise ValueError(f"{node}: the status does not say STORAGE_FULL: "
                                     f"{status and status['storage']}")
                time.sleep(0.2)
        return f"ENOSPC, STORAGE_FULL, {status['storage']['unwritten']} unwritten"

    def end(self):
        for filler in self.done:
            filler.unlink(missing_ok=True)

    def after(self):
        end = time.monotonic() + 20
        wrong = self._storage()
        while wrong and time.monotonic() < end:
            time.sleep(0.2)
            wrong = self._storage()
        if self.ghost:
            self.world.drop_ghost(self.ghost)
        return wrong

    def _storage(self):
        wrong = []
        for node in self.targets:
            status = ask.status(node.control)
            if not status or status["storage"] != {"state": "OK", "unwritten": 0}:
                wrong.append(f"{node}: storage {status and status['storage']} "
                             "20 s after there was room")
        return wrong


class Corrupt(Fault):
    """Stops a node, flips bytes in its store, and starts it again."""

    crashes = True
    careful = True
    seconds = 2

    def _sums(self):
        sums = {}
        for path in (path for node in self.targets for path in self._files(node)):
            try:
                sums[path] = hashlib.sha256(path.read_bytes()).digest()
            except FileNotFoundError:
                pass  # of a node that runs on
        return sums

    @staticmethod
    def _files(node):
        return sorted(path for path in (node.home / "db").iterdir()
                      if path.is_file() and path.name != "ballast" and path.stat().st_size)

    def begin(self):
        for node in self.aimed:
            self.done.append(node)
            self.world.stop(node)
        self.whole = self._sums()
        for node in self.aimed:
            for path in self._files(node):
                self._flip(path)
        self.changed = self._sums()

    def _flip(self, path):
        """Sixteen bytes where something is written."""
        data = bytearray(path.read_bytes())
        written = [at for at, byte in enumerate(data) if byte]
        for at in self.rng.sample(written, min(16, len(written))):
            data[at] ^= self.rng.randrange(1, 256)
        with open(path, "r+b") as file:  # owner and mode stay
            file.write(data)

    def proof(self):
        for node in self.targets:
            same = [path.name for path in self._files(node)
                    if self.whole.get(path) == self.changed.get(path)]
            if same or not self.whole:
                raise ValueError(f"{node}: {same or 'nothing'} differs not")
        return f"{len(self.changed)} files differ"

    def end(self):
        for node in self.done:
            self.world.start_again(node)

    def after(self):
        self.noticed = [node.name for node in self.targets
                        if ask.counters(node.control).get("store_damaged")]
        silent = {node.name for node in self.targets} - set(self.noticed)
        return [f"{name}: nothing says that the store was damaged" for name in sorted(silent)]


class LoseStore(Fault):
    """SIGKILL, and nothing of its store is there when it starts again: the others have it."""

    crashes = True
    careful = True
    seconds = 5

    def begin(self):
        for node in self.aimed:
            self.done.append(node)
            self.world.kill(node)
        self._gone()
        for node in self.aimed:
            shutil.rmtree(node.home / "db")

    def proof(self):
        left = [node.name for node in self.targets if (node.home / "db").exists()]
        if left:
            raise ValueError(f"{', '.join(left)}: its store is there")
        return "no store"

    def end(self):
        for node in self.done:
            self.world.start_again(node)

    def settled(self):
        held = [len(self.memory.held(node)) for node in self.targets]
        return [] if all(held) else ["nothing was there to be fetched back"]
