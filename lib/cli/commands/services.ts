import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { startDashboard } from "../../dashboard/dashboard";
import { type DashboardOptions, urlHost } from "../../dashboard/dashboard-options";
import { HttpServer, sendResponse } from "../../http/send-response";
import { type RelayReport, startRelay } from "../../relay/relay";
import { type CliCommand, parseInteger } from "../command";
import { asUsage, type ExitCode, exitCodes, UsageError } from "../exit-codes";
import type { Session } from "../session";
import { printable } from "../text";

export const dashboard = (program: CliCommand): void => {
  program
    .command("dashboard")
    .summary("serve a live page of results and groups")
    .description(
      "Serves a page that shows results, failures and groups as they arrive. By default only this machine can open it. Without a database address it starts a temporary server. Ctrl-C ends the command and exits with 0.",
    )
    .option("--port <number>", "port to listen on; 0 takes any free one (default: 5480)", parseInteger(0, 65_535))
    .option("--host <name>", "address to listen on; others than this machine's need a token (default: 127.0.0.1)")
    .option("--token <text>", "token that clients must present; created if one is needed and none is given")
    .option("--show-results", "also show values and failure messages; anyone who opens the page sees them")
    .examples(
      ["dashboard", "of DATABASE_URL"],
      ["dashboard --port 8080 --show-results", "with values"],
      ["dashboard --host 0.0.0.0", "for other machines; prints an address with a token"],
    )
    .endsItself()
    .handle<DashboardOptions>(async (session, _args, options) => {
      const backend = session.url === undefined ? await connectToTemporaryServer(session) : await session.connect();
      await using page = await asUsage(async () => startDashboard(backend, options).catch(rejectHost));
      session.printJson({ url: page.url });
      session.print(`The dashboard is at ${page.url}\nPress Ctrl-C to stop it.`);
      return await interruption(session);
    });
};

async function connectToTemporaryServer(session: Session): ReturnType<Session["connect"]> {
  const backend = await session.connect(await session.startServer());
  await backend.migrate();
  return backend;
}

interface StatusOptions {
  readonly port?: number;
  readonly host?: string;
}

export const relay = (program: CliCommand): void => {
  program
    .command("relay")
    .summary("forward notifications to NATS")
    .description(
      "Listens in Postgres and forwards notifications over NATS, for writers that do not publish to NATS themselves. If several relays run on a schema, one leads and the others stand by. Ctrl-C and SIGTERM end the command and exit with 0.",
    )
    .option("--port <number>", "serve /healthz and /metrics; 0 takes any free port", parseInteger(0, 65_535))
    .option("--host <name>", "address to serve them on (default: 127.0.0.1)")
    .examples(
      ["relay --nats nats://one:4222,nats://two:4222", "of DATABASE_URL"],
      ["relay --port 9464", "including a health check"],
      ["relay --host 0.0.0.0 --port 9464 --json", "in a container"],
    )
    .endsItself()
    .handle<StatusOptions>(async (session, _args, { port, host }) => {
      if (host !== undefined && port === undefined) throw new UsageError("--host needs --port.");
      if (session.options.notifier === "listen")
        throw new UsageError("The relay forwards to NATS and cannot use --notifier listen.");
      const { listenUrl } = session.options;
      const notifier = await session.createNotifier();
      await using relaying = startRelay(await session.openPool(), {
        notifier,
        schema: session.schema,
        logger: session.logger,
        ...(listenUrl === undefined ? {} : { listen: { connection: listenUrl } }),
      });
      await using server = new HttpServer((request, response) => {
        sendResponse(response, respond(session, relaying.report, request)).catch(() => response.destroy());
      });
      if (port !== undefined) await listen(session, server, port, host);
      relaying.changes$.subscribe((report) => printReport(session, report));
      return await interruption(session);
    });
};

/** Waits for the signal that ends a service normally. */
async function interruption({ interrupted }: Session): Promise<ExitCode> {
  if (!interrupted.aborted) await once(interrupted, "abort");
  return exitCodes.ok;
}

function printReport(session: Session, report: RelayReport): void {
  const at = new Date().toISOString();
  const { role, ok, listen, notifier } = report;
  const problems = report.problems.map((problem) => session.redact(problem));
  session.printJson({ at, type: "relay", role, ok, listen: listen.status, notifier: notifier.status, problems });
  const state = role === "leader" ? `relays from Postgres to ${notifier.name}` : "another relay leads";
  session.print(`${at.slice(11, 23)}  ${role.padEnd(7)}  ${printable(ok ? state : problems.join(" "))}`);
}

