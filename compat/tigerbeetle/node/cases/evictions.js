// Clients that the server does not serve, and the errors that they receive.
'use strict';

const assert = require('node:assert');
const { execFile } = require('node:child_process');
const { promisify } = require('node:util');
const { Bank, expect, tb } = require('../ledger');
const { sleep } = require('../server');

// The program of a client of an old release: it makes a call, and prints how the call ended.
const OLD_RELEASE = `
    const { createClient } = require('tigerbeetle-node-old-release');
    const client = createClient({ cluster_id: 0n, replica_addresses: [process.argv[1]] });
    client.lookupAccounts([1n]).then(
        (found) => console.log('found', found),
        (error) => console.log('heard', error.message),
    ).then(() => client.destroy());
`;

exports.cases = {
    'a release that is too old gets an error': async (server) => {
        const bank = new Bank(server);
        const { stdout } = await promisify(execFile)(process.execPath, ['-e', OLD_RELEASE, server.address], {
            timeout: 20_000,
        });
        assert.match(stdout, /^heard .*release/i);
        await bank.open([1]);
    },

    'a client of another cluster is not served': async (server) => {
        const client = tb.createClient({ cluster_id: 1n, replica_addresses: [server.address] });
        let outcome = 'none yet';
        const call = client.lookupAccounts([1n]).then(
            () => (outcome = 'served'),
            (error) => (outcome = error.code),
        );
        await sleep(2000);
        expect(outcome, 'none yet');
        const bank = new Bank(server);
        await bank.open([1]);
        client.destroy();
        await call;
        expect(outcome, tb.ErrorCodes.ERR_CLIENT_CLOSED);
    },

    'a client without its session gets an error': async (server) => {
        const bank = new Bank(server);
        // Not destroyed at the end of the case: with this client, that aborts the process after an eviction.
        server.clients.pop();
        await bank.open([1]);
        await server.kill();
        server.wipe();
        await server.start();
        // The first call after the eviction returns the error; then the client is closed.
        for (const code of [tb.ErrorCodes.ERR_CLIENT_EVICTED, tb.ErrorCodes.ERR_CLIENT_CLOSED]) {
            await assert.rejects(bank.client.lookupAccounts([1n]), { code });
        }
        await new Bank(server).open([1]);
    },
};
