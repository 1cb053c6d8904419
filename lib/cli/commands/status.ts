import type { Health, Inspection } from "../../index";
import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import { describeAddress } from "../secrets";
import type { Session } from "../session";
import { aligned, inBytes, inDigits, printable } from "../text";

export const status: RegisterCommand = (program, run) => {
  program
    .command("status")
    .summary("what there is, and how it is doing")
    .description(
      "Shows server, schema version, triggers, table sizes, expired rows, the notification queue, who listens, and whether notifications are heard. Ends with 1 if something is wrong.",
    )
    .addHelpText(
      "after",
      examples(
        ["status", "at a glance"],
        ["status --json | jq .health.ok", "for a monitor"],
        ["status --schema jobs", "of another schema"],
      ),
    )
    .action(
      run(async (session) =>
        session.withBackend(async (backend) => {
          const inspection = await backend.inspect();
          // After the inspection, which counts who listens: not this process, too.
          await backend.ready();
          const health = await backend.health();
          if (session.isJson) session.printJson({ ...inspection, health });
          else print(session, inspection, health);
          return health.ok ? exitCodes.ok : exitCodes.failed;
        }),
      ),
    );
};

function print(session: Session, inspection: Inspection, health: Health): void {
  const { server, schema, schemaVersion, latestVersion, channel, triggers, tables, expired } = inspection;
  const idle = triggers.filter(({ state }) => state !== "enabled" && state !== "always");
  const version = schemaVersion === 0 ? "not migrated" : `version ${schemaVersion ?? "unknown"} of ${latestVersion}`;
  const rows = [
    [
      "Database",
      `${describeAddress(session.url ?? "")}, PostgreSQL ${server.version}${server.isStandby ? ", a standby" : ""}`,
    ],
    ["Schema", `${JSON.stringify(schema)}, ${version}, channel ${channel}`],
    ["Triggers", `${triggers.length - idle.length} of ${triggers.length} enabled`],
    ...idle.map(({ name, state }) => ["", `${name} is ${state}`]),
    ...aligned(
      tables.map(({ name, rows: count, bytes }) => [name, `about ${inDigits(count)} rows`, inBytes(bytes)]),
    ).map((line, index) => [index === 0 ? "Tables" : "", line]),
    [
      "Expired",
      expired === undefined
        ? "unknown"
        : `${inDigits(expired.results)} results, ${inDigits(expired.groups)} groups, for prune to delete`,
    ],
    ["Queue", `${(inspection.notifyQueueUsage * 100).toFixed(1)} % of the notification queue in use`],
    ["Listeners", `${inspection.listeners} in this database`],
    ["Listening", inListenWords(session, health)],
    ["Health", health.ok ? "ok" : "not ok"],
    ...health.problems.map((problem) => ["", problem]),
  ];
  for (const line of aligned(rows)) session.print(printable(line));
  if (!health.ok) session.note("kojin-postgres doctor says what to do.");
}

function inListenWords({ usesNats }: Session, { status: listening, heartbeatMs }: Health): string {
  if (listening !== "listening") return `no (${listening})`;
  if (usesNats) return "yes, over NATS";
  return heartbeatMs === undefined ? "yes" : `yes, ${heartbeatMs.toFixed(1)} ms from the pool to the listener`;
}
