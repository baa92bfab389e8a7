// The server is killed and starts again on the same folder and ports; or it is suspended; or the connection
// breaks.
//
// The client continues: it sends unanswered requests again, and no transfer is made twice.
'use strict';

const assert = require('node:assert');
const { Bank, account, checkResults, expect, pending, post, range, tb, transfer, transferNames } = require('../ledger');
const { Link } = require('../link');
const { sleep, until } = require('../server');

// Transfers per call, by lane: most calls are small, one lane sends large batches.
const SIZES = [1, 1, 1, 1, 400];

// Streams of calls with `times` disturbances; each transfer must have been created by its call, once.
async function disturbed(way, disturb, times, beforeCheck = () => {}) {
    const bank = new Bank(way);
    const { client } = bank;
    await bank.open([1, 2, 3, 4, 5, 10]);
    let isOver = false;
    const lanes = SIZES.map(() => []);
    const stream = async (lane) => {
        const size = SIZES[lane];
        for (let number = 0; !isOver; number += 1) {
            const begin = (BigInt(lane + 1) << 64n) | BigInt(number * size + 1);
            const events = range(size).map((at) => transfer(begin + BigInt(at), 1 + lane, 10, 1));
            lanes[lane].push([events, await client.createTransfers(events)]);
            // Batches are large, so a few are enough.
            if (size > 1) await sleep(10);
        }
    };
    const streams = Promise.all(SIZES.map((_, lane) => stream(lane)));
    for (let disturbances = 0; ; disturbances += 1) {
        const before = lanes.map((calls) => calls.length);
        const goesOn = () => lanes.every((calls, lane) => calls.length >= before[lane] + 5);
        await until(goesOn, 20, 'every stream goes on');
        if (disturbances === times) break;
        await disturb();
    }
    isOver = true;
    await streams;

    beforeCheck();
    let sent = 0;
    for (const [lane, calls] of lanes.entries()) {
        for (const [events, results] of calls) {
            created(events, results);
        }
        const events = calls.flatMap(([event]) => event);
        const times = calls.flatMap(([, results]) => results.map((result) => result.timestamp));
        assert.ok(times.every((time, at) => at === 0 || time > times[at - 1]), 'timestamps grow from call to call');
        for (let begin = 0; begin < events.length; begin += 8000) {
            const part = events.slice(begin, begin + 8000);
            const found = await client.lookupTransfers(part.map((event) => event.id));
            expect(
                found,
                part.map((event, at) => ({ ...event, timestamp: times[begin + at] })),
            );
        }
        expect(await bank.balances(1 + lane), [0n, BigInt(events.length), 0n, 0n]);
        sent += events.length;
    }
    expect(await bank.balances(10), [0n, 0n, 0n, BigInt(sent)]);
    console.log(`${sent} transfers in ${lanes.reduce((sum, calls) => sum + calls.length, 0)} calls`);
}

function created(events, results) {
    const names = transferNames(results);
    expect(
        names,
        events.map(() => 'created'),
    );
    checkResults(events, results, names, tb.TransferFlags.imported);
}

exports.cases = {
    'killed three times during calls': async (server) => {
        const disturb = async () => {
            await server.kill();
            await server.start();
        };
        await disturbed(server, disturb, 3);
    },

    'stopped in good order during calls': async (server) => {
        const disturb = async () => {
            await server.stop();
            await server.start();
        };
        await disturbed(server, disturb, 2);
    },

    // Longer than the client waits before it sends a request again, so the server then receives the request
    // more than once.
    'suspended during calls': async (server) => {
        await disturbed(server, () => server.freeze(1500), 2);
    },

    'a broken connection during calls': async (server) => {
        const link = new Link(server.firstAddress, 400_000);
        await link.open();
        const disturb = () => {
            const cuts = link.cuts + 3;
            return until(() => link.cuts >= cuts, 20, 'the connection breaks');
        };
        const way = { address: link.address, clients: server.clients };
        await disturbed(way, disturb, 2, () => link.heal());
    },

    'calls wait while the server is down': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2]);
        await server.kill();
        let isAnswered = false;
        const call = bank.client.createTransfers([transfer(101, 1, 2, 5)]).then((results) => {
            isAnswered = true;
            return results;
        });
        await sleep(2000);
        expect(isAnswered, false);
        await server.start();
        expect(transferNames(await call), ['created']);
        expect(await bank.balances(1), [0n, 5n, 0n, 0n]);
    },

    'a restart keeps everything': async (server) => {
        const bank = new Bank(server);
        const { client } = bank;
        await bank.open([1, 2, 3]);
        await bank.move(transfer(101, 1, 2, 5), pending(102, 1, 2, 7), pending(103, 2, 3, 4, { timeout: 1 }));
        expect(await bank.transfers(transfer(104, 1, 9, 5)), ['credit_account_not_found']);
        const accounts = await client.lookupAccounts([1n, 2n]);
        const transfers = await client.lookupTransfers([101n, 102n, 103n, 104n]);
        await server.kill();
        await server.start();
        expect(await client.lookupTransfers([101n, 102n, 103n, 104n]), transfers);
        // A pending transfer whose timeout passes meanwhile.
        await until(async () => (await bank.account(3)).credits_pending === 0n, 20, 'the reserved amount is released');
        expect(accounts[1].debits_pending, 4n);
        expect(await client.lookupAccounts([1n, 2n]), [accounts[0], { ...accounts[1], debits_pending: 0n }]);
        await bank.open([9]);
        const events = [transfer(101, 1, 2, 5), transfer(104, 1, 9, 5), post(201, 103), post(202, 102)];
        expect(await bank.transfers(...events), ['exists', 'id_already_failed', 'pending_transfer_expired', 'created']);
        expect(await bank.accounts(account(1)), ['exists']);
        expect(await bank.balances(2), [0n, 0n, 0n, 12n]);
    },

    'a new client after a restart': async (server) => {
        const before = new Bank(server);
        await before.open([1, 2]);
        await before.move(transfer(101, 1, 2, 5));
        before.client.destroy();
        await server.kill();
        await server.start();
        const bank = new Bank(server);
        expect(await bank.balances(1), [0n, 5n, 0n, 0n]);
        await bank.move(transfer(102, 1, 2, 5));
    },
};
