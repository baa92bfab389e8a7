// A write over one protocol is read over the other, and an id has the same outcome over both.
'use strict';

const { Bank, ID_MAX, account, accountFilter, expect, pending, queryFilter, tb, transfer } = require('../ledger');

exports.cases = {
    'written by the client, read over REST': async (server) => {
        const bank = new Bank(server);
        const fields = { ledger: 978, code: 7, user_data_128: 2n ** 128n - 1n, flags: tb.AccountFlags.history };
        await bank.open([1, 2], fields);
        const made = bank.results[0].timestamp;
        await bank.move(transfer(ID_MAX - 1n, 1, 2, 1050, { ledger: 978, user_data_64: 2n ** 64n - 1n }));
        const moved = bank.results[0].timestamp;
        await bank.move(pending(102, 2, 1, 50, { ledger: 978, timeout: 60 }));
        let [code, seen] = await server.rest('GET', '/v1/accounts/1');
        expect(code, 200);
        expect([seen.ledger, seen.asset, seen.code, seen.flags], [978, 'EUR', 7, ['history']]);
        expect([seen.user_data_128, seen.timestamp], [`${2n ** 128n - 1n}`, `${made}`]);
        expect(seen.balances, {
            debits_pending: '0',
            debits_posted: '1050',
            credits_pending: '50',
            credits_posted: '0',
            display: '-10.50 EUR',
        });
        expect([seen.spends.sequence, seen.receipts.sequence], [1, 1]);
        [code, seen] = await server.rest('GET', `/v1/transfers/${ID_MAX - 1n}`);
        expect(code, 200);
        expect([seen.amount, seen.user_data_64, seen.timestamp], ['1050', `${2n ** 64n - 1n}`, `${moved}`]);
        [code, seen] = await server.rest('GET', '/v1/accounts/2/balances');
        expect([code, seen.items.map((row) => row.balances.credits_posted)], [200, ['1050', '1050']]);
        [code, seen] = await server.rest('GET', '/v1/events?from=start');
        expect([code, seen.items.map((event) => event.kind)], [200, ['single_phase', 'two_phase_pending']]);
    },

    'written over REST, read by the client': async (server) => {
        const bank = new Bank(server);
        const first = { id: '1', name: 'users:alice', asset: 'EUR', code: 7, flags: ['history'] };
        const second = { id: '2', ledger: 978, code: 7, user_data_128: `${2n ** 128n - 1n}` };
        expect((await server.rest('POST', '/v1/accounts', [first, second]))[0], 200);
        const sides = { debit_account: 'users:alice', credit_account: '2' };
        const body = { id: '101', ...sides, amount: '1050', asset: 'EUR', code: 3 };
        const [code, made] = await server.rest('POST', '/v1/transfers', body);
        expect(code, 201);
        expect((await bank.account(1)).flags, tb.AccountFlags.history);
        const { user_data_128, ledger } = await bank.account(2);
        expect([user_data_128, ledger], [2n ** 128n - 1n, 978]);
        expect(await bank.balances(1), [0n, 1050n, 0n, 0n]);
        const timestamp = BigInt(made.timestamp);
        const recorded = transfer(101, 1, 2, 1050, { ledger: 978, code: 3, timestamp });
        expect(await bank.transfer(101), recorded);
        expect(await bank.client.getAccountTransfers(accountFilter(2)), [recorded]);
        expect(await bank.client.queryTransfers(queryFilter({ code: 3 })), [recorded]);
        expect(await bank.client.getAccountBalances(accountFilter(1)), [
            { debits_pending: 0n, debits_posted: 1050n, credits_pending: 0n, credits_posted: 0n, timestamp },
        ]);
    },

    'an id has one outcome over both protocols': async (server) => {
        const bank = new Bank(server);
        await bank.open([1, 2]);
        await bank.move(transfer(101, 1, 2, 5));
        const made = bank.results[0].timestamp;
        const body = { debit_account: '1', credit_account: '2', amount: '5', ledger: 1, code: 1 };
        let [code, seen] = await server.rest('POST', '/v1/transfers', { ...body, id: '101' });
        expect([code, seen.status, seen.timestamp], [200, 'exists', `${made}`]);
        [code, seen] = await server.rest('POST', '/v1/transfers', { ...body, id: '102' });
        expect([code, seen.status], [201, 'created']);
        expect(await bank.transfers(transfer(102, 1, 2, 5), transfer(102, 1, 2, 6)), [
            'exists',
            'exists_with_different_amount',
        ]);
        expect(`${bank.results[0].timestamp}`, seen.timestamp);
        // For a client without names, an account with a name is the same account.
        const named = { id: '3', name: 'c', ledger: 1, code: 1 };
        expect((await server.rest('POST', '/v1/accounts', named))[0], 201);
        expect(await bank.accounts(account(3), account(3, { code: 2 })), ['exists', 'exists_with_different_code']);
    },

    'bounds made over REST refuse with the statuses of limits': async (server) => {
        const bank = new Bank(server);
        await bank.open([1]);
        for (const [id, bounds] of [
            ['2', { minimum: '-50' }],
            ['3', { maximum: '50' }],
        ]) {
            expect((await server.rest('POST', '/v1/accounts', { id, ledger: 1, code: 1, bounds }))[0], 201);
        }
        expect(await bank.transfers(transfer(101, 2, 1, 51), transfer(102, 2, 1, 50), pending(103, 2, 1, 1)), [
            'exceeds_credits',
            'created',
            'exceeds_credits',
        ]);
        expect(await bank.transfers(transfer(111, 1, 3, 51), transfer(112, 1, 3, 50), pending(113, 1, 3, 1)), [
            'exceeds_debits',
            'created',
            'exceeds_debits',
        ]);
        // Both would leave their bounds: the debit account is checked first.
        expect(await bank.transfers(transfer(121, 2, 3, 1)), ['exceeds_credits']);
        // These refusals are temporary, so their ids are used up. After a change of the bounds another id
        // succeeds.
        expect((await server.rest('PUT', '/v1/accounts/2/bounds', { minimum: '-500' }))[0], 200);
        expect(await bank.transfers(transfer(101, 2, 1, 51), transfer(201, 2, 1, 51)), [
            'id_already_failed',
            'created',
        ]);
        // Over REST the refusal has its own name.
        const body = { id: '300', debit_account: '1', credit_account: '3', amount: '1', ledger: 1, code: 1 };
        const [code, seen] = await server.rest('POST', '/v1/transfers', body);
        expect([code, seen.code], [422, 'balance_out_of_bounds']);
    },
};
