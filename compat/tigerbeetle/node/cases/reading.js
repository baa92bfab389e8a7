// Lookups, the transfers and balances of an account, queries: every field of the filters, both orders, pages.
'use strict';

const assert = require('node:assert');
const {
    Bank,
    ID_MAX,
    account,
    accountFilter,
    created,
    expect,
    pending,
    post,
    queryFilter,
    range,
    tb,
    transfer,
    voided,
} = require('../ledger');

const COUNT = 1000;
const PAGE = 100;

const { debits, credits, reversed } = tb.AccountFilterFlags;
const QueryFlags = tb.QueryFilterFlags;
const HISTORY = { flags: tb.AccountFlags.history };

// Fields of filters, alone and combined; some find nothing.
const FIELDS = [
    {},
    { user_data_128: 3n },
    { user_data_64: 5n },
    { user_data_32: 2 },
    { code: 4 },
    { user_data_128: 2n, code: 1 },
    { user_data_64: 7n, user_data_32: 1 },
    { user_data_128: 4n, user_data_64: 1n, user_data_32: 3, code: 2 },
    { user_data_64: 8n },
    { code: 9 },
];

// Values of the fields that repeat with different periods, so that every combination occurs.
const keys = (at) => ({
    user_data_128: BigInt(1 + (at % 5)),
    user_data_64: BigInt(1 + (at % 7)),
    user_data_32: 1 + (at % 3),
    code: 1 + (at % 4),
});

// The recorded events.
function recorded(events, results) {
    created(results);
    return events.map((event, at) => ({ ...event, timestamp: results[at].timestamp }));
}

// Creates accounts 1 and 2 with 1,000 alternating transfers between them; returns the recorded transfers.
async function stocked(bank) {
    await bank.open([1], HISTORY);
    await bank.open([2]);
    const events = range(COUNT).map((at) => {
        const [debit, credit] = at % 2 === 0 ? [1, 2] : [2, 1];
        return transfer(10_000 - at, debit, credit, at, keys(at));
    });
    return recorded(events, await bank.client.createTransfers(events));
}

const matching = (rows, fields) =>
    rows.filter((row) => Object.entries(fields).every(([name, value]) => row[name] === value));
const backwards = (rows) => [...rows].reverse();
const timestamps = (rows) => rows.map((row) => row.timestamp);

// Reads page after page, each from the timestamp after the last one of the previous page.
async function pages(ask, isReversed) {
    const all = [];
    for (let bounds = {}; all.length < COUNT; ) {
        const page = await ask(bounds);
        if (page.length === 0) break;
        assert.ok(page.length <= PAGE);
        all.push(page);
        const last = page.at(-1).timestamp;
        bounds = isReversed ? { timestamp_max: last - 1n } : { timestamp_min: last + 1n };
    }
    return all;
}

