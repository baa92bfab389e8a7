"""A server of a case: started, killed, started again on the same folder and ports, and asked over REST."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time

# Seconds that a server has to start or to stop.
LIMIT = 20


def until(condition, seconds, what):
    """Waits until the condition holds, and gives what it answered; fails after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, "waited %s s in vain: %s" % (seconds, what)
        time.sleep(0.01)


class Server:
    """One node with a data folder of its own. Its ports are those that the first start was given."""

    def __init__(self, program, folder):
        self.program = program
        self.folder = folder
        self.http = "127.0.0.1:0"
        self.address = "127.0.0.1:0"
        self.process = None
        self.process_count = 0

    def start(self):
        """Starts it and waits until it takes writes."""
        deadline = time.monotonic() + LIMIT
        while not self._try_to_start():
            # A port of before may be taken for a moment: by a client that dials it, from that very port.
            may_pass = self.process_count > 1 and time.monotonic() < deadline
            assert may_pass, "the server does not start: " + self._said("out", "err")[-2000:]
            time.sleep(0.1)
        until(self._is_ready, LIMIT, "/readyz")

    def kill(self):
        """Ends it with signal 9, wherever it stands."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self, seconds):
        """Stands still for so long, with its connections open."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Stops it in good order."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(LIMIT)
        assert code == 0, "the server stopped with code %d: %s" % (code, self._said("err"))

    def wipe(self):
        """Takes its data away, while it is down."""
        shutil.rmtree(os.path.join(self.folder, "data"))

    def finish(self):
        """Held at the end of every case: it runs, its books agree with its history, and it stops in good order."""
        assert self.process.poll() is None, "the server has ended: " + self._said("err")
        verified = subprocess.run(
            [self.program, "verify", "--all", "--server", "http://" + self.http],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
        )
        assert verified.returncode == 0, verified.stdout.decode()
        self.stop()

    def rest(self, method, path, body=None):
        """The status and the JSON that REST answers."""
        connection = http.client.HTTPConnection(self.http, timeout=LIMIT)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": "application/json", "connection": "close"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _try_to_start(self):
        command = [self.program, "start", "--data-dir", os.path.join(self.folder, "data")]
        command += ["--listen", self.http, "--tigerbeetle-listen", self.address]
        with open(self._file("out"), "wb") as out, open(self._file("err"), "ab") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.process_count += 1
        has_ended = until(lambda: self._find_addresses() or self._has_ended(), LIMIT, "addresses") == "ended"
        return not has_ended

    def _has_ended(self):
        return "ended" if self.process.poll() is not None else None

    def _find_addresses(self):
        said = self._said("out")
        http_found = re.search(r"listens on http://(127\.0\.0\.1:\d+)\n", said)
        door_found = re.search(r"(?i)tigerbeetle.*?(127\.0\.0\.1:\d+)\b.*\n", said)
        if not (http_found and door_found):
            return None
        self.http, self.address = http_found.group(1), door_found.group(1)
        return "found"

    def _is_ready(self):
        connection = http.client.HTTPConnection(self.http, timeout=LIMIT)
        try:
            connection.request("GET", "/readyz", headers={"connection": "close"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _file(self, name):
        return os.path.join(self.folder, name)

    def _said(self, *names):
        texts = []
        for name in names:
            with open(self._file(name), encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        return "\n".join(texts)
