// Runs the cases: each in its own process, with its own server and a time limit.
//
// The official client answers some mistakes of a server by waiting for ever, others by aborting its process.
// So a case never runs in this process. Its process leads a process group that includes its servers. When the
// case has ended, for any reason, the group is killed and its folder removed.
//
// usage: suite.js PROGRAM [WORD...]      every case, or those whose name contains a word
//        suite.js --case MODULE NAME PROGRAM FOLDER      one case, in this process
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

// Modules with the longest waits come first.
const MODULES = [
    'restart',
    'official',
    'accounts',
    'transfers',
    'two_phase',
    'chains',
    'imported',
    'reading',
    'batches',
    'clients',
    'protocols',
    'evictions',
];

// Seconds after which a case is killed.
const LIMIT = 60;
// Limit of the output of a failed case, in characters.
const OUTPUT_MAX = 12000;
const JOBS = Number(process.env.JOBS ?? 4);
// The engine of the three nodes that each case has when it is set; a case has one node when it is not.
const { ENGINE } = process.env;

const casesOf = (module) => require(path.join(__dirname, 'cases', module)).cases;

// The running cases: the leaders of their process groups, and their folders.
const groups = new Set();
const folders = new Set();

function endGroup(group) {
    try {
        process.kill(-group, 'SIGKILL');
    } catch (error) {
        if (error.code !== 'ESRCH') throw error;
    }
}

// Empty if the case passed, otherwise how its process ended.
function runIn(folder, module, name, program) {
    return new Promise((resolve) => {
        const output = fs.openSync(path.join(folder, 'case'), 'w');
        const child = spawn(process.execPath, [__filename, '--case', module, name, program, folder], {
            detached: true,
            stdio: ['ignore', output, output],
        });
        fs.closeSync(output);
        const group = child.pid;
        groups.add(group);
        let isLate = false;
        const timer = setTimeout(() => {
            isLate = true;
            endGroup(group);
        }, LIMIT * 1000);
        child.on('exit', (code, signal) => {
            clearTimeout(timer);
            groups.delete(group);
            endGroup(group);
            if (isLate) resolve(`not ended after ${LIMIT} s`);
            else if (signal) resolve(`ended by signal ${signal}`);
            else resolve(code === 0 ? '' : `exit code ${code}`);
        });
    });
}

// Runs one case and prints a line about it; true if it passed.
async function run(module, name, program) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bezant-compat-'));
    folders.add(folder);
    const begin = Date.now();
    const outcome = await runIn(folder, module, name, program);
    let output = fs.readFileSync(path.join(folder, 'case'), 'utf8');
    for (const at of outcome ? ['.', '1', '2', '3'] : []) {
        const log = path.join(folder, at, 'err');
        if (!fs.existsSync(log)) continue;
        output += `--- the end of the server's log\n${fs.readFileSync(log, 'utf8').slice(-4000)}`;
    }
    fs.rmSync(folder, { recursive: true, force: true });
    folders.delete(folder);
    const seconds = ((Date.now() - begin) / 1000).toFixed(1);
    console.log(`${outcome ? 'FAILED' : 'ok    '} ${seconds.padStart(5)} s  ${module}: ${name}`);
    // The difference of long lists is described at the beginning of the output.
    if (output.length > OUTPUT_MAX) {
        output = `${output.slice(0, OUTPUT_MAX / 2)}\n...\n${output.slice(-OUTPUT_MAX / 2)}`;
    }
    if (outcome) console.log(`    ${`${outcome}\n${output}`.trim().replaceAll('\n', '\n    ')}`);
    return outcome === '';
}

// Kills all running cases.
function stop() {
    groups.forEach(endGroup);
    for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
    process.exit(130);
}

async function runAll(program, words) {
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    const chosen = MODULES.flatMap((module) => Object.keys(casesOf(module)).map((name) => [module, name])).filter(
        ([module, name]) => words.length === 0 || words.some((word) => `${module}: ${name}`.includes(word)),
    );
    const waiting = [...chosen];
    let passed = 0;
    const work = async () => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
            if (await run(...next, program)) passed += 1;
        }
    };
    await Promise.all(Array.from({ length: JOBS }, work));
    console.log(`${passed} passed, ${chosen.length - passed} failed`);
    process.exitCode = chosen.length > 0 && passed === chosen.length ? 0 : 1;
}

async function runOne(module, name, program, folder) {
    const { Cluster, Server } = require('./server');
    const server = ENGINE ? await Cluster.at(program, folder, ENGINE) : new Server(program, folder);
    await server.start();
    await casesOf(module)[name](server);
    await server.finish();
}

if (process.argv[2] === '--case') {
    runOne(...process.argv.slice(3)).then(
        // Does not wait for what a case left running on purpose.
        () => process.exit(0),
        (error) => {
            console.error(error);
            process.exit(1);
        },
    );
} else {
    runAll(process.argv[2], process.argv.slice(3));
}
