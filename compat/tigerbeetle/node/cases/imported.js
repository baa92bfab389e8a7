// Imported accounts and transfers keep the timestamps of their events.
'use strict';

const assert = require('node:assert');
const { Bank, SECOND, account, expect, post, queryFilter, tb, transfer } = require('../ledger');

const { linked } = tb.AccountFlags;
const Flags = tb.TransferFlags;

const oldAccount = (id, timestamp, { flags = 0, ...fields } = {}) =>
    account(id, { timestamp: BigInt(timestamp), flags: tb.AccountFlags.imported | flags, ...fields });
const oldTransfer = (id, debit, credit, amount, timestamp, { flags = 0, ...fields } = {}) =>
    transfer(id, debit, credit, amount, { timestamp: BigInt(timestamp), flags: Flags.imported | flags, ...fields });

const timestamps = (rows) => rows.map((row) => row.timestamp);
const anHourAhead = () => BigInt(Date.now()) * 1_000_000n + 3600n * SECOND;

// The events of a batch with their expected statuses.
const split = (pairs) => [pairs.map(([event]) => event), pairs.map(([, status]) => status)];

exports.cases = {
    'imported events keep their timestamps': async (server) => {
        const bank = new Bank(server);
        expect(
            await bank.accounts(oldAccount(1, 1000), oldAccount(2, 1001), oldAccount(3, 1005)),
            Array(3).fill('created'),
        );
        expect(timestamps(bank.results), [1000n, 1001n, 1005n]);
        expect(timestamps(await bank.client.lookupAccounts([1n, 2n, 3n])), [1000n, 1001n, 1005n]);
        const reserve = oldTransfer(102, 1, 2, 9, 2001, { flags: Flags.pending });
        const posted = post(103, 102, 4, { timestamp: 2002n, flags: Flags.imported | Flags.post_pending_transfer });
        const simple = oldTransfer(101, 1, 2, 5, 2000);
        expect(await bank.transfers(simple, reserve, posted), Array(3).fill('created'));
        expect(timestamps(bank.results), [2000n, 2001n, 2002n]);
        const found = await bank.client.queryTransfers(queryFilter({ timestamp_min: 2000n, timestamp_max: 2001n }));
        expect(found, [simple, reserve]);
        expect(await bank.balances(1), [0n, 9n, 0n, 0n]);
        // Sent again they exist, with the same timestamps.
        expect(await bank.accounts(oldAccount(2, 1001)), ['exists']);
        expect(timestamps(bank.results), [1001n]);
        expect(await bank.transfers(simple, reserve), ['exists', 'exists']);
        expect(timestamps(bank.results), [2000n, 2001n]);
        // An event that is not imported has the time of the server.
        await bank.open([4]);
        assert.ok(bank.results[0].timestamp > 1_600_000_000n * SECOND);
    },

    'refusals of imported accounts': async (server) => {
        const bank = new Bank(server);
        expect(await bank.accounts(oldAccount(1, 1000), oldAccount(2, 1001)), ['created', 'created']);
        expect(await bank.transfers(oldTransfer(101, 1, 2, 5, 4000)), ['created']);
        const [events, expected] = split([
            [oldAccount(3, 0), 'imported_event_timestamp_out_of_range'],
            [oldAccount(3, 2n ** 63n), 'imported_event_timestamp_out_of_range'],
            [oldAccount(3, anHourAhead()), 'imported_event_timestamp_must_not_advance'],
            [oldAccount(3, 1001), 'imported_event_timestamp_must_not_regress'],
            [oldAccount(3, 500), 'imported_event_timestamp_must_not_regress'],
            [oldAccount(3, 4000), 'imported_event_timestamp_must_not_regress'],
            [account(3), 'imported_event_expected'],
            [oldAccount(3, 5000), 'created'],
        ]);
        expect(await bank.accounts(...events), expected);
        expect(bank.results.at(-1).timestamp, 5000n);
        // After a chain has failed, its timestamps can be used again.
        const chain = [oldAccount(4, 6000, { flags: linked }), oldAccount(5, 6001, { code: 0 })];
        expect(await bank.accounts(...chain), ['linked_event_failed', 'code_must_not_be_zero']);
        expect(bank.results[0].timestamp, 6000n);
        expect(await bank.accounts(oldAccount(4, 6000)), ['created']);
        expect(await bank.accounts(account(6), oldAccount(7, 7000)), ['created', 'imported_event_not_expected']);
    },

    'refusals of imported transfers': async (server) => {
        const bank = new Bank(server);
        expect(
            await bank.accounts(oldAccount(1, 1000), oldAccount(2, 1001), oldAccount(3, 3000)),
            Array(3).fill('created'),
        );
        const timed = { flags: Flags.pending, timeout: 1 };
        const [events, expected] = split([
            [oldTransfer(101, 1, 2, 5, 2000), 'created'],
            [oldTransfer(102, 1, 2, 5, 0), 'imported_event_timestamp_out_of_range'],
            [oldTransfer(102, 1, 2, 5, 2n ** 63n), 'imported_event_timestamp_out_of_range'],
            [oldTransfer(102, 1, 2, 5, anHourAhead()), 'imported_event_timestamp_must_not_advance'],
            [oldTransfer(102, 1, 2, 5, 2000), 'imported_event_timestamp_must_not_regress'],
            [oldTransfer(102, 1, 2, 5, 1500), 'imported_event_timestamp_must_not_regress'],
            [oldTransfer(102, 1, 2, 5, 3000), 'imported_event_timestamp_must_not_regress'],
            [oldTransfer(102, 3, 2, 5, 2500), 'imported_event_timestamp_must_postdate_debit_account'],
            [oldTransfer(102, 1, 3, 5, 2500), 'imported_event_timestamp_must_postdate_credit_account'],
            [oldTransfer(102, 1, 2, 5, 2500, timed), 'imported_event_timeout_must_be_zero'],
            [transfer(102, 1, 2, 5), 'imported_event_expected'],
            [oldTransfer(102, 1, 3, 5, 3001), 'created'],
        ]);
        expect(await bank.transfers(...events), expected);
        expect(await bank.transfers(transfer(103, 1, 2, 5), oldTransfer(104, 1, 2, 5, 3002)), [
            'created',
            'imported_event_not_expected',
        ]);
        expect(await bank.balances(1), [0n, 15n, 0n, 0n]);
    },

    'only imported events have their own timestamps': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2]);
        expect(await bank.accounts(account(3, { timestamp: 1000n })), ['timestamp_must_be_zero']);
        expect(await bank.transfers(transfer(101, 1, 2, 5, { timestamp: 1000n })), ['timestamp_must_be_zero']);
    },
};
