"""Several clients of one server, in one process and in several; clients closed while their calls are in flight."""

import asyncio
import json
import os
import pathlib
import random
import subprocess
import sys
import threading

import tigerbeetle as tb
from ledger import Bank, account, created, expect, transfer

ACCOUNTS = 10


def _pay(address, client_at, calls):
    """Makes transfers between all accounts, in calls of different sizes; returns the sum that was moved."""
    generator = random.Random(client_at)
    moved = 0
    with tb.ClientSync(cluster_id=0, replica_addresses=address) as client:
        for call in range(calls):
            events = []
            for at in range(generator.randint(1, 20)):
                debit, credit = generator.sample(range(1, ACCOUNTS + 1), 2)
                id = (client_at + 1) << 64 | call << 32 | at + 1
                events.append(transfer(id, debit, credit, generator.randint(1, 1000)))
            created(client.create_transfers(events))
            moved += sum(event.amount for event in events)
            found = client.lookup_transfers([event.id for event in events])
            expect([one.amount for one in found], [event.amount for event in events])
    return moved


def _expect_books(bank, moved):
    accounts = bank.client.lookup_accounts(list(range(1, ACCOUNTS + 1)))
    expect(sum(one.debits_posted for one in accounts), moved)
    expect(sum(one.credits_posted for one in accounts), moved)


def eight_clients_in_one_process(server):
    with Bank(server) as bank:
        bank.open(*range(1, ACCOUNTS + 1))
        moved = []
        threads = [
            threading.Thread(target=lambda at=at: moved.append(_pay(server.address, at, 60)), daemon=True)
            for at in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(len(moved), 8)
        _expect_books(bank, sum(moved))


def four_processes(server):
    with Bank(server) as bank:
        bank.open(*range(1, ACCOUNTS + 1))
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, server.address, str(at)], env=environment, stdout=subprocess.PIPE
            )
            for at in range(4)
        ]
        moved = [json.loads(process.communicate()[0]) for process in processes]
        expect([process.returncode for process in processes], [0] * 4)
        _expect_books(bank, sum(moved))


def clients_closed_while_calls_are_in_flight(server):
    async def run():
        staying = tb.ClientAsync(cluster_id=0, replica_addresses=server.address)
        leaving = [tb.ClientAsync(cluster_id=0, replica_addresses=server.address) for _ in range(4)]
        created(await staying.create_accounts([account(1), account(2)]))

        async def call(client, id):
            try:
                created(await client.create_transfers([transfer(id, 1, 2, 1)]))
            except tb.ClientClosedError:
                return "closed"
            return "created"

        calls = [asyncio.ensure_future(call(leaving[at % 4], 100 + at)) for at in range(400)]
        await asyncio.gather(*calls[:4])
        more = [asyncio.ensure_future(call(leaving[at % 4], 1000 + at)) for at in range(400)]
        await asyncio.sleep(0)
        await asyncio.gather(*[client.close() for client in leaving])
        outcomes = await asyncio.gather(*calls, *more)
        # A call that ended because its client was closed may have been carried out or not; the others were.
        ids = [100 + at for at in range(400)] + [1000 + at for at in range(400)]
        found = {one.id for one in await staying.lookup_transfers(ids)}
        for id, outcome in zip(ids, outcomes):
            assert outcome == "closed" or id in found, id
        [debited] = await staying.lookup_accounts([1])
        expect(debited.debits_posted, len(found))
        await staying.close()

    asyncio.run(run())


if __name__ == "__main__":
    print(_pay(sys.argv[1], int(sys.argv[2]), 60))
