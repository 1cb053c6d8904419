import type { Health, Inspection } from "../../index";
import type { CliCommand } from "../command";
import { exitCodes } from "../exit-codes";
import type { Session } from "../session";
import { aligned, describeAddress, inBytes, inDigits, printable } from "../text";

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
      for (const line of aligned([...inspectionRows(session, inspection), ...healthRows(session, health)]))
        session.print(printable(line));
      if (!health.ok) session.note("Run kojin-postgres doctor to find out why.");
      return health.ok ? exitCodes.ok : exitCodes.failed;
    });
};

function inspectionRows({ url = "" }: Session, inspection: Inspection): string[][] {
  const { server, schema, schemaVersion, latestVersion, channel, triggers, tables, expired } = inspection;
  const idle = triggers.filter(({ state }) => state !== "enabled" && state !== "always");
  const version = schemaVersion === 0 ? "not migrated" : `version ${schemaVersion ?? "unknown"} of ${latestVersion}`;
  const sizes = aligned(tables.map(({ name, rows, bytes }) => [name, `about ${inDigits(rows)} rows`, inBytes(bytes)]));
  const expiredRows = expired && `${inDigits(expired.results)} results, ${inDigits(expired.groups)} groups to prune`;
  return [
    ["Database", `${describeAddress(url)}, PostgreSQL ${server.version}${server.isStandby ? ", standby" : ""}`],
    ["Schema", `${JSON.stringify(schema)}, ${version}, channel ${channel}`],
    ["Triggers", `${triggers.length - idle.length} of ${triggers.length} enabled`],
    ...idle.map(({ name, state }) => ["", `${name} is ${state}`]),
    ...sizes.map((line, index) => [index === 0 ? "Tables" : "", line]),
    ["Expired", expiredRows ?? "unknown"],
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
