import { type Check, ok, warning } from "./check";

/**
 * The SQL of this check. $1 text schema. Returns what roles other than the owner of the tables, and other than superusers, can do: `trigger` and `create`, the role, and the table or schema;
 * `runs`, a role whose function a trigger on our tables calls, and that trigger; `table`, a role with any other right on a table, and the table.
 */
const rightsText = `
  with owned as (
    select relation.oid, relation.relname::pg_catalog.text as name, relation.relowner as owner, relation.relacl as rights, relation.relnamespace as schema_id
    from pg_catalog.pg_class as relation
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
    where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text and relation.relkind operator(pg_catalog.=) 'r'
      and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')
  ),
  found as (
    select case when granted.privilege_type operator(pg_catalog.=) 'TRIGGER' then 'trigger' else 'table' end as kind, owned.owner, granted.grantee, owned.name as object
    from owned
    cross join lateral pg_catalog.aclexplode(owned.rights) as granted
    union
    select 'create', owned.owner, granted.grantee, namespace.nspname::pg_catalog.text
    from owned
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) owned.schema_id
    cross join lateral pg_catalog.aclexplode(namespace.nspacl) as granted
    where granted.privilege_type operator(pg_catalog.=) 'CREATE' and granted.grantee operator(pg_catalog.<>) namespace.nspowner
    union
    select 'runs', owned.owner, procedure.proowner, trigger.tgname::pg_catalog.text
    from owned
    join pg_catalog.pg_trigger as trigger on trigger.tgrelid operator(pg_catalog.=) owned.oid
    join pg_catalog.pg_proc as procedure on procedure.oid operator(pg_catalog.=) trigger.tgfoid
    where not trigger.tgisinternal
  )
  select found.kind, coalesce(role.rolname::pg_catalog.text, 'PUBLIC'), pg_catalog.string_agg(distinct found.object, ', ' order by found.object)
  from found
  left join pg_catalog.pg_roles as role on role.oid operator(pg_catalog.=) found.grantee
  where found.grantee operator(pg_catalog.<>) found.owner and not coalesce(role.rolsuper, false)
  group by found.kind, role.rolname
  order by found.kind, role.rolname`;

/** Finds roles whose code could run with the rights of those who write to the tables. */
export const checkRights: Check = async ({ ask, schema }) => {
  const rows = await ask<[kind: string, role: string, objects: string]>(rightsText, [schema]);
  const of = (kind: string): string[] =>
    rows.filter(([each]) => each === kind).map(([, role, objects]) => `${role} (${objects})`);
  const [triggers, creators, running] = [of("trigger"), of("create"), of("runs")];
  const findings = [
    ...(triggers.length > 0 ? [`Roles with TRIGGER on the tables: ${triggers.join(", ")}.`] : []),
    ...(creators.length > 0 ? [`Roles with CREATE on the schema: ${creators.join(", ")}.`] : []),
    ...(running.length > 0 ? [`Triggers with functions of other roles: ${running.join(", ")}.`] : []),
  ];
  const others = of("table");
  if (findings.length === 0) {
    const rights = others.length === 0 ? "" : ` Other roles with rights on them: ${others.join(", ")}.`;
    return ok(`No other role can have its code run by writes to the tables.${rights}`);
  }
  return warning(
    `${findings.join(" ")} What such a trigger does, it does with the rights of each writer.`,
    "Revoke TRIGGER and CREATE from every role but the owner, and drop triggers that you do not know; see docs/security.md.",
  );
};
