\set id random(1, 9223372036854775806)
\set debit random(1, 10000)
\set step random(1, 9999)
\set credit 1 + (:debit - 1 + :step) % 10000
\set amount random(1, 1000)
select transfer(:id, :debit, :credit, :amount);
