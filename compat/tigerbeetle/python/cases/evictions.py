"""Clients that the server does not serve, and the errors that they receive."""

import asyncio
import os
import subprocess
import sys

import tigerbeetle as tb
from ledger import Bank, account, created, expect

# The program of a client of an old release: it makes a call, and prints how the call ended.
OLD_RELEASE = """
import sys, tigerbeetle as tb
with tb.ClientSync(cluster_id=0, replica_addresses=sys.argv[1]) as client:
    try:
        print(client.lookup_accounts([1]))
    except Exception as error:
        print(error)
"""


def a_release_that_is_too_old_gets_an_error(server):
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


def a_client_without_its_session_gets_an_error(server):
    with Bank(server) as bank:
        bank.open(1)
        server.kill()
        server.wipe()
        server.start()
        # The first call after the eviction returns the error; then the client is closed.
        for outcome in [tb.ClientEvictedError, tb.ClientClosedError]:
            try:
                bank.client.lookup_accounts([1])
            except outcome:
                continue
            raise AssertionError("a session that the server does not have was served")
    with Bank(server) as bank:
        bank.open(1)
