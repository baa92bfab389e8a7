"""Short constructors of accounts and transfers, and a client that checks in every answer what must always hold.

Statuses are compared by the names that the client gives them, in lower case: `created`, `exists`. So a case that
expects a name also expects its number.
"""

import tigerbeetle as tb

AMOUNT_MAX = tb.AMOUNT_MAX
ID_MAX = 2**128 - 1
BATCH_MAX = 8189
SECOND = 1000 * 1000 * 1000

# The fields that both kinds of filters have, without a restriction.
ANYTHING = dict.fromkeys(
    ["user_data_128", "user_data_64", "user_data_32", "code", "timestamp_min", "timestamp_max"], 0
)


def account(id, **fields):
    return tb.Account(**{"id": id, "ledger": 1, "code": 1, **fields})


def transfer(id, debit, credit, amount, **fields):
    sides = {"debit_account_id": debit, "credit_account_id": credit}
    return tb.Transfer(**{"id": id, "amount": amount, "ledger": 1, "code": 1, **sides, **fields})


def pending(id, debit, credit, amount, flags=0, **fields):
    """Reserves the amount."""
    return transfer(id, debit, credit, amount, flags=tb.TransferFlags.PENDING | flags, **fields)


def post(id, pending_id, amount=AMOUNT_MAX, **fields):
    """Posts a pending transfer; all of it unless an amount is given, with its other fields empty."""
    flags = tb.TransferFlags.POST_PENDING_TRANSFER
    return transfer(id, 0, 0, amount, **{"pending_id": pending_id, "flags": flags, "ledger": 0, "code": 0, **fields})


def void(id, pending_id, amount=0, **fields):
    """Voids a pending transfer, with its other fields empty."""
    flags = tb.TransferFlags.VOID_PENDING_TRANSFER
    return transfer(id, 0, 0, amount, **{"pending_id": pending_id, "flags": flags, "ledger": 0, "code": 0, **fields})


def account_filter(account_id, **fields):
    """Both sides of an account, oldest first, as many as one answer carries, unless the fields differ."""
    both = tb.AccountFilterFlags.DEBITS | tb.AccountFilterFlags.CREDITS
    return tb.AccountFilter(**{**ANYTHING, "account_id": account_id, "limit": BATCH_MAX, "flags": both, **fields})


def query_filter(**fields):
    """Everything, oldest first, as many as one answer carries, unless the fields differ."""
    return tb.QueryFilter(**{**ANYTHING, "ledger": 0, "limit": BATCH_MAX, "flags": tb.QueryFilterFlags.NONE, **fields})


def expect(seen, expected, what=""):
    assert seen == expected, "%s\nexpected: %s\nseen:     %s" % (what, expected, seen)


def names(results):
    return [result.status.name.lower() for result in results]


def created(results):
    """Checks that all were created."""
    others = [(at, name) for at, name in enumerate(names(results)) if name != "created"]
    expect(others[:20], [], "of %d events, not created" % len(results))


def check_results(events, results, after=0):
    """Checks that each event has a result, and that timestamps are above 0 and grow where the server sets them.

    Returns the last of those.
    """
    expect(len(results), len(events), "a result for each event")
    for event, result in zip(events, results):
        flags = tb.AccountFlags if isinstance(event, tb.Account) else tb.TransferFlags
        assert result.timestamp > 0, result
        if not event.flags & flags.IMPORTED and result.status.name != "EXISTS":
            assert result.timestamp > after, "timestamps must grow: %s after %d" % (results, after)
            after = result.timestamp
    return after


class Bank:
    """A client for one thread. Returns the names of the statuses, and keeps the results of the last call."""

    def __init__(self, server):
        self.client = tb.ClientSync(cluster_id=0, replica_addresses=server.address)
        self.results = []
        self.last_timestamp = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def accounts(self, *events):
        return self._names(events, self.client.create_accounts(list(events)))

    def transfers(self, *events):
        return self._names(events, self.client.create_transfers(list(events)))

    def open(self, *ids, **fields):
        """Creates accounts that differ only in their ids."""
        created_all = self.accounts(*[account(id, **fields) for id in ids])
        expect(created_all, ["created"] * len(ids))

    def move(self, *events):
        """Creates transfers; all must succeed."""
        expect(self.transfers(*events), ["created"] * len(events))

    def account(self, id):
        [found] = self.client.lookup_accounts([id])
        return found

    def transfer(self, id):
        [found] = self.client.lookup_transfers([id])
        return found

    def balances(self, id):
        """Debits pending, debits posted, credits pending, credits posted."""
        found = self.account(id)
        return (found.debits_pending, found.debits_posted, found.credits_pending, found.credits_posted)

    def _names(self, events, results):
        self.last_timestamp = check_results(events, results, self.last_timestamp)
        self.results = results
        return names(results)
