import type { Database } from "./database";

// $1 text schema. Whether the server is in recovery, whether transactions of this session are read-only, and the tables with row security that applies to this
// role and no policy that shows it all rows.
const accessQuery = `
  select pg_catalog.pg_is_in_recovery()::pg_catalog.text, pg_catalog.current_setting('transaction_read_only'),
    pg_catalog.array_to_string(array(
      select relation.relname::pg_catalog.text
      from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
      where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text
        and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')
        and relation.relrowsecurity and pg_catalog.row_security_active(relation.oid)
        and not exists (
          select from pg_catalog.pg_policy as policy
          where policy.polrelid operator(pg_catalog.=) relation.oid and policy.polpermissive
            and policy.polcmd operator(pg_catalog.=) any(array['r', '*']::pg_catalog."char"[])
            and pg_catalog.pg_get_expr(policy.polqual, policy.polrelid) operator(pg_catalog.=) 'true'
            and (0::pg_catalog.oid operator(pg_catalog.=) any(policy.polroles)
              or exists (
                select from pg_catalog.unnest(policy.polroles) as member (role_id)
                where pg_catalog.pg_has_role(member.role_id, 'usage')
              ))
        )
      order by relation.relname
    ), ', ')`;

/** What keeps this role from storing or seeing results although it has the rights to: in words, each with its remedy. */
export async function accessProblems(database: Database, schema: string, timeoutMs: number): Promise<string[]> {
  const query = { purpose: "read what this role can see", text: accessQuery, values: [schema] };
  const [row] = await database.query<[string, string, string]>(query, timeoutMs);
  const [isStandby, isReadOnly, hidden = ""] = row ?? [];
  const problems: string[] = [];
  if (isStandby === "true") {
    problems.push("The server is a standby: it takes no writes, and refuses LISTEN. Give the address of the primary.");
  } else if (isReadOnly === "on") {
    problems.push(
      "Transactions are read-only, so nothing can be stored: reset default_transaction_read_only of the database, the role or the session.",
    );
  }
  if (hidden !== "") {
    problems.push(
      `Row security hides rows of ${hidden} from this role, so waits may never find a result: add a policy that shows it all rows, or disable row security there.`,
    );
  }
  return problems;
}
