-- One line: the number of transfers, the sum of their amounts, all debits, all credits. The last three must be equal.
select (select count(*) from transfers),
       (select coalesce(sum(amount), 0) from transfers),
       sum(debits_posted), sum(credits_posted)
from accounts;
