import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import { migrationScript } from "../../schema/migration-script";
import type { MigrationProgress } from "../../schema/migration-run";
import { parseDuration } from "../arguments";
import type { Session } from "../session";
import { inDigits } from "../text";

interface Options {
  readonly dryRun?: boolean;
  readonly print?: boolean;
  readonly online?: boolean;
  readonly recount?: boolean;
  readonly lockWait?: number;
}

/** Between two lines about the same step. */
const progressIntervalMs = 2_000;

export const migrate: RegisterCommand = (program, run) => {
  program
    .command("migrate")
    .summary("create or upgrade the tables")
    .description(
      "Creates or upgrades tables and triggers, and repairs triggers that were left disabled, or dropped. Any number of processes may do so at once, and writers go on meanwhile. What is up to date is left alone.",
    )
    .option("--dry-run", "say what would be run, and change nothing")
    .option(
      "--print",
      "print the SQL instead, for psql or a migration tool; needs no database. With --dry-run: only what is pending",
    )
    .option("--online", "with --print: a script for psql that lets writers go on, step by step")
    .option("--recount", "count groups that are not done anew, from their members: after they were copied")
    .option("--lock-wait <duration>", "how long to go on asking for a lock that others hold; default 5m", parseDuration)
    .addHelpText(
      "after",
      examples(
        ["migrate", "at deployment"],
        ["migrate --dry-run", "what would it do?"],
        ["migrate --print > kojin.sql", "all of it, to run by other means"],
        ["migrate --print --online | psql --set ON_ERROR_STOP=1", "the same while writers go on"],
        ["migrate --schema jobs", "into another schema than public"],
      ),
    )
    .action(
      run<Options>(async (session, _args, { dryRun, print, online = false, recount, lockWait }) => {
        if (print === true && dryRun !== true) return printScript(session, 0, online);
        return session.withBackend(async (backend) => {
          if (dryRun !== true) {
            const options = {
              onProgress: progressNotes(session),
              ...(recount === undefined ? {} : { recount }),
              ...(lockWait === undefined ? {} : { lockWaitMs: lockWait }),
            };
            return report(session, await backend.migrate(options));
          }
          const plan = await backend.planMigration();
          if (print === true) return printScript(session, plan.version, online);
          return report(session, { ...plan, applied: plan.pending, repaired: plan.disabledTriggers }, "Would run");
        });
      }),
    );
};

/** Tells of each step, and now and then of the rows it has handled, or of the sessions it waits for. */
function progressNotes(session: Session): (progress: MigrationProgress) => void {
  let [latest, notedAt] = ["", 0];
  return ({ migration, step, rows, waitingFor }) => {
    const title = `${migration}: ${step}`;
    const isDue = title !== latest || performance.now() - notedAt > progressIntervalMs;
    if (!isDue) return;
    [latest, notedAt] = [title, performance.now()];
    const detail =
      waitingFor === undefined ? (rows > 0 ? `, ${inDigits(rows)} rows` : "") : `, waits for ${waitingFor}`;
    session.note(`${title}${detail} …`);
  };
}

function printScript(session: Session, after: number, online: boolean): number {
  const { schema } = session;
  const sql = migrationScript({ schema, after, online });
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
    session.print(isDryRun ? `Would repair the trigger ${name}.` : `Repaired the trigger ${name}.`);
  if (applied.length + repaired.length === 0) session.print("Nothing to do.");
  session.print(`Schema "${schema}" has version ${version}.`);
  return exitCodes.ok;
}
