import { Presets, SingleBar } from "cli-progress";
import type { Diagnosis, Health, Inspection, PruneReport } from "../../index";
import type { MigrationProgress } from "../../schema/migration-run";
import { migrationScript } from "../../schema/migration-script";
import { type CliCommand, parseFiniteDuration, parseInteger } from "../command";
import { exitCodeOfSignal, exitCodes } from "../exit-codes";
import { type Color, RareNotes, type Session } from "../session";
import { attachedRows } from "./queues";
import { aligned, describeAddress, inBytes, inDigits, printable } from "../text";

interface MigrateOptions {
  readonly dryRun?: boolean;
  readonly print?: boolean;
  readonly online?: boolean;
  readonly recount?: boolean;
  readonly lockWait?: number;
}

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
    .option("--lock-wait <duration>", "how long to wait for locks of other sessions (default: 5m)", parseFiniteDuration)
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
  const note = new RareNotes(session);
  return ({ migration, step, rows, waitingFor }) => {
    const title = `${migration}: ${step}`;
    const counted = rows > 0 ? `, ${inDigits(rows)} rows` : "";
    note.show(title, `${title}${waitingFor === undefined ? counted : `, waits for ${waitingFor}`} …`);
  };
}

export const status = (program: CliCommand): void => {
  program
    .command("status")
    .summary("show the state of the database and the listener")
    .description(
      "Shows the server, the schema version, triggers, table sizes, expired rows, the notification queue, the listening sessions, and whether notifications arrive. Exits with 1 if something is wrong.",
    )
    .examples(
      ["status", "at a glance"],
      ["status --json | jq .health.ok", "for a monitor"],
      ["status --schema jobs", "of another schema"],
    )
    .handle(async (session) => {
      const backend = await session.connect();
      const inspection = await backend.inspect();
      // After the inspection, which must not count the listener of this process.
      await backend.ready();
      const health = await backend.health();
      session.printJson({ ...inspection, health });
      const facts = inspectionRows(session, inspection);
      for (const [index, line] of aligned([...facts, ...healthRows(session, health)]).entries()) {
        // Below the line about the listener.
        const isProblem = !health.ok && index > facts.length;
        session.print(isProblem ? session.paint("red", printable(line)) : printable(line));
      }
      if (!health.ok) session.note("Run kojin-postgres doctor to find out why.");
      return health.ok ? exitCodes.ok : exitCodes.failed;
    });
};

function inspectionRows({ url = "" }: Session, inspection: Inspection): string[][] {
  const { server, schema, schemaVersion, latestVersion, channel, triggers, tables, expired } = inspection;
  const idle = triggers.filter(({ state }) => state !== "enabled" && state !== "always");
  const version = schemaVersion === 0 ? "not migrated" : `version ${schemaVersion ?? "unknown"} of ${latestVersion}`;
  const sizes = aligned(tables.map(({ name, rows, bytes }) => [name, `about ${inDigits(rows)} rows`, inBytes(bytes)]));
  const expiredRows = expired && `${inWords(expired)} to prune`;
  return [
    ["Database", `${describeAddress(url)}, PostgreSQL ${server.version}${server.isStandby ? ", standby" : ""}`],
    ["Schema", `${JSON.stringify(schema)}, ${version}, channel ${channel}`],
    ["Triggers", `${triggers.length - idle.length} of ${triggers.length} enabled`],
    ...idle.map(({ name, state }) => ["", `${name} is ${state}`]),
    ...sizes.map((line, index) => [index === 0 ? "Tables" : "", line]),
    ["Expired", expiredRows ?? "unknown"],
    ...attachedRows(inspection.attached),
    ["Queue", `${(inspection.notifyQueueUsage * 100).toFixed(1)} % of the notification queue in use`],
    ["Listeners", `${inspection.listeners} in this database`],
  ];
}

function healthRows(session: Session, health: Health): string[][] {
  return [
    ["Listening", describeListening(session, health)],
    ["Health", health.ok ? "ok" : "not ok"],
    ...health.problems.map((problem) => ["", problem]),
  ];
}

function describeListening({ usesNats }: Session, { status: listening, heartbeatMs }: Health): string {
  if (listening !== "listening") return `no (${listening})`;
  if (usesNats) return "yes, over NATS";
  return heartbeatMs === undefined ? "yes" : `yes, ${heartbeatMs.toFixed(1)} ms from the pool to the listener`;
}

