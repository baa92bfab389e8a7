// Batches: full ones, empty ones, and many small ones that the client packs into one request.
'use strict';

const assert = require('node:assert');
const {
    BATCH_MAX,
    Bank,
    account,
    accountFilter,
    accountNames,
    checkResults,
    connect,
    created,
    expect,
    queryFilter,
    range,
    tb,
    transfer,
    transferNames,
} = require('../ledger');

const ids = (rows) => rows.map((row) => row.id);
const timestamps = (rows) => rows.map((row) => row.timestamp);

exports.cases = {
    'full batches': async (server) => {
        const bank = new Bank(server);
        const { client } = bank;
        const accounts = range(BATCH_MAX).map((at) => account(1 + at));
        let results = await client.createAccounts(accounts);
        created(results);
        checkResults(accounts, results, accountNames(results), tb.AccountFlags.imported);
        let found = await client.lookupAccounts(ids(accounts));
        expect(ids(found), ids(accounts));
        expect(timestamps(found), timestamps(results));

        const transfers = range(BATCH_MAX).map((at) =>
            transfer(10_000 + at, 1 + at, 1 + ((at + 1) % BATCH_MAX), 1 + at),
        );
        results = await client.createTransfers(transfers);
        created(results);
        checkResults(transfers, results, transferNames(results), tb.TransferFlags.imported);
        found = await client.lookupTransfers(ids(transfers));
        expect(
            found,
            transfers.map((one, at) => ({ ...one, timestamp: results[at].timestamp })),
        );
        expect((await client.queryTransfers(queryFilter())).length, BATCH_MAX);
        expect((await client.queryAccounts(queryFilter())).length, BATCH_MAX);

        results = await client.createTransfers(transfers);
        expect(new Set(transferNames(results)), new Set(['exists']));
        expect(timestamps(results), timestamps(found));
        expect(await bank.balances(2), [0n, 2n, 0n, 1n]);
    },

    'more than a full batch never leaves the client': async (server) => {
        const client = connect(server);
        const many = (event) => Array(BATCH_MAX + 1).fill(event);
        const asks = [
            () => client.createAccounts(many(account(1))),
            () => client.createTransfers(many(transfer(1, 1, 2, 1))),
            () => client.lookupAccounts(many(1n)),
            () => client.queryTransfers(queryFilter({ limit: BATCH_MAX + 1 })),
        ];
        for (const ask of asks) {
            await assert.rejects(ask, { code: tb.ErrorCodes.ERR_TOO_MUCH_DATA });
        }
        expect(await client.lookupAccounts([1n]), []);
    },

    'empty batches': async (server) => {
        const bank = new Bank(server);
        expect(await bank.client.createAccounts([]), []);
        expect(await bank.client.createTransfers([]), []);
        expect(await bank.client.lookupAccounts([]), []);
        expect(await bank.client.lookupTransfers([]), []);
        await bank.open([1]);
    },

    'single events all at once': async (server) => {
        const count = 1000;
        const bank = new Bank(server);
        const { client } = bank;
        await bank.open([1, 2]);
        const events = range(count).map((at) => transfer(100 + at, 1, 2, at));
        // Each event twice: exactly one of the two creates it.
        const answers = await Promise.all([...events, ...events].map((event) => client.createTransfers([event])));
        const [first, again] = [answers.slice(0, count), answers.slice(count)];
        const times = first.map(([result]) => result.timestamp);
        expect(new Set(times).size, count);
        for (const [at, results] of first.entries()) {
            expect(transferNames([...results, ...again[at]]).sort(), ['created', 'exists']);
            expect(results[0].timestamp, again[at][0].timestamp);
        }
        const lookups = await Promise.all(events.map((event) => client.lookupTransfers([event.id])));
        expect(
            lookups,
            events.map((event, at) => [{ ...event, timestamp: times[at] }]),
        );
        expect((await bank.account(1)).debits_posted, BigInt((count * (count - 1)) / 2));
    },

    'calls of all kinds at once': async (server) => {
        const bank = new Bank(server);
        const { client } = bank;
        await bank.open([1], { flags: tb.AccountFlags.history });
        await bank.open([2]);
        await bank.move(...range(50).map((at) => transfer(1000 + at, 1, 2, 1)));
        const kinds = [
            async function newAccount(at) {
                created(await client.createAccounts([account(100 + at)]));
            },
            // Calls of different sizes, some of them empty.
            async function newTransfers(at) {
                const events = range(at % 4).map((one) => transfer(10_000 + 10 * at + one, 2, 1, 1));
                const results = await client.createTransfers(events);
                expect(results.length, events.length);
                created(results);
            },
            async function refused() {
                const results = await client.createTransfers([transfer(0, 1, 2, 1)]);
                expect(transferNames(results), ['id_must_not_be_zero']);
            },
            async function nothingThere(at) {
                expect(await client.lookupAccounts([10n ** 9n + BigInt(at)]), []);
            },
            async function someThere(at) {
                const id = 1000n + BigInt(at % 50);
                expect(ids(await client.lookupTransfers([id, 999n, 1000n])), [id, 1000n]);
            },
            async function accountTransfers(at) {
                const found = await client.getAccountTransfers(accountFilter(1, { limit: 1 + (at % 20) }));
                expect(
                    ids(found),
                    range(1 + (at % 20)).map((one) => 1000n + BigInt(one)),
                );
            },
            async function accountBalances(at) {
                const filter = accountFilter(1 + (at % 2), { limit: 1 + (at % 20) });
                const found = await client.getAccountBalances(filter);
                expect(
                    found.map((one) => one.debits_posted),
                    at % 2 === 0 ? range(1 + (at % 20)).map((one) => 1n + BigInt(one)) : [],
                );
            },
            async function queried(at) {
                const transfers = await client.queryTransfers(queryFilter({ limit: at % 5 }));
                expect(
                    ids(transfers),
                    range(at % 5).map((one) => 1000n + BigInt(one)),
                );
                const accounts = await client.queryAccounts(queryFilter({ limit: 1 + (at % 2) }));
                expect(ids(accounts), [1n, 2n].slice(0, 1 + (at % 2)));
            },
        ];
        await Promise.all(range(80).flatMap((at) => kinds.map((kind) => kind(at))));
    },

    'a chain ends with its call': async (server) => {
        const count = 300;
        const bank = new Bank(server);
        const linked = { flags: tb.TransferFlags.linked };
        await bank.open([1, 2]);
        const calls = range(count).flatMap((at) => {
            const id = 1000 + 10 * at;
            return [
                [[transfer(id, 1, 2, 1, linked)], ['linked_event_chain_open']],
                [[transfer(id + 1, 1, 2, 1)], ['created']],
                [
                    [transfer(id + 2, 1, 2, 1, linked), transfer(id + 3, 1, 2, 1, { code: 0 })],
                    ['linked_event_failed', 'code_must_not_be_zero'],
                ],
                [
                    [transfer(id + 4, 1, 2, 1, linked), transfer(id + 5, 2, 1, 1)],
                    ['created', 'created'],
                ],
            ];
        });
        const answers = await Promise.all(calls.map(([events]) => bank.client.createTransfers(events)));
        expect(
            answers.map(transferNames),
            calls.map(([, expected]) => expected),
        );
        expect(await bank.balances(1), [0n, 2n * BigInt(count), 0n, BigInt(count)]);
    },

    'an imported call together with others': async (server) => {
        const client = connect(server);
        const flags = tb.AccountFlags.imported;
        const calls = range(100).flatMap((at) => [
            [[account(1 + at)], ['created']],
            [
                [account(1000 + at), account(2000 + at, { flags, timestamp: 1000n })],
                ['created', 'imported_event_not_expected'],
            ],
            [
                [account(3000 + at, { flags, timestamp: 0n }), account(4000 + at)],
                ['imported_event_timestamp_out_of_range', 'imported_event_expected'],
            ],
        ]);
        const answers = await Promise.all(calls.map(([events]) => client.createAccounts(events)));
        expect(
            answers.map(accountNames),
            calls.map(([, expected]) => expected),
        );
    },
};
