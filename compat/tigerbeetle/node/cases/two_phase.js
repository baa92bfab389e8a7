// Pending transfers: posted, voided, expired; and those that close accounts.
'use strict';

const assert = require('node:assert');
const { AMOUNT_MAX, Bank, SECOND, account, expect, pending, post, tb, transfer, voided } = require('../ledger');
const { until } = require('../server');

const Flags = tb.TransferFlags;
const isEqual = (seen, expected) => seen.every((value, at) => value === expected[at]);

// Each event with its expected status.
async function expectEach(bank, pairs) {
    expect(
        await bank.transfers(...pairs.map(([event]) => event)),
        pairs.map(([, status]) => status),
    );
}

exports.cases = {
    'posting the whole amount': async (server) => {
        const bank = new Bank(server);
        const keys = { user_data_128: 11n, user_data_64: 12n, user_data_32: 13 };
        const reserve = pending(101, 1, 2, 100, { code: 7, timeout: 3600, ...keys });
        await bank.open([1, 2]);
        await bank.move(reserve);
        expect(await bank.transfer(101), { ...reserve, timestamp: bank.results[0].timestamp });
        expect(await bank.balances(1), [100n, 0n, 0n, 0n]);
        expect(await bank.balances(2), [0n, 0n, 100n, 0n]);
        await bank.move(post(201, 101));
        expect(await bank.balances(1), [0n, 100n, 0n, 0n]);
        expect(await bank.balances(2), [0n, 0n, 0n, 100n]);
        // Empty fields of the post are taken from the pending transfer.
        const taken = { ...keys, code: 7, pending_id: 101n, flags: Flags.post_pending_transfer };
        expect(await bank.transfer(201), transfer(201, 1, 2, 100, { ...taken, timestamp: bank.results[0].timestamp }));
    },

    'posting a part releases the rest': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2]);
        await bank.move(pending(101, 1, 2, 100), pending(102, 1, 2, 9), pending(103, 1, 2, 5));
        await bank.move(
            post(201, 101, 60, { user_data_64: 77n }),
            post(202, 102, 0),
            post(203, 103, 5, { ledger: 1, code: 1 }),
        );
        expect(await bank.balances(1), [0n, 65n, 0n, 0n]);
        expect(await bank.balances(2), [0n, 0n, 0n, 65n]);
        const found = await bank.client.lookupTransfers([201n, 202n, 203n]);
        expect(
            found.map((one) => [one.amount, one.user_data_64]),
            [
                [60n, 77n],
                [0n, 0n],
                [5n, 0n],
            ],
        );
    },

    'voiding releases everything': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2]);
        await bank.move(pending(101, 1, 2, 100), pending(102, 1, 2, 9), transfer(103, 1, 2, 3));
        const named = { debit_account_id: 1n, credit_account_id: 2n, ledger: 1, code: 1 };
        await bank.move(voided(201, 101), voided(202, 102, 9, named));
        expect(await bank.balances(1), [0n, 3n, 0n, 0n]);
        expect(await bank.balances(2), [0n, 0n, 0n, 3n]);
        const found = await bank.client.lookupTransfers([201n, 202n]);
        expect(
            found.map((one) => one.amount),
            [100n, 9n],
        );
    },

    'refusals of posts and voids': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2, 3]);
        await bank.move(pending(101, 1, 2, 100), transfer(102, 1, 2, 5));
        await expectEach(bank, [
            [post(201, 999), 'pending_transfer_not_found'],
            [post(202, 102), 'pending_transfer_not_pending'],
            [post(203, 101, 1, { debit_account_id: 3n }), 'pending_transfer_has_different_debit_account_id'],
            [post(204, 101, 1, { credit_account_id: 3n }), 'pending_transfer_has_different_credit_account_id'],
            [post(205, 101, 1, { ledger: 9 }), 'pending_transfer_has_different_ledger'],
            [post(206, 101, 1, { code: 9 }), 'pending_transfer_has_different_code'],
            [post(207, 101, 101), 'exceeds_pending_transfer_amount'],
            [voided(208, 101, 101), 'exceeds_pending_transfer_amount'],
            [voided(209, 101, 99), 'pending_transfer_has_different_amount'],
            [voided(210, 999), 'pending_transfer_not_found'],
        ]);
        expect(await bank.balances(1), [100n, 5n, 0n, 0n]);
        // Only "not found" is temporary, and has used up its id.
        await bank.move(pending(103, 1, 2, 1), post(203, 103), post(207, 101, 100));
        await expectEach(bank, [
            [post(201, 103), 'id_already_failed'],
            [voided(210, 103), 'id_already_failed'],
            [voided(211, 999), 'pending_transfer_not_found'],
        ]);
    },

    'a pending transfer ends once': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2]);
        await bank.move(pending(101, 1, 2, 100), pending(102, 1, 2, 100), post(201, 101, 1), voided(202, 102));
        await expectEach(bank, [
            [post(203, 101), 'pending_transfer_already_posted'],
            [voided(204, 101), 'pending_transfer_already_posted'],
            [post(205, 102), 'pending_transfer_already_voided'],
            [voided(206, 102), 'pending_transfer_already_voided'],
        ]);
        expect(await bank.balances(1), [0n, 1n, 0n, 0n]);
    },

    'the same post or void again exists': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2, 3]);
        const reserves = [
            pending(101, 1, 2, 100, { user_data_32: 5 }),
            pending(102, 1, 2, 100),
            pending(103, 1, 2, 100),
        ];
        const ends = [post(201, 101), post(202, 102, 60, { user_data_128: 8n }), voided(203, 103)];
        await bank.move(...reserves);
        await bank.move(...ends);
        const first = bank.results.map((result) => result.timestamp);
        expect(await bank.transfers(...ends, ...reserves), Array(6).fill('exists'));
        expect(
            bank.results.slice(0, 3).map((result) => result.timestamp),
            first,
        );
        await expectEach(bank, [
            [post(201, 101, 100, { user_data_32: 5 }), 'exists'],
            [post(201, 101, 99), 'exists_with_different_amount'],
            [post(202, 102, AMOUNT_MAX, { user_data_128: 8n }), 'exists_with_different_amount'],
            [voided(203, 103, 99), 'exists_with_different_amount'],
            [voided(203, 103, 100), 'exists'],
            [voided(201, 101), 'exists_with_different_flags'],
            [post(201, 102), 'exists_with_different_pending_id'],
            [post(201, 101, 100, { timeout: 1 }), 'exists_with_different_timeout'],
            [post(201, 101, 100, { debit_account_id: 3n }), 'exists_with_different_debit_account_id'],
            [post(201, 101, 100, { credit_account_id: 3n }), 'exists_with_different_credit_account_id'],
            [post(202, 102, 60, { user_data_128: 9n }), 'exists_with_different_user_data_128'],
            [post(202, 102, 60), 'exists_with_different_user_data_128'],
            [post(201, 101, 100, { user_data_64: 9n }), 'exists_with_different_user_data_64'],
            [post(201, 101, 100, { user_data_32: 9 }), 'exists_with_different_user_data_32'],
            [post(201, 101, 100, { ledger: 9 }), 'exists_with_different_ledger'],
            [post(201, 101, 100, { code: 9 }), 'exists_with_different_code'],
        ]);
        expect(await bank.balances(1), [0n, 160n, 0n, 0n]);
    },

    'a reserved amount is released at its timeout': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2, 3, 4]);
        const begin = performance.now();
        const reserves = [
            pending(101, 1, 2, 50, { timeout: 1 }),
            pending(102, 1, 2, 7),
            pending(103, 3, 4, 5, { flags: Flags.closing_credit, timeout: 1 }),
        ];
        await bank.move(...reserves);
        const made = bank.results[2].timestamp;
        expect(await bank.balances(1), [57n, 0n, 0n, 0n]);
        expect(await bank.balances(2), [0n, 0n, 57n, 0n]);
        expect((await bank.account(4)).flags, tb.AccountFlags.closed);

        await until(async () => isEqual(await bank.balances(1), [7n, 0n, 0n, 0n]), 20, 'the reserved amount is released');
        assert.ok(performance.now() - begin >= 1000, 'released before the timeout');
        await until(async () => (await bank.account(4)).flags === 0, 20, 'the account opens again');
        expect(await bank.balances(2), [0n, 0n, 7n, 0n]);
        expect(await bank.balances(3), [0n, 0n, 0n, 0n]);
        expect(await bank.balances(4), [0n, 0n, 0n, 0n]);

        await expectEach(bank, [
            [post(201, 101), 'pending_transfer_expired'],
            [voided(202, 101), 'pending_transfer_expired'],
            [post(203, 103), 'pending_transfer_expired'],
            [reserves[0], 'exists'],
        ]);
        assert.ok(bank.results[0].timestamp >= made + SECOND, `${bank.results[0].timestamp} after ${made}`);
        // What remains: the transfer, and the other reserved amount.
        expect((await bank.transfer(101)).amount, 50n);
        await bank.move(post(204, 102), transfer(205, 3, 4, 1));
        expect(await bank.balances(1), [0n, 7n, 0n, 0n]);
    },

    'a pending transfer may balance': async (server) => {
        const bank = new Bank(server);
        const balancing = { flags: Flags.balancing_debit };
        await bank.open([1, 2, 3]);
        await bank.move(transfer(101, 1, 2, 100), pending(102, 2, 3, AMOUNT_MAX, balancing));
        expect((await bank.transfer(102)).amount, 100n);
        expect(await bank.balances(2), [100n, 0n, 0n, 100n]);
        await bank.move(post(201, 102, 40), transfer(103, 2, 3, AMOUNT_MAX, balancing));
        expect(await bank.balances(2), [0n, 100n, 0n, 100n]);
    },

    'closing an account and opening it again': async (server) => {
        const bank = new Bank(server);
        const { closed, history, none } = tb.AccountFlags;
        const flagsOf = async (id) => (await bank.account(id)).flags;
        await bank.open([1, 2, 3]);
        await bank.open([4], { flags: history });
        await bank.move(transfer(101, 1, 4, 50), pending(102, 4, 1, 10));
        await bank.move(pending(103, 4, 1, 0, { flags: Flags.closing_debit }));
        expect(await flagsOf(4), history | closed);
        expect(await flagsOf(1), none);
        await expectEach(bank, [
            [transfer(111, 4, 1, 1), 'debit_account_already_closed'],
            [transfer(112, 1, 4, 1), 'credit_account_already_closed'],
            [post(113, 102), 'debit_account_already_closed'],
            [post(114, 103), 'debit_account_already_closed'],
        ]);
        // A closed account allows only voids.
        await bank.move(voided(115, 102));
        expect(await bank.balances(4), [0n, 0n, 0n, 50n]);
        await bank.move(voided(116, 103));
        expect(await flagsOf(4), history);
        // The account is open again, but those ids stay used.
        await expectEach(bank, [
            [transfer(111, 4, 1, 1), 'id_already_failed'],
            [transfer(211, 4, 1, 1), 'created'],
        ]);
        // Both accounts at once.
        await bank.move(pending(121, 2, 3, 8, { flags: Flags.closing_debit | Flags.closing_credit }));
        expect([await flagsOf(2), await flagsOf(3)], [closed, closed]);
        expect(await bank.balances(2), [8n, 0n, 0n, 0n]);
        // An account that is created again exists, also when it was closed meanwhile.
        await bank.move(voided(122, 121));
        expect([await flagsOf(2), await flagsOf(3)], [none, none]);
        expect(await bank.accounts(account(2)), ['exists']);
    },
};
