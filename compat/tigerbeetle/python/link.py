"""A faulty connection to the server: it is cut at an arbitrary byte, and the client connects again."""

import random
import socket
import threading


class Link:
    """Forwards connections to an address. Cuts each after a random number of bytes, in both directions at once."""

    def __init__(self, to, bytes_max, seed):
        self.to = to
        self.bytes_max = bytes_max
        self.random = random.Random(seed)
        self.cuts = 0
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self):
        """Cuts no further connection."""
        self.bytes_max = None

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            host, port = self.to.split(":")
            server = socket.create_connection((host, int(port)))
            # Bytes that may still pass, in both directions together.
            budget = [self.random.randrange(self.bytes_max) if self.bytes_max else 1 << 62]
            for source, target in [(client, server), (server, client)]:
                threading.Thread(target=self._pass, args=(source, target, budget), daemon=True).start()

    def _pass(self, source, target, budget):
        try:
            while budget[0] > 0:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data[: max(0, budget[0])])
                budget[0] -= len(data)
                if budget[0] <= 0:
                    self.cuts += 1
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
