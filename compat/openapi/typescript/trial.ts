// Runs openapi-fetch with the types that openapi-typescript generates against a server: usage node trial.js URL.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Transfer = components["schemas"]["TransferReply"];

const pastDouble = String(2n ** 53n + 1n);
const max32 = 2 ** 32 - 1;
const max64 = String(2n ** 64n - 1n);
const max128 = String(2n ** 128n - 1n);
const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

async function accounts(): Promise<void> {
  const { data: created, response } = await client.POST("/v1/accounts", {
    body: {
      name: "typescript:alice", asset: "EUR", code: 1, bounds: { minimum: `-${max64}` },
      user_data_128: max128, user_data_64: max64, user_data_32: max32,
    },
  });
  assert.equal(response.status, 201);
  assert(created && "status" in created);
  assert.equal(created.status_code, max32);
  const { data: batch } = await client.POST("/v1/accounts", {
    body: ["bob", "carol"].map((name) => ({ name: `typescript:${name}`, asset: "EUR", code: 1 })),
  });
  assert(batch && "results" in batch);
  assert.deepEqual([batch.created, batch.refused, batch.results.length], [2, 0, 2]);
  const { data: alice } = await client.GET("/v1/accounts/{account}", {
    params: { path: { account: "typescript:alice" } },
  });
  assert(alice);
  assert.deepEqual([alice.id, alice.ledger], [created.id, 978]);
  assert.deepEqual([alice.user_data_128, alice.user_data_64, alice.user_data_32], [max128, max64, max32]);
  assert.deepEqual(alice.bounds, { minimum: `-${max64}`, maximum: null });
}

async function payments(): Promise<void> {
  const pay = async (amount: string, key?: string) => {
    const { data } = await client.POST("/v1/transfers", {
      params: { header: key === undefined ? {} : { "Idempotency-Key": key } },
      body: {
        debit_account: "typescript:alice", credit_account: "typescript:bob", amount, asset: "EUR", code: 1,
      },
    });
    assert(data && "status" in data);
    return data;
  };
  const first = await pay(pastDouble, "typescript-1");
  assert.equal(first.status, "created");
  const again = await pay(pastDouble, "typescript-1");
  assert.deepEqual([again.status, again.id, again.timestamp], ["exists", first.id, first.timestamp]);
  for (const amount of ["1", "2", "3", "4"]) await pay(amount);
  const { data: transfer } = await client.GET("/v1/transfers/{id}", { params: { path: { id: first.id } } });
  assert.equal(transfer?.amount, pastDouble);
}

async function pages(): Promise<void> {
  const transfers: Transfer[] = [];
  let cursor: string | null = null;
  do {
    const query: { limit: number; cursor?: string } = cursor === null ? { limit: 2 } : { limit: 2, cursor };
    const { data: page } = await client.GET("/v1/accounts/{account}/transfers", {
      params: { path: { account: "typescript:bob" }, query },
    });
    assert(page);
    transfers.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null);
  assert.deepEqual(transfers.map((transfer) => transfer.amount), [pastDouble, "1", "2", "3", "4"]);
  const { data: events } = await client.GET("/v1/events", { params: { query: { from: "start", limit: 1 } } });
  assert.equal(events?.items[0]?.number, 0);
  assert.equal(events?.items[0]?.position, events?.next);
}

async function errors(): Promise<void> {
  const { error: missing } = await client.GET("/v1/accounts/{account}", {
    params: { path: { account: "typescript:unknown" } },
  });
  assert.deepEqual([missing?.status, missing?.code], [404, "account_not_found"]);
  const { error: refused } = await client.POST("/v1/transfers", {
    body: {
      debit_account: "typescript:alice", credit_account: "typescript:bob", amount: max64, asset: "EUR", code: 1,
    },
  });
  assert.deepEqual([refused?.status, refused?.code], [422, "balance_out_of_bounds"]);
  assert.equal(refused?.event?.status, refused?.code);
}

for (const run of [accounts, payments, pages, errors]) await run();
