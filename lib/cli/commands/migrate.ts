import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import { migrationScript } from "../../schema/migration-script";
import type { Session } from "../session";

interface Options {
  readonly dryRun?: boolean;
  readonly print?: boolean;
}

export const migrate: RegisterCommand = (program, run) => {
  program
    .command("migrate")
    .summary("create or upgrade the tables")
    .description(
      "Creates or upgrades tables and triggers, and enables triggers that were left disabled. Any number of processes may do so at once. What is up to date is left alone.",
    )
    .option("--dry-run", "say what would be run, and change nothing")
    .option(
      "--print",
      "print the SQL instead, for psql or a migration tool; needs no database. With --dry-run: only what is pending",
    )
    .addHelpText(
      "after",
      examples(
        ["migrate", "at deployment"],
        ["migrate --dry-run", "what would it do?"],
        ["migrate --print > kojin.sql", "all of it, to run by other means"],
        ["migrate --schema jobs", "into another schema than public"],
      ),
    )
    .action(
      run<Options>(async (session, _args, { dryRun, print }) => {
        if (print === true && dryRun !== true) return printScript(session, 0);
        return session.withBackend(async (backend) => {
          if (dryRun !== true) return report(session, await backend.migrate());
          const plan = await backend.planMigration();
          if (print === true) return printScript(session, plan.version);
          return report(session, { ...plan, applied: plan.pending, repaired: plan.disabledTriggers }, "Would run");
        });
      }),
    );
};

function printScript(session: Session, after: number): number {
  const { schema } = session;
  const sql = migrationScript({ schema, after });
  if (session.isJson) session.printJson({ schema, after, sql });
  else if (sql === "") session.note(`Schema "${schema}" is up to date: nothing to run.`);
  else session.print(sql.trimEnd());
  return exitCodes.ok;
}

interface Report {
  readonly schema: string;
  readonly version: number;
  readonly applied: readonly { readonly version: number; readonly name: string }[];
  readonly repaired: readonly string[];
}

function report(session: Session, outcome: Report, verb = "Ran"): number {
  const { schema, version, applied, repaired } = outcome;
  const isDryRun = verb !== "Ran";
  if (session.isJson) {
    session.printJson({ schema, version, dryRun: isDryRun, applied, repaired });
    return exitCodes.ok;
  }
  for (const { name } of applied) session.print(`${verb} ${name}.`);
  for (const name of repaired)
    session.print(isDryRun ? `Would enable the trigger ${name}.` : `Enabled the trigger ${name}.`);
  if (applied.length + repaired.length === 0) session.print("Nothing to do.");
  session.print(`Schema "${schema}" has version ${version}.`);
  return exitCodes.ok;
}
