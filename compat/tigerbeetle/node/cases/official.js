// The tests in the client's own package, unchanged.
'use strict';

const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');
const { expect } = require('../ledger');

exports.cases = {
    'the tests of the client itself': async (server) => {
        const tests = path.join(path.dirname(require.resolve('tigerbeetle-node')), 'test.js');
        const env = { ...process.env, TB_ADDRESS: server.address };
        const { stdout } = await promisify(execFile)(process.execPath, [tests], { env, timeout: 50_000 });
        const outcomes = stdout.split('\n').filter((line) => /: (PASSED|FAILED|SKIPPED)$/.test(line));
        expect(outcomes.length, 27, stdout);
        expect(
            outcomes.filter((line) => !line.endsWith('PASSED')),
            [],
        );
    },
};
