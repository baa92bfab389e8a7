// Pages of other origins try to pay, rename, reserve and change the cluster, in a real Chromium, against a
// real server on loopback.
//
// A server in this file serves the attacker's pages, under names that resolve to this machine. The pages
// return how many requests they sent, the browser's network events show the server's answers, and the
// server's metrics show that the requests arrived. Afterwards no balance has changed. Then the server's own
// page pays, to show that the server does not refuse everything.
'use strict';

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const { chromium } = require('playwright-core');

// Time limit of a single step, in seconds.
const LIMIT = 30;
const JSON_TYPE = { 'content-type': 'application/json' };
const PAYMENT = { debit_account: 'alice', credit_account: 'bob', amount: '100', asset: 'EUR', code: 1 };

async function until(condition, what) {
    const deadline = performance.now() + LIMIT * 1000;
    for (;;) {
        const answer = await condition();
        if (answer) return answer;
        assert.ok(performance.now() < deadline, `waited ${LIMIT} s without success: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

// Starts a server with its own folder; returns it with its port.
async function startServer(program, folder) {
    const child = spawn(program, ['start', '--data-dir', path.join(folder, 'data'), '--listen', '127.0.0.1:0'], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, BEZANT_LISTEN: undefined, BEZANT_ALLOWED_HOSTS: undefined, BEZANT_CONFIG: undefined },
    });
    let output = '';
    child.stdout.on('data', (data) => (output += data));
    const find = () => {
        assert.equal(child.exitCode, null, `the server ended: ${output}`);
        return output.match(/listens on http:\/\/127\.0\.0\.1:(\d+)/);
    };
    const port = Number((await until(find, 'the address of the server'))[1]);
    const url = `http://127.0.0.1:${port}`;
    const isReady = async () => (await fetch(`${url}/readyz`).catch(() => null))?.ok;
    await until(isReady, 'the server is ready');
    return { child, port, url };
}

async function send(server, method, target, body) {
    const answer = await fetch(server.url + target, { method, headers: JSON_TYPE, body: JSON.stringify(body) });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${target}: ${answer.status} ${text}`);
    return JSON.parse(text);
}

// The state that a page could have changed.
async function state(server) {
    const get = async (target) => (await fetch(server.url + target)).json();
    const events = await get('/v1/events?from=start');
    const account = async (name) => {
        const { balances, bounds, name: own, transfers } = await get(`/v1/accounts/${name}`);
        return { balances, bounds, own, transfers };
    };
    const accounts = (await get('/v1/accounts')).items.length;
    return { alice: await account('alice'), bob: await account('bob'), accounts, events: events.next };
}

// Requests that the server has refused so far with one of these codes, from its metrics.
async function refusals(server, codes) {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    let sum = 0;
    for (const line of metrics.split('\n')) {
        if (codes.some((code) => line.includes(`"${code}"`))) sum += Number(line.split(' ').pop());
    }
    return sum;
}

// Serves an empty page under every name that resolves to this machine.
async function startAttacker() {
    const server = http.createServer((_, response) => {
        response.setHeader('content-type', 'text/html');
        response.end('<!doctype html><title>attacker</title><body></body>');
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { port: server.address().port, close: () => server.close() };
}

// Simulates DNS rebinding. On the server's port of another loopback address it serves the attacker's page;
// once it is rebound it forwards every byte to the server, as if the name now resolved to the server.
async function startRebinder(port) {
    const html = '<!doctype html><title>attacker</title>';
    const page = `HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: ${html.length}\r\nconnection: close\r\n\r\n${html}`;
    const rebinder = { isRebound: false };
    const server = net.createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', (first) => {
            if (!rebinder.isRebound) return socket.end(page);
            const target = net.connect(port, '127.0.0.1');
            target.on('error', () => socket.destroy());
            target.write(first);
            return socket.pipe(target).pipe(socket);
        });
    });
    await new Promise((resolve, reject) => server.on('error', reject).listen(port, '127.0.0.2', resolve));
    rebinder.close = () => server.close();
    return rebinder;
}

// Runs inside the attacker's page: sends every kind of request that a page can send without a CORS preflight,
// and returns how many it sent.
async function attack({ target, payment }) {
    const text = JSON.stringify(payment);
    const rename = '{"name":"mallory"}';
    let sent = 0;
    const simple = async (path, options) => {
        sent += 1;
        // Without CORS the answer cannot be read, and a rejection has no meaning: the request was sent in any
        // case.
        await fetch(target + path, { mode: 'no-cors', credentials: 'include', ...options }).catch(() => {});
    };
    await simple('/v1/transfers', { method: 'POST', body: new Blob([text]) });
    await simple('/v1/transfers', { method: 'POST', body: text });
    await simple('/v1/transfers', { method: 'POST', body: new Uint8Array(new TextEncoder().encode(text)) });
    await simple('/v1/transfers/9/post', { method: 'POST' });
    await simple('/v1/transfers/9/void', { method: 'POST' });
    await simple('/v1/accounts', { method: 'POST', body: new Blob(['{"ledger":978,"code":1}']) });
    await simple('/v1/cluster', { method: 'POST', body: new Blob(['{"change":"remove","node":1}']) });
    await simple('/bezant.v1.Ledger/Submit', { method: 'POST', body: new Blob(['\0\0\0\0\0']) });
    await simple('/v1/accounts/alice', {});
    for (const body of [new Blob([text]), text, new URLSearchParams({ [text]: '' })]) {
        if (!navigator.sendBeacon(`${target}/v1/transfers`, body)) throw new Error('the beacon was not sent');
        sent += 1;
    }
    // With a content type of JSON, or another method, the browser sends a preflight request first.
    const asked = [
        ['/v1/transfers', { method: 'POST', headers: { 'content-type': 'application/json' }, body: text }],
        ['/v1/accounts/alice/name', { method: 'PUT', headers: { 'content-type': 'application/json' }, body: rename }],
        ['/bezant.v1.Ledger/Submit', { method: 'POST', headers: { 'content-type': 'application/grpc' }, body: 'x' }],
        ['/v1/accounts/alice', {}],
    ];
    for (const [path, options] of asked) {
        sent += 1;
        const read = await fetch(target + path, options).then((answer) => answer.status, () => null);
        if (read !== null) throw new Error(`${path} was answered to a page of another origin: ${read}`);
    }
    // A form can also send JSON, when the name of its only field is a part of the JSON.
    for (const [path, enctype] of [
        ['/v1/transfers', 'text/plain'],
        ['/v1/transfers/9/post', 'application/x-www-form-urlencoded'],
        ['/v1/transfers/9/void', 'multipart/form-data'],
    ]) {
        const frame = document.createElement('iframe');
        frame.name = `frame${sent}`;
        document.body.append(frame);
        const form = document.createElement('form');
        Object.assign(form, { method: 'POST', action: target + path, enctype, target: frame.name });
        const field = document.createElement('input');
        Object.assign(field, { name: `${text.slice(0, -1)},"user_data_64":"`, value: '7"}' });
        form.append(field);
        document.body.append(form);
        const loaded = new Promise((resolve) => frame.addEventListener('load', resolve, { once: true }));
        form.submit();
        sent += 1;
        await loaded;
    }
    return sent;
}

