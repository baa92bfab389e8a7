"""Batches: full ones, empty ones, and many small ones that the client packs into one request."""

import asyncio
import threading

import tigerbeetle as tb
from ledger import (
    BATCH_MAX,
    Bank,
    account,
    account_filter,
    check_results,
    created,
    expect,
    names,
    query_filter,
    transfer,
)
from tigerbeetle import AccountFlags, TransferFlags


def _in_threads(count, work):
    """Runs the work in that many threads; raises the first failure."""
    failures = []

    def run(at):
        try:
            work(at)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(at,), daemon=True) for at in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def full_batches(server):
    with Bank(server) as bank:
        accounts = [account(1 + at) for at in range(BATCH_MAX)]
        results = bank.client.create_accounts(accounts)
        created(results)
        check_results(accounts, results)
        found = bank.client.lookup_accounts([one.id for one in accounts])
        expect([one.id for one in found], [one.id for one in accounts])
        expect([one.timestamp for one in found], [result.timestamp for result in results])

        transfers = [transfer(10_000 + at, 1 + at, 1 + (at + 1) % BATCH_MAX, 1 + at) for at in range(BATCH_MAX)]
        results = bank.client.create_transfers(transfers)
        created(results)
        check_results(transfers, results)
        found = bank.client.lookup_transfers([one.id for one in transfers])
        expect([(one.id, one.amount) for one in found], [(one.id, one.amount) for one in transfers])
        expect([one.timestamp for one in found], [result.timestamp for result in results])
        expect(len(bank.client.query_transfers(query_filter())), BATCH_MAX)
        expect(len(bank.client.query_accounts(query_filter())), BATCH_MAX)

        results = bank.client.create_transfers(transfers)
        expect(set(names(results)), {"exists"})
        expect([result.timestamp for result in results], [one.timestamp for one in found])
        expect(bank.balances(2), (0, 2, 0, 1))


def more_than_a_full_batch_never_leaves_the_client(server):
    with Bank(server) as bank:
        for ask in [
            lambda: bank.client.create_accounts([account(1)] * (BATCH_MAX + 1)),
            lambda: bank.client.create_transfers([transfer(1, 1, 2, 1)] * (BATCH_MAX + 1)),
            lambda: bank.client.lookup_accounts([1] * (BATCH_MAX + 1)),
            lambda: bank.client.query_transfers(query_filter(limit=BATCH_MAX + 1)),
        ]:
            try:
                ask()
            except tb.TooMuchDataError:
                continue
            raise AssertionError("too much data was accepted")
        expect(bank.client.lookup_accounts([1]), [])


def empty_batches(server):
    with Bank(server) as bank:
        expect(bank.client.create_accounts([]), [])
        expect(bank.client.create_transfers([]), [])
        expect(bank.client.lookup_accounts([]), [])
        expect(bank.client.lookup_transfers([]), [])
        bank.open(1)


def single_events_from_many_threads(server):
    threads, rounds = 16, 40
    with Bank(server) as bank:
        bank.open(1, 2)

        def work(thread):
            for at in range(rounds):
                event = transfer(1 + thread * rounds + at, 1, 2, 1 + at)
                results = bank.client.create_transfers([event])
                created(results)
                [found] = bank.client.lookup_transfers([event.id])
                expect((found.id, found.amount, found.timestamp), (event.id, event.amount, results[0].timestamp))

        _in_threads(threads, work)
        expect(bank.balances(1), (0, threads * sum(range(1, rounds + 1)), 0, 0))


def single_events_of_the_async_client(server):
    count = 600

    async def run():
        async with tb.ClientAsync(cluster_id=0, replica_addresses=server.address) as client:
            created(await client.create_accounts([account(1), account(2)]))
            events = [transfer(100 + at, 1, 2, at) for at in range(count)]
            # Each event twice: exactly one of the two creates it.
            answers = await asyncio.gather(*[client.create_transfers([event]) for event in events + events])
            first, again = answers[:count], answers[count:]
            times = [results[0].timestamp for results in first]
            expect(len(set(times)), count)
            for one, other in zip(first, again):
                expect(sorted(names(one) + names(other)), ["created", "exists"])
                expect(one[0].timestamp, other[0].timestamp)
            lookups = await asyncio.gather(*[client.lookup_transfers([event.id]) for event in events])
            expect([found.timestamp for [found] in lookups], times)
            expect([found.amount for [found] in lookups], list(range(count)))
            [debited] = await client.lookup_accounts([1])
            expect(debited.debits_posted, sum(range(count)))

    asyncio.run(run())


