-- One line: transfers, what they moved, what was debited, what was credited. The last three must be equal.
select (select count(*) from transfers),
       (select coalesce(sum(amount), 0) from transfers),
       sum(debits_posted), sum(credits_posted)
from accounts;
