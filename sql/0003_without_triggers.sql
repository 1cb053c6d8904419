-- In the place of 0003_triggers.sql, where writers count by themselves, in the transactions that store.

-- Is here as long as they do. Whoever counts names it, and so holds it until its transaction ends: who drops it waits for them, and none comes after.
create table if not exists @schema@.kojin_counted_by_writers (
  id int primary key
);

-- Serves the read of what was stored since a given time, in that order.
create index if not exists kojin_results_stored_order on @schema@.kojin_results (stored_at, task_id);
