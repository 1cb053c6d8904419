import type { Notifier } from "../notifications/notifier";
import { loadClient, NatsConnection } from "./nats-connection";
import { NatsNotifications } from "./nats-notifications";
import { NatsPublisher } from "./nats-publisher";
import { type NatsOptions, resolveNatsOptions, Subjects } from "./options";

export type { NatsOptions } from "./options";
export type { ListenReport } from "../notifications/notifier";
export { startRelay } from "../relay/relay";
export type { Relay, RelayOptions, RelayReport, RelayRole } from "../relay/relay";
export type { LeadershipReport } from "../relay/leadership";
export type { RescanCause } from "../relay/term";

/**
 * Sends notifications over NATS: `new PostgresResultBackend(pool, { notifier: nats({ servers }) })`. Results stay in
 * Postgres; NATS carries only the ids to read, so a lost message costs a sweep and never a result. Backends that are
 * given the same object share one connection, which is opened when it is first needed and ends with the last of them.
 * While NATS is unavailable, everything continues, and waits poll every second.
 *
 * @throws TypeError or RangeError for invalid options.
 * @throws `MissingPackageError` of `kojin-postgres`: the package `@nats-io/transport-node` is not installed.
 */
export function nats(options?: NatsOptions): Notifier {
  const resolved = resolveNatsOptions(options);
  const connection = new NatsConnection(loadClient(), resolved);
  return {
    name: "NATS",
    open: (channel) => {
      const subjects = new Subjects(resolved, channel.schema);
      const publisher = new NatsPublisher(connection, subjects, channel);
      const source = new NatsNotifications(connection, subjects, publisher);
      connection.attach(source, publisher);
      return { source, publisher };
    },
  };
}
