import type { RelayReport } from "../../relay/index";

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number];

/** A report in the text format of Prometheus, version 0.0.4; documented in docs/relay.md. */
export function toPrometheus(report: RelayReport): string {
  const { listen, notifier, leadership } = report;
  const seconds = (durationMs: number | undefined): number => (durationMs === undefined ? NaN : durationMs / 1_000);
  return [
    gauge("ok", "Whether it relays, or stands by and could.", Number(report.ok)),
    gauge("leader", "Whether it relays.", Number(report.role === "leader")),
    gauge("listening", "Whether it hears notifications; only who relays does.", Number(listen.status === "listening")),
    gauge("notifier_connected", "Whether NATS is reached.", Number(notifier.status === "listening")),
    counter("terms_total", "How often it has begun to relay.", [[{}, report.terms]]),
    counter("notifications_total", "Notifications that came in.", labelled("kind", report.notifications)),
    counter("invalid_payloads_total", "Payloads of another format.", [[{}, report.invalid]]),
    counter("ids_total", "Ids handed on.", labelled("kind", report.ids)),
    counter("rescans_total", "How often all were asked to look at everything.", labelled("cause", report.rescans)),
    counter("publishes_failed_total", "Announcements not confirmed at first.", [[{}, report.unconfirmed]]),
    counter("reconnects_total", "Connections lost.", [
      [{ connection: "listen" }, listen.reconnects],
      [{ connection: "lock" }, leadership.reconnects],
      [{ connection: "notifier" }, notifier.reconnects],
    ]),
    gauge("unpublished_ids", "Ids that wait, or are under way.", report.unpublished),
    gauge("lag_seconds", "How long the oldest of them has been here.", seconds(report.lagMs)),
    gauge("last_notification_age_seconds", "Since the latest notification.", seconds(report.lastNotificationAgeMs)),
    metric("gauge", "heartbeat_seconds", "Time of the latest heartbeat.", [
      [{ connection: "listen" }, seconds(listen.heartbeatMs)],
      [{ connection: "notifier" }, seconds(notifier.heartbeatMs)],
    ]),
  ].join("");
}

const labelled = (name: string, values: Readonly<Record<string, number>>): Sample[] =>
  Object.entries(values).map(([key, value]) => [{ [name]: key }, value]);

const gauge = (name: string, help: string, value: number): string => metric("gauge", name, help, [[{}, value]]);
const counter = (name: string, help: string, samples: readonly Sample[]): string =>
  metric("counter", name, help, samples);

function metric(type: "gauge" | "counter", name: string, help: string, samples: readonly Sample[]): string {
  const full = `kojin_relay_${name}`;
  const lines = samples.map(([labels, value]) => {
    const pairs = Object.entries(labels).map(([key, label]) => `${key}="${label}"`);
    return `${full}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`;
  });
  return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join("\n")}\n`;
}
