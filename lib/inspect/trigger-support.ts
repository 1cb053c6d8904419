import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import { type Check, type Finding, ok, problem, unknown, warning } from "./check";

/** What the way with triggers asks of a database: in order, in one transaction that is rolled back. */
const steps: readonly (readonly [what: string, text: string])[] = [
  ["temporary tables", "create temporary table kojin_probe (id int)"],
  [
    "functions in PL/pgSQL",
    "create function pg_temp.kojin_probe() returns trigger language plpgsql as 'begin return null; end'",
  ],
  [
    "triggers that see all rows of a statement",
    "create trigger kojin_probe after insert on kojin_probe referencing new table as new_rows for each statement execute function pg_temp.kojin_probe()",
  ],
  ["a trigger that fires", "insert into kojin_probe (id) values (1)"],
  [
    "advisory locks",
    "select pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('kojin-postgres probe', 0))",
  ],
  ["notifications", "select pg_catalog.pg_notify('kojin_probe', '')"],
  ["LISTEN", "listen kojin_probe"],
];

/** Says that all went well, and has the transaction rolled back. */
class EndOfProbe extends Error {}

/** Whether this database can count and announce by triggers, and what the schema goes by. */
export const checkTriggerSupport: Check = async ({ database, schema, timeoutMs, withoutTriggers, schemaVersion }) => {
  let missing = "";
  try {
    await database.transaction("look for triggers", { timeoutMs, beginTimeoutMs: timeoutMs }, async (client) => {
      for (const [what, text] of steps) {
        missing = what;
        await client.query(text, []);
      }
      throw new EndOfProbe();
    });
  } catch (error) {
    if (!(error instanceof DatabaseError && error.cause instanceof EndOfProbe)) return judgeRefusal(missing, error);
  }
  return ok(
    `The database can count and announce by triggers, ${withoutTriggers === true ? `and schema "${schema}" was migrated without; migrate() adds them` : "or without"}.`,
  );

  function judgeRefusal(what: string, error: unknown): Finding {
    const isRefused =
      error instanceof DatabaseError && (error.transient || error.sqlState === sqlStates.insufficientPrivilege);
    const reason = error instanceof Error ? error.message : String(error);
    if (isRefused) return unknown(`Whether the database has ${what} could not be seen: ${reason}`);
    const finding = `The database has no ${what}: it cannot count and announce by triggers.`;
    if (withoutTriggers === true) return ok(`${finding} Schema "${schema}" was migrated without.`);
    const remedy =
      "Migrate a schema without them: migrate({ triggers: false }), or kojin-postgres migrate --no-triggers.";
    return schemaVersion === 0 ? warning(finding, remedy) : problem(finding, remedy);
  }
};
