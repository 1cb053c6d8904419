import type { MigrationProgress } from "../../schema/migration-run";
import { migrationScript } from "../../schema/migration-script";
import { parseDuration, type CliCommand } from "../command";
import { exitCodes } from "../exit-codes";
import type { Session } from "../session";
import { inDigits } from "../text";

interface MigrateOptions {
  readonly dryRun?: boolean;
  readonly print?: boolean;
  readonly online?: boolean;
  readonly recount?: boolean;
  readonly lockWait?: number;
}

/** Shortest time between two notes about the same step. */
const progressIntervalMs = 2_000;

export const migrate = (program: CliCommand): void => {
  program
    .command("migrate")
    .summary("create or upgrade the tables")
    .description(
      "Creates or upgrades tables and triggers, and repairs triggers that are disabled or missing. Any number of processes may run it at once, and writers continue meanwhile.",
    )
    .option("--dry-run", "show what would run, and change nothing")
    .option("--print", "print the SQL and run nothing; needs no database unless --dry-run limits it to what is pending")
    .option("--online", "with --print: a psql script that runs step by step, while writers continue")
    .option("--recount", "count open groups again from their members, after the tables were copied")
    .option("--lock-wait <duration>", "how long to wait for locks of other sessions (default: 5m)", parseDuration)
    .examples(
      ["migrate", "at deployment"],
      ["migrate --dry-run", "what would run?"],
      ["migrate --print > kojin.sql", "the whole script, for other tools"],
      ["migrate --print --online | psql --set ON_ERROR_STOP=1", "the same, while writers continue"],
      ["migrate --schema jobs", "into a schema other than public"],
    )
    .handle<MigrateOptions>(async (session, _args, options) => {
      if (options.print === true) await printScript(session, options);
      else if (options.dryRun === true) await showPlan(session);
      else await runMigrations(session, options);
      return exitCodes.ok;
    });
};

async function printScript(session: Session, { dryRun = false, online = false }: MigrateOptions): Promise<void> {
  const { schema } = session;
  const after = dryRun ? (await (await session.connect()).planMigration()).version : 0;
  const sql = migrationScript({ schema, after, online });
  session.printJson({ schema, after, sql });
  if (sql === "") session.note(`Schema "${schema}" is up to date: nothing to run.`);
  else session.print(sql.trimEnd());
}

async function showPlan(session: Session): Promise<void> {
  const { schema, version, pending, disabledTriggers } = await (await session.connect()).planMigration();
  session.printJson({ schema, version, dryRun: true, applied: pending, repaired: disabledTriggers });
  printSteps(session, version, [
    ...pending.map(({ name }) => `Would run ${name}.`),
    ...disabledTriggers.map((name) => `Would repair the trigger ${name}.`),
  ]);
}

async function runMigrations(session: Session, { recount, lockWait }: MigrateOptions): Promise<void> {
  const backend = await session.connect();
  const { schema, version, applied, repaired } = await backend.migrate({
    onProgress: progressNotes(session),
    ...(recount === undefined ? {} : { recount }),
    ...(lockWait === undefined ? {} : { lockWaitMs: lockWait }),
  });
  session.printJson({ schema, version, dryRun: false, applied, repaired });
  printSteps(session, version, [
    ...applied.map(({ name }) => `Ran ${name}.`),
    ...repaired.map((name) => `Repaired the trigger ${name}.`),
  ]);
}

function printSteps(session: Session, version: number, steps: readonly string[]): void {
  for (const step of steps.length === 0 ? ["Nothing to do."] : steps) session.print(step);
  session.print(`Schema "${session.schema}" has version ${version}.`);
}

/** Notes each step, and from time to time its rows or the sessions that it waits for. */
function progressNotes(session: Session): (progress: MigrationProgress) => void {
  let [latest, notedAt] = ["", 0];
  return ({ migration, step, rows, waitingFor }) => {
    const title = `${migration}: ${step}`;
    if (title === latest && performance.now() - notedAt <= progressIntervalMs) return;
    [latest, notedAt] = [title, performance.now()];
    const counted = rows > 0 ? `, ${inDigits(rows)} rows` : "";
    session.note(`${title}${waitingFor === undefined ? counted : `, waits for ${waitingFor}`} …`);
  };
}
