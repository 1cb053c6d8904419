-- Recounts all unexpired groups from their members, after members were copied or written without the triggers. Its
-- markers are those of a migration.

-- @step Numbers of finished members
-- Sets the sequence beyond the numbers of members that have already finished. `alter sequence` locks it, so that no
-- other session takes a number in between.
do $$
declare
  highest bigint;
begin
  select pg_catalog.max(finished_seq) into highest from @schema@.kojin_groups where finished_seq is not null;
  if highest operator(pg_catalog.>) (select last_value from @schema@.kojin_group_seq) then
    alter sequence @schema@.kojin_group_seq cache 1;
    perform pg_catalog.setval($name$@schema@.kojin_group_seq$name$, greatest(highest, (select last_value from @schema@.kojin_group_seq)));
  end if;
end
$$;

-- @batches kojin_groups_number_page over kojin_groups: Members without a number
-- @batches kojin_groups_count_page over kojin_group_state: Counts of groups
