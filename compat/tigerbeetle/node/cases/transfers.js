// create_transfers in one phase: created, existing, and every refusal in the order in which it is checked.
'use strict';

const { AMOUNT_MAX, Bank, ID_MAX, account, expect, pending, post, tb, transfer } = require('../ledger');

const Flags = tb.TransferFlags;
const timestamps = (rows) => rows.map((row) => row.timestamp);
const amounts = (rows) => rows.map((row) => row.amount);

exports.cases = {
    'a transfer moves money and is found': async (server) => {
        const bank = new Bank(server);
        const keys = { user_data_128: 2n ** 128n - 1n, user_data_64: 2n ** 64n - 1n, user_data_32: 2 ** 32 - 1 };
        const event = transfer(101, 1, 2, 30, { ...keys, code: 2 ** 16 - 1 });
        await bank.open([1, 2]);
        await bank.move(event, transfer(102, 2, 1, 7), transfer(103, 1, 2, 0), transfer(ID_MAX - 1n, 1, 2, 1));
        const found = await bank.client.lookupTransfers([101n, 102n, 103n, ID_MAX - 1n]);
        expect(timestamps(found), timestamps(bank.results));
        expect(found[0], { ...event, timestamp: bank.results[0].timestamp });
        expect(found[2].amount, 0n);
        expect(await bank.balances(1), [0n, 31n, 0n, 7n]);
        expect(await bank.balances(2), [0n, 7n, 0n, 31n]);
    },

    'the same transfer again exists with its first timestamp': async (server) => {
        const bank = new Bank(server);
        const event = transfer(101, 1, 2, 30);
        await bank.open([1, 2]);
        expect(await bank.transfers(event, event, transfer(102, 1, 2, 1)), ['created', 'exists', 'created']);
        const [first, again, second] = timestamps(bank.results);
        expect(again, first);
        expect(await bank.transfers(transfer(102, 1, 2, 1), event), ['exists', 'exists']);
        expect(timestamps(bank.results), [second, first]);
        expect(await bank.balances(1), [0n, 31n, 0n, 0n]);
    },

    'every field that differs has its own status': async (server) => {
        const bank = new Bank(server);
        const different = {
            flags: Flags.pending,
            pending_id: 100n,
            timeout: 9,
            debit_account_id: 3n,
            credit_account_id: 3n,
            amount: 31n,
            user_data_128: 9n,
            user_data_64: 9n,
            user_data_32: 9,
            ledger: 9,
            code: 9,
        };
        const fields = Object.entries(different);
        const event = transfer(101, 1, 2, 30);
        await bank.open([1, 2, 3]);
        await bank.move(event);
        for (const [at, [name, value]] of fields.entries()) {
            const alone = { ...event, [name]: value };
            const withAllAfter = { ...event, ...Object.fromEntries(fields.slice(at)) };
            const status = `exists_with_different_${name}`;
            expect(await bank.transfers(alone, withAllAfter), [status, status]);
        }
        // The id is looked up before the rest of the event is checked.
        expect(await bank.transfers({ ...event, ledger: 0 }), ['exists_with_different_ledger']);
        expect(await bank.transfers({ ...event, credit_account_id: 1n }), ['exists_with_different_credit_account_id']);
        expect(await bank.balances(1), [0n, 30n, 0n, 0n]);
    },

    'refusals come in order as an event is corrected': async (server) => {
        const bank = new Bank(server);
        const closing = Flags.closing_debit;
        let event = transfer(0, 0, 0, 5, {
            pending_id: 9n,
            timeout: 9,
            ledger: 0,
            code: 0,
            timestamp: 1n,
            flags: closing | (1 << 15),
        });
        const steps = [
            ['timestamp_must_be_zero', { timestamp: 0n }],
            ['reserved_flag', { flags: closing }],
            ['id_must_not_be_zero', { id: ID_MAX }],
            ['id_must_not_be_int_max', { id: 101n }],
            ['debit_account_id_must_not_be_zero', { debit_account_id: ID_MAX }],
            ['debit_account_id_must_not_be_int_max', { debit_account_id: 1n }],
            ['credit_account_id_must_not_be_zero', { credit_account_id: ID_MAX }],
            ['credit_account_id_must_not_be_int_max', { credit_account_id: 1n }],
            ['accounts_must_be_different', { credit_account_id: 2n }],
            ['pending_id_must_be_zero', { pending_id: 0n }],
            ['timeout_reserved_for_pending_transfer', { timeout: 0 }],
            ['closing_transfer_must_be_pending', { flags: 0 }],
            ['ledger_must_not_be_zero', { ledger: 2 }],
            ['code_must_not_be_zero', { code: 1 }],
            ['transfer_must_have_the_same_ledger_as_accounts', { ledger: 1 }],
        ];
        await bank.open([1, 2]);
        for (const [status, correction] of steps) {
            expect(await bank.transfers(event), [status]);
            event = { ...event, ...correction };
        }
        // None of these refusals has used up the id.
        expect(await bank.transfers(event), ['created']);
    },

    'refusals of posting come in order as an event is corrected': async (server) => {
        const bank = new Bank(server);
        let event = post(201, 0, 5, { timeout: 9, flags: Flags.post_pending_transfer | Flags.pending });
        const steps = [
            ['flags_are_mutually_exclusive', { flags: Flags.post_pending_transfer }],
            ['pending_id_must_not_be_zero', { pending_id: ID_MAX }],
            ['pending_id_must_not_be_int_max', { pending_id: 201n }],
            ['pending_id_must_be_different', { pending_id: 101n }],
            ['timeout_reserved_for_pending_transfer', { timeout: 0 }],
        ];
        await bank.open([1, 2]);
        await bank.move(pending(101, 1, 2, 5));
        for (const [status, correction] of steps) {
            expect(await bank.transfers(event), [status]);
            event = { ...event, ...correction };
        }
        expect(await bank.transfers(event), ['created']);
    },

    'flags that exclude each other': async (server) => {
        const bank = new Bank(server);
        const others = [
            Flags.pending,
            Flags.balancing_debit,
            Flags.balancing_credit,
            Flags.closing_debit,
            Flags.closing_credit,
        ];
        const ends = [Flags.post_pending_transfer, Flags.void_pending_transfer];
        const pairs = [ends[0] | ends[1], ...ends.flatMap((end) => others.map((other) => end | other))];
        await bank.open([1, 2]);
        const events = pairs.map((flags, at) => transfer(201 + at, 1, 2, 5, { pending_id: 101n, flags }));
        expect(
            await bank.transfers(...events),
            events.map(() => 'flags_are_mutually_exclusive'),
        );
    },

    'ledgers must agree': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2]);
        await bank.open([3, 4], { ledger: 2 });
        const events = [
            transfer(101, 1, 3, 5),
            transfer(102, 1, 2, 5, { ledger: 2 }),
            transfer(103, 3, 4, 5, { ledger: 2 }),
        ];
        expect(await bank.transfers(...events), [
            'accounts_must_have_the_same_ledger',
            'transfer_must_have_the_same_ledger_as_accounts',
            'created',
        ]);
        // Neither refusal has used up the id.
        await bank.move(transfer(101, 1, 2, 5), transfer(102, 1, 2, 5));
    },

    'a temporary refusal uses up the id': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2]);
        await bank.open([3], { flags: tb.AccountFlags.debits_must_not_exceed_credits });
        await bank.open([4], { flags: tb.AccountFlags.credits_must_not_exceed_debits });
        const events = [
            transfer(101, 9, 1, 5),
            transfer(102, 1, 9, 5),
            transfer(103, 3, 1, 5),
            transfer(104, 1, 4, 5),
            post(105, 111),
        ];
        expect(await bank.transfers(...events), [
            'debit_account_not_found',
            'credit_account_not_found',
            'exceeds_credits',
            'exceeds_debits',
            'pending_transfer_not_found',
        ]);
        expect(await bank.client.lookupTransfers([101n, 102n, 103n, 104n, 105n]), []);
        // The causes of the refusals are removed; the ids stay used, with this body and with any other.
        await bank.open([9]);
        await bank.move(transfer(110, 1, 3, 50), transfer(112, 4, 1, 50), pending(111, 1, 2, 5));
        expect(
            await bank.transfers(...events),
            events.map(() => 'id_already_failed'),
        );
        expect(await bank.transfers(transfer(101, 1, 2, 77)), ['id_already_failed']);
        await bank.move(...events.map((event) => ({ ...event, id: event.id + 100n })));
    },

    'limits count what is reserved': async (server) => {
        const bank = new Bank(server);
        await bank.open([1]);
        await bank.open([2], { flags: tb.AccountFlags.debits_must_not_exceed_credits });
        await bank.open([3], { flags: tb.AccountFlags.credits_must_not_exceed_debits });
        await bank.move(transfer(101, 1, 2, 100), pending(102, 2, 1, 60));
        const spends = [41, 40, 0, 1].map((amount, at) => transfer(103 + at, 2, 1, amount));
        expect(await bank.transfers(...spends), ['exceeds_credits', 'created', 'created', 'exceeds_credits']);
        expect(await bank.balances(2), [60n, 40n, 0n, 100n]);
        await bank.move(transfer(111, 3, 1, 100), pending(112, 1, 3, 60));
        const takes = [41, 40, 0, 1].map((amount, at) => transfer(113 + at, 1, 3, amount));
        expect(await bank.transfers(...takes), ['exceeds_debits', 'created', 'created', 'exceeds_debits']);
        expect(await bank.balances(3), [0n, 100n, 60n, 40n]);
    },

    'sums that would overflow are refused': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2, 3, 4, 5, 6]);
        await bank.move(transfer(101, 1, 2, AMOUNT_MAX), pending(102, 4, 5, AMOUNT_MAX));
        const events = [
            transfer(111, 1, 3, 1),
            transfer(112, 3, 2, 1),
            pending(113, 4, 6, 1),
            pending(114, 6, 5, 1),
            transfer(115, 4, 6, 1),
            transfer(116, 6, 5, 1),
        ];
        expect(await bank.transfers(...events), [
            'overflows_debits_posted',
            'overflows_credits_posted',
            'overflows_debits_pending',
            'overflows_credits_pending',
            'overflows_debits',
            'overflows_credits',
        ]);
        expect(await bank.balances(1), [0n, AMOUNT_MAX, 0n, 0n]);
        expect(await bank.balances(5), [0n, 0n, AMOUNT_MAX, 0n]);
    },

    'balancing moves the available amount': async (server) => {
        const bank = new Bank(server);
        const [debit, credit] = [{ flags: Flags.balancing_debit }, { flags: Flags.balancing_credit }];
        const both = { flags: Flags.balancing_debit | Flags.balancing_credit };
        await bank.open([1, 2, 3]);
        await bank.move(transfer(101, 1, 2, 100), pending(102, 2, 1, 30));
        // Account 2 was credited 100, of which 30 are reserved.
        await bank.move(
            transfer(111, 2, 3, 50, debit),
            transfer(112, 2, 3, AMOUNT_MAX, debit),
            transfer(113, 2, 3, AMOUNT_MAX, debit),
        );
        expect(amounts(await bank.client.lookupTransfers([111n, 112n, 113n])), [50n, 20n, 0n]);
        expect(await bank.balances(2), [30n, 70n, 0n, 100n]);
        // Account 1 was debited 100, and 30 of credits are reserved.
        await bank.move(transfer(121, 3, 1, AMOUNT_MAX, credit), transfer(122, 3, 1, 7, credit));
        expect(amounts(await bank.client.lookupTransfers([121n, 122n])), [70n, 0n]);
        expect(await bank.balances(1), [0n, 100n, 30n, 70n]);
        // Both flags: the smaller amount. Account 3 can spend 35, account 1 can receive 25.
        await bank.move(transfer(130, 2, 3, 10), transfer(131, 1, 3, 25), transfer(132, 3, 1, AMOUNT_MAX, both));
        expect((await bank.transfer(132)).amount, 25n);
        // Sent again: the amount of the request is a limit, which the moved amount must not exceed.
        expect(
            await bank.transfers(
                transfer(112, 2, 3, AMOUNT_MAX, debit),
                transfer(112, 2, 3, 20, debit),
                transfer(112, 2, 3, 19, debit),
            ),
            ['exists', 'exists', 'exists_with_different_amount'],
        );
    },

    'the client itself refuses invalid values': async (server) => {
        const bank = new Bank(server);
        const wrong = [
            [transfer(2n ** 128n, 1, 2, 5), /id must fit in 128 bits/],
            [transfer(-1n, 1, 2, 5), /id must be positive/],
            [{ ...transfer(101, 1, 2, 5), code: 65536 }, /code must be a u16/],
        ];
        for (const [event, message] of wrong) {
            const refusal = await bank.client.createTransfers([event]).catch((error) => error);
            expect(message.test(refusal.message), true, refusal.message);
        }
        expect(await bank.accounts(account(1)), ['created']);
    },
};
