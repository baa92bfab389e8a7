// The server of a case: starts it, kills it, starts it again on the same folder and ports, and sends requests
// over REST. One node, or three.
'use strict';

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');

// Time limit of a start or a stop, in seconds.
const LIMIT = 20;
// Number of nodes of a cluster.
const NODES = 3;
// The first port of the range in which free ports are searched, and the size of the range.
const [PORT_FIRST, PORTS] = [10_000, 22_000];

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Waits until the condition is true, and returns its value; fails after that many seconds.
async function until(condition, seconds, what) {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
        const answer = await condition();
        if (answer) return answer;
        assert.ok(performance.now() < deadline, `waited ${seconds} s without success: ${what}`);
        await sleep(10);
    }
}

// One node with its own data folder. Later starts use the ports of the first one.
class Server {
    constructor(program, folder, flags = []) {
        this.program = program;
        this.folder = folder;
        this.flags = flags;
        this.http = '127.0.0.1:0';
        this.address = '127.0.0.1:0';
        this.process = null;
        this.processCount = 0;
        // Clients to close when the case has ended.
        this.clients = [];
    }

    // The address of the listener for clients.
    get firstAddress() {
        return this.address;
    }

    // Starts the server and waits until it takes writes.
    async start() {
        await this.launch();
        await this.wait();
    }

    // Starts the server and waits until its ports are known.
    async launch() {
        const deadline = performance.now() + LIMIT * 1000;
        while (!(await this.#tryToStart())) {
            // The port of the earlier start may be in use for a moment: a client that connects to it may have
            // it as its own port.
            const mayPass = this.processCount > 1 && performance.now() < deadline;
            assert.ok(mayPass, `the server does not start: ${this.#said('out')}${this.#said('err').slice(-2000)}`);
            await sleep(100);
        }
    }

    // Waits until it takes writes.
    async wait() {
        await until(() => this.#isReady(), LIMIT, '/readyz');
    }

    // Kills the server with signal 9.
    async kill() {
        this.process.kill('SIGKILL');
        await this.ended;
    }

    // Suspends the server for that many seconds, with its connections open.
    async freeze(milliseconds) {
        this.signal('SIGSTOP');
        await sleep(milliseconds);
        this.signal('SIGCONT');
    }

    // Sends the server a signal.
    signal(name) {
        this.process.kill(name);
    }

    // Stops the server in good order.
    async stop() {
        this.signal('SIGTERM');
        await this.stopped();
    }

    // Waits until the process ends; its exit code must be 0.
    async stopped() {
        const late = sleep(LIMIT * 1000).then(() => `not after ${LIMIT} s`);
        const code = await Promise.race([this.ended, late]);
        assert.strictEqual(code, 0, `the server stopped with ${code}: ${this.#said('err')}`);
    }

    // Removes the data of a stopped server.
    wipe() {
        fs.rmSync(path.join(this.folder, 'data'), { recursive: true });
    }

    // The check at the end of every case: the server runs, its books match its history, and it stops in good
    // order.
    async finish() {
        this.clients.forEach((client) => client.destroy());
        this.verify();
        await this.stop();
    }

    // Checks that the server runs and that its books match its history.
    verify() {
        assert.strictEqual(this.process.exitCode, null, `the server has ended: ${this.#said('err')}`);
        const verify = ['verify', '--all', '--server', `http://${this.http}`];
        const verified = spawnSync(this.program, verify, { encoding: 'utf8', timeout: LIMIT * 1000 });
        assert.strictEqual(verified.status, 0, verified.stdout + verified.stderr);
    }

    // Sends a request over REST; returns the status and the JSON of the answer.
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
        const [ofHttp, ofTigerbeetle] = found.map((pattern) => pattern.exec(said));
        if (!ofHttp || !ofTigerbeetle) return false;
        this.http = ofHttp[1];
        this.address = ofTigerbeetle[1];
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

// Three nodes that a case starts, kills and stops together. Its clients have the addresses of all.
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
        // Clients to close when the case has ended.
        this.clients = [];
    }

    // Makes the nodes, with data below this folder, at free addresses.
    static async at(program, folder, engine) {
        return new Cluster(program, folder, await freeAddresses(NODES), engine);
    }

    // The addresses of all nodes' listeners for clients.
    get address() {
        return this.nodes.map((node) => node.address).join(',');
    }

    // The address of the first node's listener for clients.
    get firstAddress() {
        return this.nodes[0].address;
    }

    // Starts all nodes, and waits until they take writes.
    async start() {
        await this.#each((node) => node.launch());
        await this.#each((node) => node.wait());
    }

    // Kills all nodes with signal 9.
    async kill() {
        await this.#each((node) => node.kill());
    }

    // Suspends all nodes for that many seconds, with their connections open.
    async freeze(milliseconds) {
        await this.#each((node) => node.signal('SIGSTOP'));
        await sleep(milliseconds);
        await this.#each((node) => node.signal('SIGCONT'));
    }

    // Stops all nodes in good order.
    async stop() {
        await this.#each((node) => node.signal('SIGTERM'));
        await this.#each((node) => node.stopped());
    }

    // Removes the data of all nodes, which are stopped.
    wipe() {
        this.nodes.forEach((node) => node.wipe());
    }

    // The check at the end of every case, on each node.
    async finish() {
        this.clients.forEach((client) => client.destroy());
        await this.#each((node) => node.verify());
        await this.stop();
    }

    // Sends a request to the first node over REST; returns the status and the JSON of the answer.
    rest(method, route, body) {
        return this.nodes[0].rest(method, route, body);
    }

    async #each(act) {
        for (const node of this.nodes) await act(node);
    }
}

// Addresses without a listener, below the range of ephemeral ports.
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