export const doctor = (program: CliCommand): void => {
  program
    .command("doctor")
    .summary("find what makes waits slow or miss notifications")
    .description(
      "Checks the server, the pooler, the listener, the notification queue and lock, roles, triggers, the schema and replication. Stores a test result, waits for it and deletes it. Prints a remedy for each problem, and exits with 1 if there is one. Warnings do not count.",
    )
    .option("--no-probe", "store no test result, and create no temporary table")
    .examples(
      ["doctor", "all checks"],
      ["doctor --no-probe", "only reads"],
      ["doctor --url postgres://pooler/app --listen-url postgres://db/app", "with the addresses of your program"],
      ["doctor --json | jq '.checks[] | select(.verdict != \"ok\")'", "what is wrong, for a monitor"],
    )
    .handle<{ readonly probe: boolean }>(async (session, _args, { probe }) => {
      const backend = await session.connect();
      const checks = await backend.diagnose({ probe });
      const problems = checks.filter(({ verdict }) => verdict === "problem").length;
      session.printJson({ ok: problems === 0, checks });
      printChecks(session, checks);
      session.print(problems === 0 ? "No problems found." : `${problems} problem${problems === 1 ? "" : "s"} found.`);
      return problems === 0 ? exitCodes.ok : exitCodes.failed;
    });
};

const verdictColors: Readonly<Record<Diagnosis["verdict"], Color>> = {
  ok: "green",
  warning: "yellow",
  problem: "red",
  unknown: "yellow",
};

function printChecks(session: Session, checks: readonly Diagnosis[]): void {
  const width = Math.max(...checks.map(({ check }) => check.length));
  for (const { check, verdict, finding, remedy } of checks) {
    const label = session.paint(verdictColors[verdict], (verdict === "problem" ? "PROBLEM" : verdict).padEnd(7));
    session.print(`${label}  ${printable(`${check.padEnd(width)}  ${finding}`)}`);
    if (remedy !== undefined) session.print(printable(`${" ".repeat(width + 11)}Remedy: ${remedy}`));
  }
}

interface PruneOptions {
  readonly olderThan: number;
  readonly batch: number;
  readonly dryRun?: boolean;
}

export const prune = (program: CliCommand): void => {
  program
    .command("prune")
    .summary("delete expired results, groups and chunks")
    .description(
      "Deletes expired results, groups and streams of chunks in batches, each in its own transaction. Readers never see expired rows; pruning frees their space. Any number of processes may run it at once.",
    )
    .option("--older-than <duration>", "only rows that expired at least this long ago", parseFiniteDuration, 0)
    .option("--batch <rows>", "rows per statement, which are locked together", parseInteger(1, 100_000), 1_000)
    .option("--dry-run", "only count")
    .examples(
      ["prune", "everything that has expired"],
      ["prune --older-than 7d", "only what expired over a week ago"],
      ["prune --dry-run", "how many rows?"],
    )
    .endsItself()
    .handle<PruneOptions>(async (session, _args, { olderThan: olderThanMs, batch: batchRows, dryRun = false }) => {
      const backend = await session.connect();
      const expired = await session.unlessInterrupted(backend.countExpired({ olderThanMs }));
      if (dryRun) {
        report(session, expired, true);
        return exitCodes.ok;
      }
      const progress = new PruneView(session, totalOf(expired));
      let deleted: PruneReport = { results: 0, groups: 0, streams: 0 };
      try {
        const onProgress = (soFar: PruneReport): void => progress.show((deleted = soFar));
        deleted = await backend.prune({ olderThanMs, batchRows, signal: session.interrupted, onProgress });
      } catch (error) {
        if (!session.interrupted.aborted) throw error;
      } finally {
        progress.close();
      }
      report(session, deleted, false);
      return session.interrupted.aborted ? exitCodeOfSignal(session.interrupted.reason) : exitCodes.ok;
    });
};

function report(session: Session, counts: PruneReport, dryRun: boolean): void {
  const { aborted: interrupted } = session.interrupted;
  session.printJson({ ...counts, dryRun, interrupted });
  session.print(
    `${dryRun ? "Would delete" : "Deleted"} ${inWords(counts)}${interrupted ? ", then was interrupted" : ""}.`,
  );
}

const inWords = ({ results, groups, streams }: PruneReport): string =>
  `${inDigits(results)} results, ${inDigits(groups)} groups and ${inDigits(streams)} streams`;

const totalOf = ({ results, groups, streams }: PruneReport): number => results + groups + streams;

/** A bar on a terminal, otherwise a line from time to time. */
class PruneView {
  readonly #notes: RareNotes;
  readonly #expired: number;
  readonly #bar: SingleBar | undefined;

  constructor(session: Session, expired: number) {
    this.#notes = new RareNotes(session);
    this.#expired = expired;
    const { out } = session.terminal;
    if (out.isTTY !== true || session.isJson || expired === 0) return;
    const format = "{bar} {value} of {total} rows deleted";
    // The program handles signals itself.
    const options = { stream: out, format, barsize: 30, hideCursor: true, gracefulExit: false };
    this.#bar = new SingleBar(options, Presets.shades_classic);
    this.#bar.start(expired, 0);
  }

  show(report: PruneReport): void {
    const deleted = totalOf(report);
    // More rows may have expired since they were counted.
    const total = Math.max(this.#expired, deleted);
    this.#bar?.setTotal(total);
    this.#bar?.update(deleted);
    if (this.#bar === undefined) this.#notes.show("", `${inDigits(deleted)} of ${inDigits(total)} rows deleted.`);
  }

  close(): void {
    this.#bar?.stop();
  }
}