// Runs inside a page whose name now resolves to the server, so the browser treats it as the server's own
// page.
async function askAsOwn({ payment }) {
    const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(payment) };
    const write = await fetch('/v1/transfers', options);
    const read = await fetch('/v1/accounts/alice');
    return [write.status, read.status];
}

class Suite {
    constructor(server, attacker, context) {
        Object.assign(this, { server, attacker, context, passed: 0, failed: 0 });
    }

    async check(name, work) {
        const page = await this.context.newPage();
        page.setDefaultTimeout(LIMIT * 1000);
        // The server's answers, including those that the page cannot read.
        const answers = [];
        page.on('response', (response) => {
            if (new URL(response.url()).port === String(this.server.port)) answers.push(response.status());
        });
        try {
            await work(page, answers);
            this.passed += 1;
            console.log(`passed: ${name}`);
        } catch (error) {
            this.failed += 1;
            console.log(`FAILED: ${name}\n${error.stack}`);
        }
        await page.close();
    }

    // A page at `origin` sends everything to `target`; all requests arrive, and none has an effect.
    async attackFrom(origin, target) {
        await this.check(`a page of ${origin} does not pay at ${target}`, async (page, answers) => {
            const codes = ['unsupported_media_type', 'forbidden_origin'];
            const before = await state(this.server);
            const refusedBefore = await refusals(this.server, codes);
            await page.goto(origin);
            assert.equal(await page.title(), 'attacker');
            const sent = await page.evaluate(attack, { target, payment: PAYMENT });
            assert.ok(sent >= 19, `the page sent ${sent}`);
            const arrived = async () => (await refusals(this.server, codes)) - refusedBefore >= sent;
            await until(arrived, `${sent} requests arrive, and each is refused`);
            assert.ok(answers.length > 0 && answers.every((status) => [403, 415].includes(status)), `${answers}`);
            assert.deepEqual(await state(this.server), before);
        });
    }

