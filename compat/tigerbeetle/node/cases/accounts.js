// create_accounts: created, existing, and every refusal in the order in which it is checked.
'use strict';

const { Bank, ID_MAX, account, expect, tb, transfer } = require('../ledger');

const Flags = tb.AccountFlags;

exports.cases = {
    'a new account is created and found': async (server) => {
        const bank = new Bank(server);
        const keys = { user_data_128: 2n ** 128n - 2n, user_data_64: 2n ** 64n - 1n, user_data_32: 2 ** 32 - 1 };
        const event = account(7, { ...keys, ledger: 2 ** 32 - 1, code: 2 ** 16 - 1, flags: Flags.history });
        expect(await bank.accounts(event), ['created']);
        expect(await bank.account(7), { ...event, timestamp: bank.results[0].timestamp });
    },

    'the same account again exists with its first timestamp': async (server) => {
        const bank = new Bank(server);
        expect(await bank.accounts(account(1), account(1), account(2)), ['created', 'exists', 'created']);
        const [first, again, second] = bank.results.map((result) => result.timestamp);
        expect(again, first);
        expect(await bank.accounts(account(2), account(1)), ['exists', 'exists']);
        expect(
            bank.results.map((result) => result.timestamp),
            [second, first],
        );
    },

    'every field that differs has its own status': async (server) => {
        const bank = new Bank(server);
        const different = {
            flags: 8,
            user_data_128: 8n,
            user_data_64: 8n,
            user_data_32: 8,
            ledger: 8,
            code: 8,
        };
        const fields = Object.entries(different);
        await bank.open([1]);
        for (const [at, [name, value]] of fields.entries()) {
            const alone = account(1, { [name]: value });
            const withAllAfter = account(1, Object.fromEntries(fields.slice(at)));
            const status = `exists_with_different_${name}`;
            expect(await bank.accounts(alone, withAllAfter), [status, status]);
        }
        // The id is looked up before the rest of the event is checked.
        expect(await bank.accounts(account(1, { ledger: 0 })), ['exists_with_different_ledger']);
        expect(await bank.accounts(account(1, { code: 0 })), ['exists_with_different_code']);
        expect(await bank.accounts(account(1, { debits_posted: 5n })), ['exists']);
    },

    'refusals come in order as an event is corrected': async (server) => {
        const bank = new Bank(server);
        const bothLimits = Flags.debits_must_not_exceed_credits | Flags.credits_must_not_exceed_debits;
        const balances = ['debits_pending', 'debits_posted', 'credits_pending', 'credits_posted'];
        let event = account(0, {
            ledger: 0,
            code: 0,
            timestamp: 1n,
            reserved: 1,
            flags: bothLimits | (1 << 15),
            ...Object.fromEntries(balances.map((name) => [name, 1n])),
        });
        const steps = [
            ['timestamp_must_be_zero', { timestamp: 0n }],
            ['reserved_field', { reserved: 0 }],
            ['reserved_flag', { flags: bothLimits }],
            ['id_must_not_be_zero', { id: ID_MAX }],
            ['id_must_not_be_int_max', { id: 5n }],
            ['flags_are_mutually_exclusive', { flags: 0 }],
            ...balances.map((name) => [`${name}_must_be_zero`, { [name]: 0n }]),
            ['ledger_must_not_be_zero', { ledger: 1 }],
            ['code_must_not_be_zero', { code: 1 }],
        ];
        for (const [status, correction] of steps) {
            expect(await bank.accounts(event), [status]);
            expect(await bank.client.lookupAccounts([event.id]), []);
            event = { ...event, ...correction };
        }
        expect(await bank.accounts(event), ['created']);
    },

    'refused and created accounts share a batch': async (server) => {
        const bank = new Bank(server);
        const events = [account(1), account(0), account(2), account(3, { code: 0 }), account(4, { flags: 1 << 6 })];
        expect(await bank.accounts(...events), [
            'created',
            'id_must_not_be_zero',
            'created',
            'code_must_not_be_zero',
            'reserved_flag',
        ]);
        const found = await bank.client.lookupAccounts([0n, 1n, 2n, 3n, 4n]);
        expect(
            found.map((one) => [one.id, one.timestamp]),
            [
                [1n, bank.results[0].timestamp],
                [2n, bank.results[2].timestamp],
            ],
        );
    },

    'an account may be closed from the start': async (server) => {
        const bank = new Bank(server);
        await bank.open([1]);
        await bank.open([2], { flags: Flags.closed });
        expect((await bank.account(2)).flags, Flags.closed);
        expect(await bank.transfers(transfer(101, 2, 1, 5), transfer(102, 1, 2, 5)), [
            'debit_account_already_closed',
            'credit_account_already_closed',
        ]);
    },
};
