// A server of a case: started, killed, started again on the same folder and ports, and asked over REST. One node, or three.
'use strict';

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');

// Seconds that a server has to start or to stop.
const LIMIT = 20;
// Of a cluster.
const NODES = 3;
// Where free ports are looked for.
const [PORT_FIRST, PORTS] = [10_000, 22_000];

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Waits until the condition holds, and gives what it answered; fails after that many seconds.
async function until(condition, seconds, what) {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
        const answer = await condition();
        if (answer) return answer;
        assert.ok(performance.now() < deadline, `waited ${seconds} s in vain: ${what}`);
        await sleep(10);
    }
}

// One node with a data folder of its own. Its ports are those that the first start was given.
class Server {
    constructor(program, folder, flags = []) {
        this.program = program;
        this.folder = folder;
        this.flags = flags;
        this.http = '127.0.0.1:0';
        this.address = '127.0.0.1:0';
        this.process = null;
        this.processCount = 0;
        // Clients that are closed when the case is over.
        this.clients = [];
    }

    // Where a client finds it.
    get door() {
        return this.address;
    }

    // Starts it and waits until it takes writes.
    async start() {
        await this.launch();
        await this.wait();
    }

    // Starts it and waits until its ports are known.
    async launch() {
        const deadline = performance.now() + LIMIT * 1000;
        while (!(await this.#tryToStart())) {
            // A port of before may be taken for a moment: by a client that dials it, from that very port.
            const mayPass = this.processCount > 1 && performance.now() < deadline;
            assert.ok(mayPass, `the server does not start: ${this.#said('out')}${this.#said('err').slice(-2000)}`);
            await sleep(100);
        }
    }

    // Waits until it takes writes.
    async wait() {
        await until(() => this.#isReady(), LIMIT, '/readyz');
    }

    // Ends it with signal 9, wherever it stands.
    async kill() {
        this.process.kill('SIGKILL');
        await this.ended;
    }

    // Stands still for so long, with its connections open.
    async freeze(milliseconds) {
        this.signal('SIGSTOP');
        await sleep(milliseconds);
        this.signal('SIGCONT');
    }

    // Sends it a signal.
    signal(name) {
        this.process.kill(name);
    }

    // Stops it in good order.
    async stop() {
        this.signal('SIGTERM');
        await this.stopped();
    }

    // Waits for its end, which must be in good order.
    async stopped() {
        const late = sleep(LIMIT * 1000).then(() => `not after ${LIMIT} s`);
        const code = await Promise.race([this.ended, late]);
        assert.strictEqual(code, 0, `the server stopped with ${code}: ${this.#said('err')}`);
    }

    // Takes its data away, while it is down.
    wipe() {
        fs.rmSync(path.join(this.folder, 'data'), { recursive: true });
    }

    // Held at the end of every case: it runs, its books agree with its history, and it stops in good order.
    async finish() {
        this.clients.forEach((client) => client.destroy());
        this.verify();
        await this.stop();
    }

    // It runs, and its books agree with its history.
    verify() {
        assert.strictEqual(this.process.exitCode, null, `the server has ended: ${this.#said('err')}`);
        const verify = ['verify', '--all', '--server', `http://${this.http}`];
        const verified = spawnSync(this.program, verify, { encoding: 'utf8', timeout: LIMIT * 1000 });
        assert.strictEqual(verified.status, 0, verified.stdout + verified.stderr);
    }

    // The status and the JSON that REST answers.
    async rest(method, route, body) {
        const { status, text } = await this.#request(method, route, body);
        return [status, JSON.parse(text)];
    }

    async #tryToStart() {
        const flags = ['--data-dir', path.join(this.folder, 'data')];
        flags.push('--listen', this.http, '--tigerbeetle-listen', this.address, ...this.flags);
        const out = fs.openSync(path.join(this.folder, 'out'), 'w');
        const err = fs.openSync(path.join(this.folder, 'err'), 'a');
        const child = spawn(this.program, ['start', ...flags], { stdio: ['ignore', out, err] });
        fs.closeSync(out);
        fs.closeSync(err);
        this.process = child;
        this.processCount += 1;
        this.ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
        const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
        await until(() => this.#findAddresses() || hasEnded(), LIMIT, 'addresses');
        return !hasEnded();
    }

    #findAddresses() {
        const said = this.#said('out');
        const found = [/listens on http:\/\/(127\.0\.0\.1:\d+)\n/, /tigerbeetle.*?(127\.0\.0\.1:\d+)\b.*\n/i];
        const [ofHttp, ofDoor] = found.map((pattern) => pattern.exec(said));
        if (!ofHttp || !ofDoor) return false;
        this.http = ofHttp[1];
        this.address = ofDoor[1];
        return true;
    }

    async #isReady() {
        try {
            return (await this.#request('GET', '/readyz')).status === 200;
        } catch {
            return false;
        }
    }

    #request(method, route, body) {
        return new Promise((resolve, reject) => {
            const headers = { 'content-type': 'application/json' };
            const options = { method, headers, agent: false, timeout: LIMIT * 1000 };
            const request = http.request(`http://${this.http}${route}`, options, (answer) => {
                let text = '';
                answer.setEncoding('utf8');
                answer.on('data', (part) => (text += part));
                answer.on('end', () => resolve({ status: answer.statusCode, text }));
                answer.on('error', reject);
            });
            request.on('timeout', () => request.destroy(new Error(`no answer to ${route}`)));
            request.on('error', reject);
            request.end(body === undefined ? undefined : JSON.stringify(body));
        });
    }

