"""Runs the client that openapi-python-client generates against a server: usage trial.py URL."""

import sys
from typing import TypeVar

from ledger import Client
from ledger.api.accounts import create_accounts, get_account, list_account_transfers
from ledger.api.events import list_events
from ledger.api.transfers import create_transfers, get_transfer
from ledger.models import (
    AccountBody,
    AccountReply,
    BatchReply,
    BoundsBody,
    EventReply,
    EventsPage,
    PageTransferReply,
    Problem,
    TransferBody,
    TransferReply,
)
from ledger.types import UNSET, Unset

PAST_DOUBLE = str(2**53 + 1)
MAX_32 = 2**32 - 1
MAX_64 = str(2**64 - 1)
MAX_128 = str(2**128 - 1)

Kind = TypeVar("Kind")


def of(kind: type[Kind], answer: object) -> Kind:
    """Checks the type of the answer, and returns it."""
    assert isinstance(answer, kind), f"{kind.__name__} was to come, not {answer}"
    return answer


def accounts(client: Client) -> None:
    body = AccountBody(
        name="python:alice",
        asset="EUR",
        code=1,
        bounds=BoundsBody(minimum="-" + MAX_64),
        user_data_128=MAX_128,
        user_data_64=MAX_64,
        user_data_32=MAX_32,
    )
    created = of(EventReply, create_accounts.sync(client=client, body=body))
    assert created.status == "created" and created.status_code == MAX_32, created
    several = [AccountBody(name=f"python:{name}", asset="EUR", code=1) for name in ("bob", "carol")]
    batch = of(BatchReply, create_accounts.sync(client=client, body=several))
    assert (batch.created, batch.refused, len(batch.results)) == (2, 0, 2), batch
    alice = of(AccountReply, get_account.sync(account="python:alice", client=client))
    assert alice.id == created.id and alice.ledger == 978, alice
    keys = (alice.user_data_128, alice.user_data_64, alice.user_data_32)
    assert keys == (MAX_128, MAX_64, MAX_32), keys
    assert (alice.bounds.minimum, alice.bounds.maximum) == ("-" + MAX_64, None), alice.bounds


def payments(client: Client) -> None:
    def pay(amount: str, key: str | Unset = UNSET) -> EventReply:
        body = TransferBody(
            debit_account="python:alice", credit_account="python:bob", amount=amount, asset="EUR", code=1
        )
        return of(EventReply, create_transfers.sync(client=client, body=body, idempotency_key=key))

    first = pay(PAST_DOUBLE, "python-1")
    assert first.status == "created", first
    again = pay(PAST_DOUBLE, "python-1")
    assert (again.status, again.id, again.timestamp) == ("exists", first.id, first.timestamp), again
    for amount in ("1", "2", "3", "4"):
        pay(amount)
    transfer = of(TransferReply, get_transfer.sync(id=first.id, client=client))
    assert transfer.amount == PAST_DOUBLE and transfer.user_data_64 == "0", transfer


def pages(client: Client) -> None:
    amounts: list[str] = []
    cursor: str | Unset = UNSET
    while True:
        page = of(
            PageTransferReply,
            list_account_transfers.sync(account="python:bob", client=client, limit=2, cursor=cursor),
        )
        amounts += [transfer.amount for transfer in page.items]
        if page.next_cursor is None or isinstance(page.next_cursor, Unset):
            break
        cursor = page.next_cursor
    assert amounts == [PAST_DOUBLE, "1", "2", "3", "4"], amounts
    events = of(EventsPage, list_events.sync(client=client, from_="start", limit=1))
    assert events.items[0].number == 0 and events.items[0].position == events.next_, events
    following = of(EventsPage, list_events.sync(client=client, from_=events.next_, limit=1))
    assert following.items[0].number == 1, following


def errors(client: Client) -> None:
    missing = of(Problem, get_account.sync(account="python:unknown", client=client))
    assert (missing.status, missing.code) == (404, "account_not_found"), missing
    body = TransferBody(
        debit_account="python:alice", credit_account="python:bob", amount=MAX_64, asset="EUR", code=1
    )
    refused = of(Problem, create_transfers.sync(client=client, body=body))
    assert (refused.status, refused.code) == (422, "balance_out_of_bounds"), refused
    assert isinstance(refused.event, EventReply) and refused.event.status == refused.code, refused


def main() -> None:
    client = Client(base_url=sys.argv[1])
    for case in (accounts, payments, pages, errors):
        case(client)


main()
