"""Breakpoints at seeded times in an explorer that serves a disk, and what becomes of the requests that they hold up."""
import collections, os, random, threading

from explorer import Explorer


def a_while(numbers):
    """Seconds, mostly few; one in ten is longer than what is in flight takes by far."""
    return numbers.uniform(2, 5) if numbers.random() < 0.1 else numbers.uniform(0.005, 0.4)


class Holds(threading.Thread):
    """Sets breakpoints in an explorer now and then, and lets go what they hold up, until told to end. Of the disk the first `size` bytes are used."""

    def __init__(self, seed, size):
        super().__init__(daemon=True)
        self.size = size
        self.random, self.over, self.turn = random.Random(seed), threading.Event(), threading.Lock()
        self.explorer, self.image, self.failed = None, None, lambda: None
        self.last, self.before = None, 0
        self.problem, self.held, self.seconds = None, 0, 0.0
        self.counts, self.kinds = collections.Counter(), collections.Counter()

    def begin(self, explorer, image, failed):
        """From now on in this explorer. If something is wrong there, `failed` is called."""
        with self.turn:
            if explorer is not self.last:
                self.last, self.before = explorer, 0
            self.explorer, self.image, self.failed = explorer, image, failed

    def rest(self):
        """Nothing is held up any more, and nothing will be."""
        with self.turn:
            explorer, self.explorer = self.explorer, None
            if explorer and not self.problem:
                now = explorer.count()
                self.held, self.before = self.held + now - self.before, now
        if self.problem:
            raise RuntimeError(self.problem)

    def run(self):
        while not self.over.wait(self.random.uniform(0.05, 0.8)):
            with self.turn:
                if not self.explorer or self.problem:
                    continue
                try:
                    self.visit()
                except (RuntimeError, OSError) as problem:
                    self.problem = str(problem)
                    self.failed()

    def breakpoint(self):
        kind = self.random.choice(["next", "copy", "copy", "table", "refcounts", "rounded", "guest", "guest", "host", "host"])
        if kind == "next":
            return kind, self.random.choice(["n", ":break next\r"])
        words = kind
        if kind in ("guest", "host"):
            end = self.size if kind == "guest" else max(1 << 20, os.path.getsize(self.image))
            words += f" {self.random.randrange(end >> 9) << 9:#x} {self.random.choice(['512', '64k', '1M', '16M', '64M'])}"
        return kind, f":break {words}\r"

    def visit(self):
        """Sets one breakpoint, lets some requests go that it holds up, and then all."""
        explorer, numbers = self.explorer, self.random
        kind, words = self.breakpoint()
        explorer.type(words)
        self.counts["set"] += 1
        if not explorer.wait(Explorer.held_in, numbers.uniform(0.3, 3)):
            # Perhaps one comes just now; the key lets it go.
            explorer.type("C")
        else:
            self.kinds[kind] += 1
            for left in reversed(range(numbers.randint(1, 6))):
                self.hold(numbers.choice(["c", "c", "n"]) if left else numbers.choice(["C", ":break off\rc"]))
                if not explorer.wait(Explorer.held_in, numbers.uniform(0.1, 1)):
                    break
            explorer.type("C")
        explorer.until("a disk without requests held up", lambda text: "no breakpoints" in text and "2 Breakpoints" in text)

    def hold(self, key):
        """Keeps the request that is held up for a while, then lets it go."""
        explorer, numbers = self.explorer, self.random
        held = explorer.held
        if not held:
            return
        length = a_while(numbers)
        self.over.wait(length / 2)
        if numbers.random() < 0.4 and not held[1].startswith("flush"):
            self.attempt()
        self.over.wait(length / 2)
        explorer.type(key)
        self.counts[key[-1] if key[0] == ":" else key] += 1
        self.seconds += length
        # The next one may be held up before the screen has ever shown none; one that is asked twice looks the same, and after a
        # while counts as another.
        explorer.wait(lambda text: (Explorer.held_in(text) or [None] * 2)[:2] != held[:2], 2)

    def attempt(self):
        """Does the request on the explorer's side; mostly takes that back, sometimes to do it again."""
        explorer, numbers = self.explorer, self.random

        def done(text):
            return (Explorer.held_in(text) or [False] * 4)[3]

        def gone(text):
            # The screen was old: what it showed was let go already, as when the explorer stood still for longer than was waited.
            return not Explorer.held_in(text) or "no request is held up that could be done" in text

        def press(key, what, holds):
            explorer.type(key)
            explorer.until(what, lambda text: holds(text) or gone(text))
            return holds(explorer.text)

        if not press("d", "a request that is done", done):
            return
        self.counts["tried"] += 1
        if "changes nothing" in explorer.text:
            return
        while numbers.random() < 0.7:
            if not press("u", "a request that is taken back", lambda text: Explorer.held_in(text) and not done(text)):
                return
            self.counts["undone"] += 1
            if numbers.random() < 0.5 or not press("d", "a request that is done again", done):
                return
            self.counts["tried"] += 1

    def end(self):
        self.over.set()
        self.join()

    def told(self):
        counts = self.counts
        kinds = ", ".join(f"{name} {number}" for name, number in sorted(self.kinds.items()))
        return (f"{counts['set']} breakpoints set, {sum(self.kinds.values())} of them met ({kinds}), {self.held} requests held up, {self.seconds:.0f} s of them; "
                f"done on the explorer's side {counts['tried']} times, taken back {counts['undone']} times; "
                f"let go by c {counts['c']}, n {counts['n']}, C {counts['C']}")

