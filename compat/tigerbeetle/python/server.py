"""The server of a case: starts it, kills it, starts it again on the same folder and ports, and sends requests over REST.
One node, or three."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

# Time limit of a start or a stop, in seconds.
LIMIT = 20
# Number of nodes of a cluster.
NODES = 3
# The first port of the range in which free ports are searched, and the size of the range.
PORT_FIRST, PORTS = 10_000, 22_000


def until(condition, seconds, what):
    """Waits until the condition is true, and returns its value; fails after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, "waited %s s without success: %s" % (seconds, what)
        time.sleep(0.01)


class Server:
    """One node with its own data folder. Later starts use the ports of the first one."""

    def __init__(self, program, folder, flags=()):
        self.program = program
        self.folder = folder
        self.flags = list(flags)
        self.http = "127.0.0.1:0"
        self.address = "127.0.0.1:0"
        self.process = None
        self.process_count = 0

    def start(self):
        """Starts the server and waits until it takes writes."""
        self.launch()
        self.wait()

    def launch(self):
        """Starts the server and waits until its ports are known."""
        deadline = time.monotonic() + LIMIT
        while not self._try_to_start():
            # The port of the earlier start may be in use for a moment: a client that connects to it may have
            # it as its own port.
            may_pass = self.process_count > 1 and time.monotonic() < deadline
            assert may_pass, "the server does not start: " + self._said("out", "err")[-2000:]
            time.sleep(0.1)

    def wait(self):
        """Waits until it takes writes."""
        until(self._is_ready, LIMIT, "/readyz")

    def kill(self):
        """Kills the server with signal 9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self, seconds):
        """Suspends the server for that many seconds, with its connections open."""
        self.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.signal(signal.SIGCONT)

    def signal(self, number):
        """Sends the server a signal."""
        self.process.send_signal(number)

    def stop(self):
        """Stops the server in good order."""
        self.signal(signal.SIGTERM)
        self.ended()

    def ended(self):
        """Waits until the process ends; its exit code must be 0."""
        code = self.process.wait(LIMIT)
        assert code == 0, "the server stopped with code %d: %s" % (code, self._said("err"))

    def wipe(self):
        """Removes the data of a stopped server."""
        shutil.rmtree(os.path.join(self.folder, "data"))

    def finish(self):
        """The check at the end of every case: the server runs, its books match its history, and it stops in good order."""
        self.verify()
        self.stop()

    def verify(self):
        """Checks that the server runs and that its books match its history."""
        assert self.process.poll() is None, "the server has ended: " + self._said("err")
        verified = subprocess.run(
            [self.program, "verify", "--all", "--server", "http://" + self.http],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
        )
        assert verified.returncode == 0, verified.stdout.decode()

    @property
    def first_address(self):
        """The address of the listener for clients."""
        return self.address

    def rest(self, method, path, body=None):
        """Sends a request over REST; returns the status and the JSON of the answer."""
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
        command += ["--listen", self.http, "--tigerbeetle-listen", self.address] + self.flags
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
        tigerbeetle_found = re.search(r"(?i)tigerbeetle.*?(127\.0\.0\.1:\d+)\b.*\n", said)
        if not (http_found and tigerbeetle_found):
            return None
        self.http, self.address = http_found.group(1), tigerbeetle_found.group(1)
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


class Cluster:
    """Three nodes that a case starts, kills and stops together. Its clients have the addresses of all."""

    def __init__(self, program, folder, engine):
        addresses = free_addresses(NODES)
        members = ",".join("%d=%s" % member for member in enumerate(addresses, 1))
        os.environ["BEZANT_TOKEN"] = "a token for these cases alone"
        self.nodes = []
        for number, address in enumerate(addresses, 1):
            flags = ["--node", str(number), "--nodes", members, "--peer-listen", address, "--engine", engine]
            node_folder = os.path.join(folder, str(number))
            os.mkdir(node_folder)
            self.nodes.append(Server(program, node_folder, flags))

    @property
    def address(self):
        """The addresses of all nodes' listeners for clients."""
        return ",".join(node.address for node in self.nodes)

    @property
    def first_address(self):
        """The address of the first node's listener for clients."""
        return self.nodes[0].address

    def start(self):
        """Starts all nodes, and waits until they take writes."""
        self._each(Server.launch)
        self._each(Server.wait)

    def kill(self):
        """Kills all nodes with signal 9."""
        self._each(Server.kill)

    def freeze(self, seconds):
        """Suspends all nodes for that many seconds, with their connections open."""
        self._each(lambda node: node.signal(signal.SIGSTOP))
        time.sleep(seconds)
        self._each(lambda node: node.signal(signal.SIGCONT))

    def stop(self):
        """Stops all nodes in good order."""
        self._each(lambda node: node.signal(signal.SIGTERM))
        self._each(Server.ended)

    def wipe(self):
        """Removes the data of all nodes, which are stopped."""
        self._each(Server.wipe)

    def finish(self):
        """The check at the end of every case, on each node."""
        self._each(Server.verify)
        self.stop()

    def rest(self, method, path, body=None):
        """Sends a request to the first node over REST; returns the status and the JSON of the answer."""
        return self.nodes[0].rest(method, path, body)

    def _each(self, act):
        for node in self.nodes:
            act(node)


def free_addresses(count):
    """Addresses without a listener, below the range of ephemeral ports."""
    found = []
    for step in range(PORTS):
        address = ("127.0.0.1", PORT_FIRST + (os.getpid() * 20 + step) % PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(address)
            except OSError:
                continue
        found.append("%s:%d" % address)
        if len(found) == count:
            return found
    raise AssertionError("there are no free ports")
