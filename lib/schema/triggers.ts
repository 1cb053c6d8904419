import type { Database } from "../database/database";

/** The triggers that `sql/` makes. Without them writes are not announced, or members of groups not counted. */
const expectedTriggers = [
  "kojin_groups_count_insert",
  "kojin_groups_count_update",
  "kojin_groups_foreign_insert",
  "kojin_groups_foreign_update",
  "kojin_results_foreign_update",
  "kojin_results_notify_insert",
  "kojin_results_notify_update",
] as const;

/** The triggers of a schema that are missing, disabled, or fire in replication only. Every role may look. */
export async function idleTriggers(database: Database, schema: string, timeoutMs: number): Promise<readonly string[]> {
  const query = {
    purpose: "look at the triggers",
    // 'O' fires in ordinary sessions, 'A' in all of them (PostgreSQL docs, pg_trigger).
    text: `
      select expected.name
      from unnest($2::text[]) as expected (name)
      where not exists (
        select from pg_catalog.pg_trigger as trigger
        join pg_catalog.pg_class as relation on relation.oid = trigger.tgrelid
        join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
        where namespace.nspname = $1::text and trigger.tgname = expected.name and trigger.tgenabled in ('O', 'A')
      )
      order by expected.name`,
    values: [schema, [...expectedTriggers]],
  };
  return (await database.query<[string]>(query, timeoutMs)).map(([name]) => name);
}
