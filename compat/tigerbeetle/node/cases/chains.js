// Linked events: all of a chain succeed, or none does.
'use strict';

const { Bank, account, expect, pending, post, tb, transfer } = require('../ledger');

const LINKED = { flags: tb.AccountFlags.linked };
const LINKED_TRANSFER = { flags: tb.TransferFlags.linked };
const LIMITED = { flags: tb.AccountFlags.debits_must_not_exceed_credits };

const found = async (bank, ids) => (await bank.client.lookupAccounts(ids)).map((one) => one.id);

exports.cases = {
    'a chain of accounts succeeds together': async (server) => {
        const bank = new Bank(server);
        const events = [account(1, LINKED), account(2, LINKED), account(3), account(4)];
        expect(await bank.accounts(...events), Array(4).fill('created'));
        expect(
            await bank.client.lookupAccounts([1n, 2n, 3n, 4n]),
            events.map((event, at) => ({ ...event, timestamp: bank.results[at].timestamp })),
        );
    },

    'a chain of accounts fails together': async (server) => {
        const bank = new Bank(server);
        const chain = [account(1, LINKED), account(2, { code: 0, ...LINKED }), account(3)];
        expect(await bank.accounts(...chain, account(4), account(5, LINKED), account(6)), [
            'linked_event_failed',
            'code_must_not_be_zero',
            'linked_event_failed',
            'created',
            'created',
            'created',
        ]);
        expect(await found(bank, [1n, 2n, 3n, 4n, 5n, 6n]), [4n, 5n, 6n]);
        // A failed chain leaves nothing: its ids are free.
        await bank.open([1, 3]);
    },

    'a chain that is open at the end fails': async (server) => {
        const bank = new Bank(server);
        expect(await bank.accounts(account(1), account(2, LINKED), account(3, LINKED)), [
            'created',
            'linked_event_failed',
            'linked_event_chain_open',
        ]);
        expect(await bank.accounts(account(4, LINKED)), ['linked_event_chain_open']);
        // The same for a chain that had failed before.
        expect(await bank.accounts(account(5, LINKED), account(6, { ledger: 0, ...LINKED }), account(7, LINKED)), [
            'linked_event_failed',
            'ledger_must_not_be_zero',
            'linked_event_chain_open',
        ]);
        await bank.open([8, 9]);
        expect(await bank.transfers(transfer(101, 1, 8, 5), transfer(102, 8, 9, 5, LINKED_TRANSFER)), [
            'created',
            'linked_event_chain_open',
        ]);
        expect(await found(bank, [1n, 2n, 3n, 4n, 5n, 6n, 7n]), [1n]);
    },

    'later events see the effects of earlier ones': async (server) => {
        const bank = new Bank(server);
        await bank.open([1]);
        await bank.open([2, 3], LIMITED);
        await bank.move(
            transfer(101, 1, 2, 10, LINKED_TRANSFER),
            transfer(102, 2, 3, 10, LINKED_TRANSFER),
            pending(103, 3, 1, 10, LINKED_TRANSFER),
            post(104, 103, 4),
        );
        expect(await bank.balances(1), [0n, 10n, 0n, 4n]);
        expect(await bank.balances(2), [0n, 10n, 0n, 10n]);
        expect(await bank.balances(3), [0n, 4n, 0n, 10n]);
    },

    'a chain of transfers is undone': async (server) => {
        const bank = new Bank(server);
        const postLinked = { flags: tb.TransferFlags.post_pending_transfer | tb.TransferFlags.linked };
        await bank.open([1, 4]);
        await bank.open([2, 3], LIMITED);
        await bank.move(pending(100, 1, 4, 6));
        const chain = [
            transfer(101, 1, 2, 10, LINKED_TRANSFER),
            transfer(102, 2, 3, 10, LINKED_TRANSFER),
            post(103, 100, 6, postLinked),
            transfer(104, 3, 1, 11, LINKED_TRANSFER),
            transfer(105, 1, 2, 1),
        ];
        const failed = 'linked_event_failed';
        expect(await bank.transfers(...chain), [failed, failed, failed, 'exceeds_credits', failed]);
        expect(await bank.balances(1), [6n, 0n, 0n, 0n]);
        expect(await bank.balances(2), [0n, 0n, 0n, 0n]);
        expect(await bank.balances(3), [0n, 0n, 0n, 0n]);
        expect(await bank.client.lookupTransfers([101n, 102n, 103n, 104n, 105n]), []);
        // The event that failed has used up its id, the others have not.
        expect(await bank.transfers(transfer(104, 1, 3, 1)), ['id_already_failed']);
        chain[3] = transfer(106, 3, 1, 10, LINKED_TRANSFER);
        await bank.move(...chain);
        expect(await bank.balances(1), [0n, 17n, 0n, 10n]);
        expect(await bank.balances(2), [0n, 10n, 0n, 11n]);
        expect(await bank.balances(3), [0n, 10n, 0n, 10n]);
    },

    'the same chain again fails at its first link': async (server) => {
        const bank = new Bank(server);
        const chain = [transfer(101, 1, 2, 10, LINKED_TRANSFER), transfer(102, 2, 1, 3)];
        await bank.open([1, 2]);
        await bank.move(...chain);
        const first = bank.results[0].timestamp;
        expect(await bank.transfers(...chain), ['exists', 'linked_event_failed']);
        expect(bank.results[0].timestamp, first);
        expect(await bank.balances(1), [0n, 10n, 0n, 3n]);
    },
};
