// Short constructors of accounts and transfers, and a client that checks in every answer what must always
// hold.
//
// Statuses are compared by the names that the client gives them: `created`, `exists`. So a case that expects
// a name also expects its number.
'use strict';

const assert = require('node:assert');
const tb = require('tigerbeetle-node');

const AMOUNT_MAX = tb.amount_max;
const ID_MAX = 2n ** 128n - 1n;
const BATCH_MAX = 8189;
const SECOND = 1_000_000_000n;

const expect = assert.deepStrictEqual;

// The integers from 0 to below the count.
const range = (count) => Array.from({ length: count }, (_, at) => at);

function account(id, fields = {}) {
    return {
        id: BigInt(id),
        debits_pending: 0n,
        debits_posted: 0n,
        credits_pending: 0n,
        credits_posted: 0n,
        user_data_128: 0n,
        user_data_64: 0n,
        user_data_32: 0,
        reserved: 0,
        ledger: 1,
        code: 1,
        flags: 0,
        timestamp: 0n,
        ...fields,
    };
}

function transfer(id, debit, credit, amount, fields = {}) {
    return {
        id: BigInt(id),
        debit_account_id: BigInt(debit),
        credit_account_id: BigInt(credit),
        amount: BigInt(amount),
        pending_id: 0n,
        user_data_128: 0n,
        user_data_64: 0n,
        user_data_32: 0,
        timeout: 0,
        ledger: 1,
        code: 1,
        flags: 0,
        timestamp: 0n,
        ...fields,
    };
}

// Reserves the amount.
function pending(id, debit, credit, amount, { flags = 0, ...fields } = {}) {
    return transfer(id, debit, credit, amount, { flags: tb.TransferFlags.pending | flags, ...fields });
}

// Posts a pending transfer; all of it unless an amount is given, with its other fields empty.
function post(id, pendingId, amount = AMOUNT_MAX, fields = {}) {
    const flags = tb.TransferFlags.post_pending_transfer;
    return transfer(id, 0, 0, amount, { pending_id: BigInt(pendingId), flags, ledger: 0, code: 0, ...fields });
}

// Voids a pending transfer, with its other fields empty.
function voided(id, pendingId, amount = 0, fields = {}) {
    const flags = tb.TransferFlags.void_pending_transfer;
    return transfer(id, 0, 0, amount, { pending_id: BigInt(pendingId), flags, ledger: 0, code: 0, ...fields });
}

// The fields that both kinds of filters have: oldest first, as many as one answer carries.
const ANYTHING = {
    user_data_128: 0n,
    user_data_64: 0n,
    user_data_32: 0,
    code: 0,
    timestamp_min: 0n,
    timestamp_max: 0n,
    limit: BATCH_MAX,
};

// Both sides of an account, unless the fields differ.
function accountFilter(id, fields = {}) {
    const flags = tb.AccountFilterFlags.debits | tb.AccountFilterFlags.credits;
    return { ...ANYTHING, account_id: BigInt(id), flags, ...fields };
}

// Everything, unless the fields differ.
function queryFilter(fields = {}) {
    return { ...ANYTHING, ledger: 0, flags: tb.QueryFilterFlags.none, ...fields };
}

const nameIn = (statuses) => (result) => statuses[result.status] ?? `status ${result.status}`;
const accountNames = (results) => results.map(nameIn(tb.CreateAccountStatus));
const transferNames = (results) => results.map(nameIn(tb.CreateTransferStatus));

// Checks that all were created.
function created(results) {
    const others = results.map((result, at) => [at, result.status]).filter(([, status]) => status !== 0xffffffff);
    expect(others.slice(0, 20), [], `of ${results.length} events, not created`);
}

// Checks that each event has a result, and that timestamps are above 0 and grow where the server sets them.
// Returns the last of those.
function checkResults(events, results, names, importedFlag, after = 0n) {
    assert.strictEqual(results.length, events.length, 'a result for each event');
    results.forEach(({ timestamp }, at) => {
        assert.ok(timestamp > 0n, `${timestamp}`);
        if ((events[at].flags & importedFlag) === 0 && names[at] !== 'exists') {
            assert.ok(timestamp > after, `timestamps must grow: ${timestamp} after ${after}`);
            after = timestamp;
        }
    });
    return after;
}

const connect = (server) => {
    const client = tb.createClient({ cluster_id: 0n, replica_addresses: [server.address] });
    server.clients.push(client);
    return client;
};

// A client for one call after the other. Returns the names of the statuses, and keeps the results of the last
// call.
class Bank {
    constructor(server) {
        this.client = connect(server);
        this.results = [];
        this.lastTimestamp = 0n;
    }

    async accounts(...events) {
        const results = await this.client.createAccounts(events);
        return this.#keep(events, results, accountNames(results), tb.AccountFlags.imported);
    }

    async transfers(...events) {
        const results = await this.client.createTransfers(events);
        return this.#keep(events, results, transferNames(results), tb.TransferFlags.imported);
    }

    // Creates accounts that differ only in their ids.
    async open(ids, fields = {}) {
        const events = ids.map((id) => account(id, fields));
        expect(await this.accounts(...events), events.map(() => 'created'));
    }

    // Creates transfers; all must succeed.
    async move(...events) {
        expect(await this.transfers(...events), events.map(() => 'created'));
    }

    async account(id) {
        const found = await this.client.lookupAccounts([BigInt(id)]);
        assert.strictEqual(found.length, 1);
        return found[0];
    }

    async transfer(id) {
        const found = await this.client.lookupTransfers([BigInt(id)]);
        assert.strictEqual(found.length, 1);
        return found[0];
    }

    // Debits pending, debits posted, credits pending, credits posted.
    async balances(id) {
        const found = await this.account(id);
        return [found.debits_pending, found.debits_posted, found.credits_pending, found.credits_posted];
    }

    #keep(events, results, names, importedFlag) {
        this.lastTimestamp = checkResults(events, results, names, importedFlag, this.lastTimestamp);
        this.results = results;
        return names;
    }
}

module.exports = {
    AMOUNT_MAX,
    BATCH_MAX,
    Bank,
    ID_MAX,
    SECOND,
    account,
    accountFilter,
    accountNames,
    checkResults,
    connect,
    created,
    expect,
    pending,
    post,
    queryFilter,
    range,
    tb,
    transfer,
    transferNames,
    voided,
};
