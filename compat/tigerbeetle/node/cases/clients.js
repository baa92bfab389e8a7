// Several clients of one server, in one process and in several; clients that are closed while their calls are
// in flight.
'use strict';

const { execFile } = require('node:child_process');
const { promisify } = require('node:util');
const { Bank, account, connect, created, expect, range, tb, transfer } = require('../ledger');

const ACCOUNTS = 10;
const CALLS = 60;

// Numbers below the bound, the same for the same seed.
function numbers(seed) {
    let state = seed + 1;
    return (bound) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 2 ** 32) * bound);
    };
}

// Makes transfers between all accounts, in calls of different sizes; returns the sum that was moved.
async function pay(client, lane) {
    const below = numbers(lane);
    let moved = 0n;
    for (const call of range(CALLS)) {
        const events = range(1 + below(20)).map((at) => {
            const debit = 1 + below(ACCOUNTS);
            const credit = 1 + ((debit + below(ACCOUNTS - 1)) % ACCOUNTS);
            const id = (BigInt(lane + 1) << 64n) | (BigInt(call) << 32n) | BigInt(at + 1);
            return transfer(id, debit, credit, 1 + below(1000));
        });
        created(await client.createTransfers(events));
        moved += events.reduce((sum, event) => sum + event.amount, 0n);
        const found = await client.lookupTransfers(events.map((event) => event.id));
        expect(
            found.map((one) => one.amount),
            events.map((event) => event.amount),
        );
    }
    return moved;
}

async function expectBooks(bank, moved) {
    const accounts = await bank.client.lookupAccounts(range(ACCOUNTS).map((at) => BigInt(1 + at)));
    const sum = (field) => accounts.reduce((total, one) => total + one[field], 0n);
    expect([sum('debits_posted'), sum('credits_posted')], [moved, moved]);
}

exports.cases = {
    'eight clients in one process': async (server) => {
        const bank = new Bank(server);
        await bank.open(range(ACCOUNTS).map((at) => 1 + at));
        const moved = await Promise.all(range(8).map((lane) => pay(connect(server), lane)));
        await expectBooks(
            bank,
            moved.reduce((total, one) => total + one, 0n),
        );
    },

    'four processes': async (server) => {
        const bank = new Bank(server);
        await bank.open(range(ACCOUNTS).map((at) => 1 + at));
        const run = (lane) => promisify(execFile)(process.execPath, [__filename, server.address, `${lane}`]);
        const said = await Promise.all(range(4).map(run));
        await expectBooks(
            bank,
            said.reduce((total, { stdout }) => total + BigInt(stdout.trim()), 0n),
        );
    },

    'clients closed while calls are in flight': async (server) => {
        const bank = new Bank(server);
        const leaving = range(4).map(() => connect(server));
        await bank.open([1, 2]);
        const call = async (client, id) => {
            try {
                created(await client.createTransfers([transfer(id, 1, 2, 1)]));
                return 'created';
            } catch (error) {
                expect(error.code, tb.ErrorCodes.ERR_CLIENT_CLOSED);
                return 'closed';
            }
        };
        const send = (begin) => range(400).map((at) => call(leaving[at % 4], begin + at));
        const calls = send(100);
        await Promise.all(calls.slice(0, 4));
        calls.push(...send(1000));
        leaving.forEach((client) => client.destroy());
        const outcomes = await Promise.all(calls);
        // A call that ended because its client was closed may have been carried out or not; the others were.
        const ids = [...range(400).map((at) => BigInt(100 + at)), ...range(400).map((at) => BigInt(1000 + at))];
        const found = new Set((await bank.client.lookupTransfers(ids)).map((one) => one.id));
        ids.forEach((id, at) => expect(outcomes[at] === 'closed' || found.has(id), true, `${id}`));
        expect((await bank.account(1)).debits_posted, BigInt(found.size));
        expect(await bank.accounts(account(3)), ['created']);
    },
};

if (require.main === module) {
    const client = connect({ address: process.argv[2], clients: [] });
    pay(client, Number(process.argv[3])).then((moved) => {
        console.log(`${moved}`);
        client.destroy();
    });
}