    #said(name) {
        return fs.readFileSync(path.join(this.folder, name), 'utf8');
    }
}

// Three nodes with one life: a case starts, kills and stops them together. Its clients know the doors of all.
class Cluster {
    constructor(program, folder, addresses, engine) {
        const members = addresses.map((address, at) => `${at + 1}=${address}`).join(',');
        process.env.BEZANT_TOKEN = 'a token for these cases alone';
        this.nodes = addresses.map((address, at) => {
            const nodeFolder = path.join(folder, `${at + 1}`);
            fs.mkdirSync(nodeFolder);
            const flags = ['--node', `${at + 1}`, '--nodes', members, '--peer-listen', address, '--engine', engine];
            return new Server(program, nodeFolder, flags);
        });
        // Clients that are closed when the case is over.
        this.clients = [];
    }

    // Nodes below this folder, at free addresses.
    static async at(program, folder, engine) {
        return new Cluster(program, folder, await freeAddresses(NODES), engine);
    }

    // The doors of all nodes.
    get address() {
        return this.nodes.map((node) => node.address).join(',');
    }

    // The one of the first.
    get door() {
        return this.nodes[0].address;
    }

    // Starts all, and waits until they take writes.
    async start() {
        await this.#each((node) => node.launch());
        await this.#each((node) => node.wait());
    }

    // Ends all with signal 9.
    async kill() {
        await this.#each((node) => node.kill());
    }

    // All stand still for so long, with their connections open.
    async freeze(milliseconds) {
        await this.#each((node) => node.signal('SIGSTOP'));
        await sleep(milliseconds);
        await this.#each((node) => node.signal('SIGCONT'));
    }

    // Stops all in good order.
    async stop() {
        await this.#each((node) => node.signal('SIGTERM'));
        await this.#each((node) => node.stopped());
    }

    // Takes the data of all away, while they are down.
    wipe() {
        this.nodes.forEach((node) => node.wipe());
    }

    // Held at the end of every case, as of one node; each is asked.
    async finish() {
        this.clients.forEach((client) => client.destroy());
        await this.#each((node) => node.verify());
        await this.stop();
    }

    // The status and the JSON that the first answers.
    rest(method, route, body) {
        return this.nodes[0].rest(method, route, body);
    }

    async #each(act) {
        for (const node of this.nodes) await act(node);
    }
}

// Addresses that nobody listens on, below the ports that the system lends to connections.
async function freeAddresses(count) {
    const found = [];
    for (let step = 0; step < PORTS && found.length < count; step += 1) {
        const port = PORT_FIRST + ((process.pid * 20 + step) % PORTS);
        const probe = net.createServer();
        const isFree = await new Promise((resolve) => {
            probe.once('error', () => resolve(false));
            probe.listen(port, '127.0.0.1', () => resolve(true));
        });
        if (!isFree) continue;
        await new Promise((resolve) => probe.close(resolve));
        found.push(`127.0.0.1:${port}`);
    }
    assert.strictEqual(found.length, count, 'there are no free ports');
    return found;
}

module.exports = { Cluster, Server, sleep, until };
