// A server of a case: started, killed, started again on the same folder and ports, and asked over REST.
'use strict';

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

// Seconds that a server has to start or to stop.
const LIMIT = 20;

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
    constructor(program, folder) {
        this.program = program;
        this.folder = folder;
        this.http = '127.0.0.1:0';
        this.address = '127.0.0.1:0';
        this.process = null;
        this.processCount = 0;
        // Clients that are closed when the case is over.
        this.clients = [];
    }

    // Starts it and waits until it takes writes.
    async start() {
        const deadline = performance.now() + LIMIT * 1000;
        while (!(await this.#tryToStart())) {
            // A port of before may be taken for a moment: by a client that dials it, from that very port.
            const mayPass = this.processCount > 1 && performance.now() < deadline;
            assert.ok(mayPass, `the server does not start: ${this.#said('out')}${this.#said('err').slice(-2000)}`);
            await sleep(100);
        }
        await until(() => this.#isReady(), LIMIT, '/readyz');
    }

    // Ends it with signal 9, wherever it stands.
    async kill() {
        this.process.kill('SIGKILL');
        await this.ended;
    }

    // Stands still for so long, with its connections open.
    async freeze(milliseconds) {
        this.process.kill('SIGSTOP');
        await sleep(milliseconds);
        this.process.kill('SIGCONT');
    }

    // Stops it in good order.
    async stop() {
        this.process.kill('SIGTERM');
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
        assert.strictEqual(this.process.exitCode, null, `the server has ended: ${this.#said('err')}`);
        const verify = ['verify', '--all', '--server', `http://${this.http}`];
        const verified = spawnSync(this.program, verify, { encoding: 'utf8', timeout: LIMIT * 1000 });
        assert.strictEqual(verified.status, 0, verified.stdout + verified.stderr);
        await this.stop();
    }

    // The status and the JSON that REST answers.
    async rest(method, route, body) {
        const { status, text } = await this.#request(method, route, body);
        return [status, JSON.parse(text)];
    }

    async #tryToStart() {
        const flags = ['--data-dir', path.join(this.folder, 'data')];
        flags.push('--listen', this.http, '--tigerbeetle-listen', this.address);
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

module.exports = { Server, sleep, until };