def calls_of_all_kinds_at_once(server):
    async def run():
        async with tb.ClientAsync(cluster_id=0, replica_addresses=server.address) as client:
            created(await client.create_accounts([account(1, flags=AccountFlags.HISTORY), account(2)]))
            stock = [transfer(1000 + at, 1, 2, 1) for at in range(50)]
            created(await client.create_transfers(stock))

            async def new_account(at):
                created(await client.create_accounts([account(100 + at)]))

            async def new_transfers(at):
                # Calls of different sizes, some of them empty.
                events = [transfer(10_000 + 10 * at + one, 2, 1, 1) for one in range(at % 4)]
                created(await client.create_transfers(events))

            async def refused(at):
                expect(names(await client.create_transfers([transfer(0, 1, 2, 1)])), ["id_must_not_be_zero"])

            async def nothing_there(at):
                expect(await client.lookup_accounts([10**9 + at]), [])

            async def some_there(at):
                found = await client.lookup_transfers([1000 + at % 50, 999, 1000])
                expect([one.id for one in found], [1000 + at % 50, 1000])

            async def account_transfers(at):
                found = await client.get_account_transfers(account_filter(1, limit=1 + at % 20))
                expect([one.id for one in found], [1000 + one for one in range(1 + at % 20)])

            async def account_balances(at):
                found = await client.get_account_balances(account_filter(1 + at % 2, limit=1 + at % 20))
                expected = [1 + one for one in range(1 + at % 20)] if at % 2 == 0 else []
                expect([one.debits_posted for one in found], expected)

            async def queried(at):
                found = await client.query_transfers(query_filter(limit=at % 5))
                expect([one.id for one in found], [1000 + one for one in range(at % 5)])
                found = await client.query_accounts(query_filter(limit=1 + at % 2))
                expect([one.id for one in found], [1, 2][: 1 + at % 2])

            kinds = [
                new_account,
                new_transfers,
                refused,
                nothing_there,
                some_there,
                account_transfers,
                account_balances,
                queried,
            ]
            await asyncio.gather(*[kind(at) for at in range(80) for kind in kinds])

    asyncio.run(run())


def a_chain_ends_with_its_call(server):
    count = 300

    async def run():
        async with tb.ClientAsync(cluster_id=0, replica_addresses=server.address) as client:
            created(await client.create_accounts([account(1), account(2)]))
            linked = TransferFlags.LINKED
            calls, expected = [], []
            for at in range(count):
                id = 1000 + 10 * at
                calls.append([transfer(id, 1, 2, 1, flags=linked)])
                expected.append(["linked_event_chain_open"])
                calls.append([transfer(id + 1, 1, 2, 1)])
                expected.append(["created"])
                calls.append([transfer(id + 2, 1, 2, 1, flags=linked), transfer(id + 3, 1, 2, 1, code=0)])
                expected.append(["linked_event_failed", "code_must_not_be_zero"])
                calls.append([transfer(id + 4, 1, 2, 1, flags=linked), transfer(id + 5, 2, 1, 1)])
                expected.append(["created", "created"])
            answers = await asyncio.gather(*[client.create_transfers(call) for call in calls])
            expect([names(results) for results in answers], expected)
            [debited] = await client.lookup_accounts([1])
            expect((debited.debits_posted, debited.credits_posted), (2 * count, count))

    asyncio.run(run())


def an_imported_call_together_with_others(server):
    count = 100

    async def run():
        async with tb.ClientAsync(cluster_id=0, replica_addresses=server.address) as client:
            imported = AccountFlags.IMPORTED
            calls, expected = [], []
            for at in range(count):
                calls.append([account(1 + at)])
                expected.append(["created"])
                calls.append([account(1000 + at), account(2000 + at, flags=imported, timestamp=1000)])
                expected.append(["created", "imported_event_not_expected"])
                calls.append([account(3000 + at, flags=imported, timestamp=0), account(4000 + at)])
                expected.append(["imported_event_timestamp_out_of_range", "imported_event_expected"])
            answers = await asyncio.gather(*[client.create_accounts(call) for call in calls])
            expect([names(results) for results in answers], expected)

    asyncio.run(run())