exports.cases = {
    'lookups leave out unknown ids': async (server) => {
        const bank = new Bank(server);
        const ids = (rows) => rows.map((row) => row.id);
        await bank.open([1, 2, 3]);
        await bank.move(transfer(101, 1, 2, 5), transfer(102, 1, 2, 5));
        const accounts = await bank.client.lookupAccounts([3n, 99n, 1n, 0n, ID_MAX, 3n, 2n]);
        expect(ids(accounts), [3n, 1n, 3n, 2n]);
        const transfers = await bank.client.lookupTransfers([102n, 1n, 101n, 0n, ID_MAX, 102n]);
        expect(ids(transfers), [102n, 101n, 102n]);
        expect(await bank.client.lookupAccounts([99n]), []);
        expect(await bank.client.lookupTransfers([99n]), []);
    },

    'account transfers by every field': async (server) => {
        const bank = new Bank(server);
        const stock = await stocked(bank);
        const sides = [
            [debits, { debit_account_id: 1n }],
            [credits, { credit_account_id: 1n }],
            [debits | credits, {}],
        ];
        for (const fields of FIELDS) {
            for (const [flags, side] of sides) {
                const expected = matching(stock, { ...fields, ...side });
                const found = await bank.client.getAccountTransfers(accountFilter(1, { ...fields, flags }));
                expect(found, expected);
                const filter = accountFilter(1, { ...fields, flags: flags | reversed });
                expect(await bank.client.getAccountTransfers(filter), backwards(expected));
            }
        }
        expect(await bank.client.getAccountTransfers(accountFilter(3)), []);
    },

    'account balances after each transfer': async (server) => {
        const bank = new Bank(server);
        const stock = await stocked(bank);
        let [debited, credited] = [0n, 0n];
        const balances = stock.map((one) => {
            if (one.debit_account_id === 1n) debited += one.amount;
            else credited += one.amount;
            return {
                debits_pending: 0n,
                debits_posted: debited,
                credits_pending: 0n,
                credits_posted: credited,
                timestamp: one.timestamp,
            };
        });
        const ask = (id, fields) => bank.client.getAccountBalances(accountFilter(id, fields));
        expect(await ask(1), balances);
        const ofCredits = backwards(balances.filter((_, at) => at % 2 === 1));
        expect(await ask(1, { flags: credits | reversed, limit: 7 }), ofCredits.slice(0, 7));
        const withKey = balances.filter((_, at) => stock[at].user_data_64 === 5n && stock[at].code === 2);
        expect(await ask(1, { user_data_64: 5n, code: 2 }), withKey);
        const within = { timestamp_min: stock[400].timestamp, timestamp_max: stock[449].timestamp };
        expect(await ask(1, within), balances.slice(400, 450));
        // Account 2 was created without history.
        expect(await ask(2), []);
        expect(await ask(3), []);
    },

    'account balances of two phases': async (server) => {
        const bank = new Bank(server);
        await bank.open([1]);
        await bank.open([2], HISTORY);
        const reserves = [pending(101, 1, 2, 10), pending(102, 1, 2, 20)];
        await bank.move(...reserves, post(103, 101, 4), voided(104, 102), transfer(105, 2, 1, 1));
        const balances = await bank.client.getAccountBalances(accountFilter(2));
        expect(
            balances.map((one) => [one.debits_pending, one.debits_posted, one.credits_pending, one.credits_posted]),
            [
                [0n, 0n, 10n, 0n],
                [0n, 0n, 30n, 0n],
                [0n, 0n, 20n, 4n],
                [0n, 0n, 0n, 4n],
                [0n, 1n, 0n, 4n],
            ],
        );
        expect(timestamps(balances), timestamps(bank.results));
        expect(timestamps(balances), timestamps(await bank.client.getAccountTransfers(accountFilter(2))));
    },

    'transfers by every field': async (server) => {
        const bank = new Bank(server);
        const stock = await stocked(bank);
        await bank.open([3, 4], { ledger: 2 });
        const other = transfer(1, 3, 4, 7, { ledger: 2, ...keys(2) });
        await bank.move(other);
        stock.push({ ...other, timestamp: bank.results[0].timestamp });
        for (const fields of FIELDS) {
            for (const ledger of [{}, { ledger: 1 }, { ledger: 2 }, { ledger: 3 }]) {
                const asked = { ...fields, ...ledger };
                const expected = matching(stock, asked);
                expect(await bank.client.queryTransfers(queryFilter(asked)), expected);
                const filter = queryFilter({ ...asked, flags: QueryFlags.reversed });
                expect(await bank.client.queryTransfers(filter), backwards(expected));
            }
        }
    },

    'accounts by every field': async (server) => {
        const bank = new Bank(server);
        const events = range(COUNT).map((at) => account(1 + at, { ledger: 1 + (at % 2), ...keys(at) }));
        const stock = recorded(events, await bank.client.createAccounts(events));
        for (const fields of FIELDS) {
            for (const ledger of [{}, { ledger: 1 }, { ledger: 2 }, { ledger: 3 }]) {
                const asked = { ...fields, ...ledger };
                const expected = matching(stock, asked);
                expect(await bank.client.queryAccounts(queryFilter(asked)), expected);
                const filter = queryFilter({ ...asked, flags: QueryFlags.reversed, limit: 9 });
                expect(await bank.client.queryAccounts(filter), backwards(expected).slice(0, 9));
            }
        }
        const ask = (bounds) => bank.client.queryAccounts(queryFilter({ limit: PAGE, ...bounds }));
        expect((await pages(ask, false)).flat(), stock);
    },

    'pages in both directions': async (server) => {
        const bank = new Bank(server);
        const { client } = bank;
        const stock = await stocked(bank);
        for (const isReversed of [false, true]) {
            const order = isReversed ? backwards(stock) : stock;
            const sides = debits | credits | (isReversed ? reversed : 0);
            const flags = isReversed ? QueryFlags.reversed : QueryFlags.none;
            const ofAccount = (id, bounds) => accountFilter(id, { limit: PAGE, flags: sides, ...bounds });
            const ofAll = (bounds) => queryFilter({ limit: PAGE, flags, ...bounds });
            const lists = [
                [(bounds) => client.getAccountTransfers(ofAccount(2, bounds)), order],
                [(bounds) => client.queryTransfers(ofAll(bounds)), order],
                [(bounds) => client.queryTransfers(ofAll({ code: 3, ...bounds })), matching(order, { code: 3 })],
            ];
            for (const [ask, expected] of lists) {
                const all = await pages(ask, isReversed);
                expect(all.flat(), expected);
                assert.ok(all.slice(0, -1).every((page) => page.length === PAGE));
            }
            const balances = await pages((bounds) => client.getAccountBalances(ofAccount(1, bounds)), isReversed);
            expect(timestamps(balances.flat()), timestamps(order));
        }
    },

    'bounds of time are inclusive': async (server) => {
        const bank = new Bank(server);
        const stock = await stocked(bank);
        const [first, last] = [stock[10].timestamp, stock[20].timestamp];
        const ranges = [
            [first, last, stock.slice(10, 21)],
            [first + 1n, last - 1n, stock.slice(11, 20)],
            [first, first, stock.slice(10, 11)],
            [0n, last, stock.slice(0, 21)],
            [first, 0n, stock.slice(10)],
            [stock.at(-1).timestamp + 1n, 0n, []],
        ];
        for (const [least, most, expected] of ranges) {
            const within = { timestamp_min: least, timestamp_max: most };
            expect(await bank.client.getAccountTransfers(accountFilter(1, within)), expected);
            expect(await bank.client.queryTransfers(queryFilter(within)), expected);
        }
    },

    'invalid filters find nothing': async (server) => {
        const bank = new Bank(server);
        const { client } = bank;
        const wrong = [
            { limit: 0 },
            { timestamp_min: 2n ** 64n - 1n },
            { timestamp_max: 2n ** 64n - 1n },
            { timestamp_min: 2n, timestamp_max: 1n },
            { flags: 0xffff },
            { flags: 2 ** 31 },
        ];
        await bank.open([1, 2], HISTORY);
        await bank.move(transfer(101, 1, 2, 5));
        const wrongOfAccount = [{ account_id: 0n }, { account_id: ID_MAX }, { flags: 0 }, { flags: reversed }];
        for (const fields of [...wrong, ...wrongOfAccount]) {
            expect(await client.getAccountTransfers(accountFilter(1, fields)), []);
            expect(await client.getAccountBalances(accountFilter(1, fields)), []);
        }
        for (const fields of wrong) {
            expect(await client.queryAccounts(queryFilter(fields)), []);
            expect(await client.queryTransfers(queryFilter(fields)), []);
        }
        // The same filters without the fault find something.
        expect((await client.getAccountTransfers(accountFilter(1))).length, 1);
        expect((await client.getAccountBalances(accountFilter(1))).length, 1);
        expect((await client.queryAccounts(queryFilter())).length, 2);
        expect((await client.queryTransfers(queryFilter())).length, 1);
    },
};
