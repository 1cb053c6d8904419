import { escapeIdentifier } from "pg";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import type { SqlClient } from "../result-backend";

// Tables of the Rust crate are adopted, whichever role owns them.
const foreignObjects = `
  with place as (
    select oid, nspowner from pg_catalog.pg_namespace where nspname operator(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name
  ),
  present as (
    select 'function ' operator(pg_catalog.||) routine.oid::pg_catalog.regprocedure::pg_catalog.text as object, routine.proowner as owner
    from place join pg_catalog.pg_proc as routine on routine.pronamespace operator(pg_catalog.=) place.oid
    where pg_catalog.starts_with(routine.proname::pg_catalog.text, 'kojin_')
    union all
    select 'relation ' operator(pg_catalog.||) relation.relname::pg_catalog.text, relation.relowner
    from place join pg_catalog.pg_class as relation on relation.relnamespace operator(pg_catalog.=) place.oid
    where relation.relname operator(pg_catalog.=) any (array['kojin_group_state', 'kojin_group_seq']::pg_catalog.name[])
  )
  select present.object, role.rolname::pg_catalog.text as owner
  from present
  join place on true
  join pg_catalog.pg_roles as role on role.oid operator(pg_catalog.=) present.owner
  where role.rolname operator(pg_catalog.<>) current_user and not role.rolsuper
    and not pg_catalog.pg_has_role(role.oid, place.nspowner, 'MEMBER'::pg_catalog.text)
    and (
      (select rolsuper from pg_catalog.pg_roles where rolname operator(pg_catalog.=) current_user)
      or not pg_catalog.pg_has_role(role.oid, 'MEMBER'::pg_catalog.text)
    )
  order by 1
  limit 1`;

/**
 * Rejects if an object that a migration has just created, or replaced, belongs to another role: it was there before,
 * and its owner could still change what it does, with the rights of every writer. Trusted are superusers, the owner of
 * the schema and its members, and roles that the present one is a member of.
 */
export async function refuseForeignObjects(client: SqlClient, schema: string): Promise<void> {
  const [foreign] = (await client.query(foreignObjects, [schema])).rows as { object: string; owner: string }[];
  if (foreign === undefined) return;
  throw new DatabaseError(
    `Could not migrate: the ${foreign.object} in schema ${escapeIdentifier(schema)} belongs to the role ${foreign.owner}, which could have its own code run by it. Drop it, change its owner, or migrate as that role.`,
    sqlStates.insufficientPrivilege,
    false,
    { origin: "statement" },
  );
}
