"""Clients that the server does not serve, and what they hear of it."""

import asyncio
import os
import subprocess
import sys

import tigerbeetle as tb
from ledger import Bank, account, created, expect

# What a client of an old release does: it calls, and says how the call ended.
OLD_RELEASE = """
import sys, tigerbeetle as tb
with tb.ClientSync(cluster_id=0, replica_addresses=sys.argv[1]) as client:
    try:
        print(client.lookup_accounts([1]))
    except Exception as error:
        print(error)
"""


def a_release_that_is_too_old_hears_so(server):
    with Bank(server) as bank:
        environment = {**os.environ, "PYTHONPATH": os.environ["OLD_RELEASE"]}
        heard = subprocess.run(
            [sys.executable, "-c", OLD_RELEASE, server.address],
            env=environment,
            stdout=subprocess.PIPE,
            timeout=20,
        )
        expect((heard.returncode, "CLIENT_RELEASE_TOO_LOW" in heard.stdout.decode()), (0, True), heard.stdout)
        bank.open(1)


def a_client_of_another_cluster_is_not_served(server):
    async def run():
        client = tb.ClientAsync(cluster_id=1, replica_addresses=server.address)
        call = asyncio.ensure_future(client.lookup_accounts([1]))
        await asyncio.wait([call], timeout=2)
        assert not call.done(), call
        async with tb.ClientAsync(cluster_id=0, replica_addresses=server.address) as other:
            created(await other.create_accounts([account(1)]))
        await client.close()
        try:
            await call
        except tb.ClientClosedError:
            return
        raise AssertionError("a call to another cluster was answered")

    asyncio.run(run())


def a_client_whose_session_is_gone_hears_so(server):
    with Bank(server) as bank:
        bank.open(1)
        server.kill()
        server.wipe()
        server.start()
        # The call that meets the eviction says so; after it the client is closed.
        for outcome in [tb.ClientEvictedError, tb.ClientClosedError]:
            try:
                bank.client.lookup_accounts([1])
            except outcome:
                continue
            raise AssertionError("a session that the server does not know was served")
    with Bank(server) as bank:
        bank.open(1)