/** Turns the error of a host name that does not exist into a mistake in the command line. */
function rejectHost(error: unknown): never {
  const { code, message } = error as NodeJS.ErrnoException;
  throw code === "ENOTFOUND" ? new UsageError(`--host: ${message}`) : error;
}

/** Listens and prints the address. */
async function listen(session: Session, server: HttpServer, port: number, host = "127.0.0.1"): Promise<void> {
  const taken = await server.listen(port, host).catch(rejectHost);
  const url = `http://${urlHost(host)}:${taken}`;
  session.printJson({ at: new Date().toISOString(), type: "http", url });
  session.print(`Serving ${url}/healthz and ${url}/metrics.`);
}

/** Answers `/healthz` for orchestrators and `/metrics` for Prometheus. */
function respond(session: Session, report: RelayReport, { method = "", url = "/" }: IncomingMessage): Response {
  if (method !== "GET" && method !== "HEAD") return textResponse(405, "Use GET or HEAD.\n", { Allow: "GET, HEAD" });
  switch (url.replace(/\?.*$/, "")) {
    case "/healthz": {
      const redact = (_key: string, value: unknown): unknown =>
        typeof value === "string" ? session.redact(value) : value;
      const json = `${JSON.stringify(report, redact)}\n`;
      return textResponse(report.ok ? 200 : 503, json, { "Content-Type": "application/json" });
    }
    case "/metrics":
      return textResponse(200, toPrometheus(report), { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
    default:
      return textResponse(404, "Try /healthz or /metrics.\n");
  }
}

function textResponse(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Response {
  const common = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
  return new Response(text, { status, headers: { ...common, ...headers } });
}

/** Formats a report as Prometheus text, version 0.0.4. The metrics are documented in docs/relay.md. */
function toPrometheus(report: RelayReport): string {
  const { ok, role, listen, notifier, leadership } = report;
  const reconnects = { listen: listen.reconnects, lock: leadership.reconnects, notifier: notifier.reconnects };
  const heartbeats = { listen: seconds(listen.heartbeatMs), notifier: seconds(notifier.heartbeatMs) };
  return [
    gauge("ok", "1 if the relay leads, or could lead.", Number(ok)),
    gauge("leader", "1 while the relay leads.", Number(role === "leader")),
    gauge("listening", "1 while the leader receives notifications.", Number(listen.status === "listening")),
    gauge("notifier_connected", "1 while NATS is connected.", Number(notifier.status === "listening")),
    counter("terms_total", "Times that the relay became the leader.", report.terms),
    counter("notifications_total", "Notifications received.", report.notifications, "kind"),
    counter("invalid_payloads_total", "Payloads that are not notifications of this package.", report.invalid),
    counter("ids_total", "Ids forwarded.", report.ids, "kind"),
    counter("rescans_total", "Times that all processes were asked to read everything.", report.rescans, "cause"),
    counter("publishes_failed_total", "Messages not confirmed at first.", report.unconfirmed),
    counter("reconnects_total", "Connections lost.", reconnects, "connection"),
    gauge("unpublished_ids", "Ids waiting or being sent.", report.unpublished),
    gauge("lag_seconds", "Age of the oldest unpublished id.", seconds(report.lagMs)),
    gauge("last_notification_age_seconds", "Time since the last notification.", seconds(report.lastNotificationAgeMs)),
    gauge("heartbeat_seconds", "Round trip of the last heartbeat.", heartbeats, "connection"),
  ].join("");
}

const seconds = (durationMs: number | undefined): number => (durationMs === undefined ? NaN : durationMs / 1_000);

/** One value, or one for each value of a label. */
type Samples = number | Readonly<Record<string, number>>;

const gauge = (name: string, help: string, samples: Samples, label?: string): string =>
  metric("gauge", name, help, samples, label);
const counter = (name: string, help: string, samples: Samples, label?: string): string =>
  metric("counter", name, help, samples, label);

function metric(type: "gauge" | "counter", name: string, help: string, samples: Samples, label = ""): string {
  const fullName = `kojin_relay_${name}`;
  const lines =
    typeof samples === "number"
      ? [`${fullName} ${samples}`]
      : Object.entries(samples).map(([key, value]) => `${fullName}{${label}="${key}"} ${value}`);
  return `# HELP ${fullName} ${help}\n# TYPE ${fullName} ${type}\n${lines.join("\n")}\n`;
}
