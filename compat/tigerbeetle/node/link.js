// A faulty connection to the server: it is cut at an arbitrary byte, and the client connects again.
'use strict';

const net = require('node:net');

// Forwards connections to an address. Cuts each after a random number of bytes, in both directions at once.
class Link {
    constructor(to, bytesMax) {
        this.to = to;
        this.bytesMax = bytesMax;
        this.cuts = 0;
    }

    async open() {
        this.listener = net.createServer((client) => this.#accept(client));
        await new Promise((resolve) => this.listener.listen(0, '127.0.0.1', resolve));
        this.address = `127.0.0.1:${this.listener.address().port}`;
    }

    // Cuts no further connection.
    heal() {
        this.bytesMax = Number.MAX_SAFE_INTEGER;
    }

    #accept(client) {
        const [host, port] = this.to.split(':');
        const server = net.connect(Number(port), host);
        // Bytes that may still pass, in both directions together.
        let budget = Math.floor(Math.random() * this.bytesMax);
        const end = () => {
            client.destroy();
            server.destroy();
        };
        const pass = (source, target) => {
            source.on('data', (data) => {
                if (budget <= 0) return;
                target.write(data.subarray(0, Math.min(data.length, budget)));
                budget -= data.length;
                if (budget > 0) return;
                this.cuts += 1;
                // Bytes that were written before are still sent.
                target.end(end);
            });
            source.on('error', end);
            source.on('close', end);
        };
        pass(client, server);
        pass(server, client);
    }
}

module.exports = { Link };
