-- Counts the groups that are not done anew, from the rows of their members: after members were written without the
-- triggers, or copied. Steps as in a migration.

-- @step Numbers of finished members
-- Where members were finished before, the next number is beyond theirs. To alter the sequence keeps others from taking
-- a number meanwhile.
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
