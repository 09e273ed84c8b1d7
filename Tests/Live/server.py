"""A disk that is served to real programs: by `qatlas serve`, or by qemu-nbd to compare with."""
import os, shutil, signal, subprocess, tempfile, time


class Server:
    """One image behind a socket, until `end` or `kill`."""

    def __init__(self, command, image, kind="qatlas", port=False, options=()):
        self.folder = tempfile.mkdtemp(prefix="qatlas-served-")
        self.socket = os.path.join(self.folder, "socket")
        self.errors = open(os.path.join(self.folder, "errors"), "w+")
        if kind == "qatlas":
            place = ["--port", "0"] if port else ["--socket", self.socket]
            words = [command, "serve", "--rw", *place, *options, image]
        else:
            words = [command, "-f", "qcow2", "-t", "-e", "8", "--discard=unmap", "-k", self.socket, *options, image]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.usage = None
        self.uri = self.process.stdout.readline().strip() if kind == "qatlas" else ""
        deadline = time.monotonic() + 20
        while kind != "qatlas" and not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        if not port and not os.path.exists(self.socket) or kind == "qatlas" and not self.uri:
            self.kill()
            raise RuntimeError(f"{words[0]} does not serve {image}: {self.said()}")

    @property
    def port(self):
        return int(self.uri.rsplit(":", 1)[1].split("/")[0])

    def said(self):
        """What it wrote to its standard error."""
        self.errors.seek(0)
        return self.errors.read().strip()

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Asks it to end and waits; the seconds of the processor that it used."""
        return self._over(signal.SIGTERM)

    def kill(self):
        """Ends it without a word, as a power cut of the program would."""
        return self._over(signal.SIGKILL)

    def _over(self, number):
        if self.usage is None:
            try:
                os.kill(self.process.pid, number)
            except ProcessLookupError:
                pass
            _, status, usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.process.stdout.close()
            self.usage = usage
            shutil.rmtree(self.folder, ignore_errors=True)
        return self.usage.ru_utime + self.usage.ru_stime


def run(*words, allowed=(0,)):
    """What a program prints; any other exit status than those allowed is an error with its words."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(words)}: exit status {done.returncode}: {done.stdout.strip()[-2000:]}")
    return done.stdout