    async rebinding() {
        const name = `http://rebound.example:${this.server.port}`;
        await this.check(`a name that is rebound to the server (${name}) neither reads nor pays`, async (page, answers) => {
            const before = await state(this.server);
            const refusedBefore = await refusals(this.server, ['misdirected_request']);
            const rebinder = await startRebinder(this.server.port);
            try {
                await page.goto(`${name}/`);
                assert.equal(await page.title(), 'attacker');
                rebinder.isRebound = true;
                const statuses = await page.evaluate(askAsOwn, { payment: PAYMENT });
                assert.deepEqual(statuses, [421, 421]);
            } finally {
                rebinder.close();
            }
            assert.ok(answers.includes(421));
            assert.ok((await refusals(this.server, ['misdirected_request'])) - refusedBefore >= 2);
            assert.deepEqual(await state(this.server), before);
        });
    }

    async ownPage() {
        for (const host of ['127.0.0.1', 'localhost']) {
            await this.check(`the server's own page at ${host} reads and pays`, async (page) => {
                const before = await state(this.server);
                const answer = await page.goto(`http://${host}:${this.server.port}/docs`);
                assert.equal(answer.status(), 200);
                assert.deepEqual(await page.evaluate(askAsOwn, { payment: PAYMENT }), [201, 200]);
                const after = await state(this.server);
                const paid = (it) => BigInt(it.bob.balances.credits_posted);
                assert.equal(paid(after) - paid(before), 100n);
            });
        }
    }

    async tooLarge() {
        await this.check('a page that sends 50 MiB receives status 413', async (page) => {
            await page.goto(`${this.server.url}/docs`);
            const status = await page.evaluate(async () => {
                const headers = { 'content-type': 'application/json' };
                const body = new Blob([new Uint8Array(50 << 20)]);
                return (await fetch('/v1/transfers', { method: 'POST', headers, body })).status;
            });
            assert.equal(status, 413);
        });
    }

    async link() {
        await this.check('a link from another site is followed', async (page, answers) => {
            await page.goto(`http://evil.example:${this.attacker.port}/`);
            await Promise.all([
                page.waitForURL(`${this.server.url}/docs`),
                page.evaluate((url) => location.assign(url), `${this.server.url}/docs`),
            ]);
            assert.equal(answers[0], 200);
        });
    }
}

async function main([program, browser]) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bezant-browser-'));
    let [server, attacker, context] = [];
    try {
        server = await startServer(program, folder);
        attacker = await startAttacker();
        await send(server, 'POST', '/v1/accounts', ['alice', 'bob'].map((name) => ({ name, asset: 'EUR', code: 1 })));
        await send(server, 'POST', '/v1/transfers', { ...PAYMENT, id: '9', flags: ['pending'] });
        context = await chromium.launchPersistentContext(path.join(folder, 'profile'), {
            executablePath: browser,
            headless: true,
            args: [
                '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
                '--disable-component-update', '--disable-sync', '--no-proxy-server',
                '--host-resolver-rules=MAP rebound.example 127.0.0.2, MAP *.example 127.0.0.1',
            ],
        });
        const suite = new Suite(server, attacker, context);
        for (const target of [server.url, `http://localhost:${server.port}`]) {
            await suite.attackFrom(`http://evil.example:${attacker.port}/`, target);
            await suite.attackFrom(`http://localhost:${attacker.port}/`, target);
        }
        await suite.rebinding();
        await suite.ownPage();
        await suite.tooLarge();
        await suite.link();
        console.log(`${suite.passed} passed, ${suite.failed} failed`);
        process.exitCode = suite.failed === 0 ? 0 : 1;
    } finally {
        await context?.close();
        attacker?.close();
        if (server) {
            const ended = new Promise((resolve) => server.child.on('exit', resolve));
            server.child.kill('SIGTERM');
            await ended;
        }
        fs.rmSync(folder, { recursive: true, force: true });
    }
}

main(process.argv.slice(2));
