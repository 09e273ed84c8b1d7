"""The explorer in a pseudo terminal: types commands and keys, and reads what is on its screen.

The terminal is a VT52, which has no colours and hardly a dozen sequences: what it shows is known to the letter.
"""
import fcntl, os, pty, re, shutil, signal, struct, subprocess, tempfile, termios, threading, time


class Screen:
    """What a VT52 shows of the bytes that are sent to it."""

    MOVES = {"A": (-1, 0), "B": (1, 0), "C": (0, 1), "D": (0, -1)}

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.x = self.y = 0
        self.waiting = ""

    @property
    def lines(self):
        return ["".join(row) for row in self.cells]

    def take(self, data):
        for char in data.decode("latin-1"):
            if self.waiting:
                self.waiting += char
                self.sequence(self.waiting[1:])
            elif char == "\x1b":
                self.waiting = char
            elif char == "\r":
                self.x = 0
            elif char == "\n":
                self.down()
            elif char == "\b":
                self.x = max(0, self.x - 1)
            elif char == "\t":
                self.x = min(self.columns - 1, (self.x // 8 + 1) * 8)
            elif char >= " ":
                self.cells[self.y][self.x] = char
                # It does not go on in the next line.
                self.x = min(self.columns - 1, self.x + 1)

    def down(self):
        if self.y + 1 < self.rows:
            self.y += 1
        else:
            self.cells = self.cells[1:] + [[" "] * self.columns]

    def sequence(self, text):
        if text[0] == "Y" and len(text) < 3:
            return
        self.waiting = ""
        if text[0] == "Y":
            self.y, self.x = (max(0, min(ord(at) - 32, end - 1)) for at, end in zip(text[1:], (self.rows, self.columns)))
        elif text in self.MOVES:
            down, right = self.MOVES[text]
            self.y, self.x = max(0, min(self.rows - 1, self.y + down)), max(0, min(self.columns - 1, self.x + right))
        elif text == "H":
            self.x = self.y = 0
        elif text == "I":
            if self.y > 0:
                self.y -= 1
            else:
                self.cells = [[" "] * self.columns] + self.cells[:-1]
        elif text in ("J", "K"):
            self.cells[self.y][self.x:] = [" "] * (self.columns - self.x)
            for row in range(self.y + 1, self.rows if text == "J" else 0):
                self.cells[row] = [" "] * self.columns


class Explorer:
    """An image that the explorer serves, until `end` or `kill`; the same to its clients as a `Server`."""

    PATIENCE = 60  # seconds, of which a pause of the process may take some

    def __init__(self, command, image, columns=100, rows=40, options=()):
        self.folder = tempfile.mkdtemp(prefix="qatlas-explored-")
        self.socket = os.path.join(self.folder, "socket")
        self.screen, self.raw, self.changed = Screen(columns, rows), bytearray(), threading.Condition()
        self.usage, self.isOver = None, False
        self.terminal, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        surroundings = dict(os.environ, TERM="vt52", LC_ALL="C.UTF-8", XDG_CONFIG_HOME=self.folder, XDG_STATE_HOME=self.folder)
        for name in ("COLUMNS", "LINES", "COLORTERM"):
            surroundings.pop(name, None)
        words = [command, "--rw", "--ascii", "--no-config", "--trust", os.path.dirname(os.path.abspath(image)), *options, image]
        self.process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=surroundings, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.drain = threading.Thread(target=self.read, daemon=True)
        self.drain.start()
        try:
            self.until("its first picture", lambda text: "qatlas" in text)
            self.type(f":serve {self.socket}\r:guests\r")
            self.until("a disk that is served", lambda text: "2 Breakpoints" in text and os.path.exists(self.socket))
        except RuntimeError:
            self.kill()
            raise

    def read(self):
        while True:
            try:
                data = os.read(self.terminal, 1 << 16)
            except OSError:
                data = b""
            with self.changed:
                self.screen.take(data)
                self.raw = (self.raw + data)[-1 << 16:]
                self.isOver = not data
                self.changed.notify_all()
            if not data:
                return

    @property
    def text(self):
        with self.changed:
            return "\n".join(self.screen.lines)

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait(self, holds, seconds):
        """Whether the screen is one for which `holds` within so many seconds."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not holds("\n".join(self.screen.lines)):
                if self.isOver or not self.changed.wait(max(0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    return False
        return True

    def until(self, what, holds, seconds=PATIENCE):
        if not self.wait(holds, seconds):
            raise RuntimeError(f"the explorer does not get to {what}: {self.said()}")

    def said(self):
        """What it shows; behind its end, the last that it wrote."""
        return "\n" + self.text if not self.isOver else repr(bytes(self.raw[-1500:]))

    # Requests that are held up.

    @staticmethod
    def held_in(text):
        """The request that a screen shows as held up: client, words, seconds, done on this side or not; None if none is."""
        title = re.search(r"2 Held up for (\d+) s", text)
        words = re.search(r"client (\d+): (.*?)\s*\|?\s*$", text, re.M)
        return (words[1], words[2], int(title[1]), "done on this side" in text) if title and words else None

    @property
    def held(self):
        return self.held_in(self.text)

    def count(self):
        """How many requests were held up so far, as the explorer counts them; only while none is."""
        self.until("its count of requests held up", lambda text: "held up so far" in text)
        return int(re.search(r"([\d,_' ]*\d) held up so far", self.text)[1].translate({ord(c): None for c in ",_' "}))

    # The end.

    def end(self):
        """Ends serving and leaves, once no request is held up; the seconds of the processor that it used."""
        self.type(":serve stop\r")
        self.until("the end of serving", lambda text: "No guest uses the disk" in text)
        if os.path.exists(self.socket):
            raise RuntimeError("the socket is still there behind `serve stop`")
        self.type(":q\r")
        with self.changed:
            left = self.changed.wait_for(lambda: self.isOver, self.PATIENCE)
        if not left:
            raise RuntimeError(f"the explorer does not leave: {self.said()}")
        return self._over()

    def kill(self):
        self.signal(signal.SIGKILL)
        return self._over()

    def signal(self, number):
        if self.usage is None:
            try:
                os.kill(self.process.pid, number)
            except ProcessLookupError:
                pass

    def _over(self):
        if self.usage is None:
            _, status, self.usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.drain.join(5)
            os.close(self.terminal)
            shutil.rmtree(self.folder, ignore_errors=True)
        return self.usage.ru_utime + self.usage.ru_stime
