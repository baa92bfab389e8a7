// A way to the server that breaks: what goes through is cut off at any byte, and the client dials again.
'use strict';

const net = require('node:net');

// Passes connections on to an address. Cuts each after some bytes, in both directions at once.
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

    // Cuts no connection that is made from here on.
    heal() {
        this.bytesMax = Number.MAX_SAFE_INTEGER;
    }

    #accept(client) {
        const [host, port] = this.to.split(':');
        const server = net.connect(Number(port), host);
        // Bytes that may still pass, both ways together.
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
                // What was written before still leaves.
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
