-- A usual ledger on PostgreSQL: accounts with balances, a row for each transfer, and a function that makes a
-- payment in one call. Amounts are minor units.
create table accounts (
    id bigint primary key,
    ledger integer not null,
    code smallint not null,
    debits_posted bigint not null default 0,
    credits_posted bigint not null default 0
);

create table transfers (
    id bigint primary key,
    debit_account_id bigint not null,
    credit_account_id bigint not null,
    amount bigint not null check (amount >= 0),
    ledger integer not null,
    code smallint not null,
    created_at timestamptz not null default clock_timestamp()
);
create index on transfers (debit_account_id, created_at);
create index on transfers (credit_account_id, created_at);

insert into accounts (id, ledger, code) select id, 1, 1 from generate_series(1, 10000) as id;

-- Both accounts are updated in the order of their ids, so that two payments never deadlock.
create function transfer(new_id bigint, debit bigint, credit bigint, new_amount bigint) returns text
language plpgsql as $$
begin
    insert into transfers (id, debit_account_id, credit_account_id, amount, ledger, code)
        values (new_id, debit, credit, new_amount, 1, 1)
        on conflict (id) do nothing;
    if not found then
        return 'exists';
    end if;
    if debit < credit then
        update accounts set debits_posted = debits_posted + new_amount where id = debit;
        if not found then raise exception 'debit_account_not_found'; end if;
        update accounts set credits_posted = credits_posted + new_amount where id = credit;
        if not found then raise exception 'credit_account_not_found'; end if;
    else
        update accounts set credits_posted = credits_posted + new_amount where id = credit;
        if not found then raise exception 'credit_account_not_found'; end if;
        update accounts set debits_posted = debits_posted + new_amount where id = debit;
        if not found then raise exception 'debit_account_not_found'; end if;
    end if;
    return 'created';
end
$$;
