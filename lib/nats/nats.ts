import type { Notifier } from "../notifications/notifier";
import { loadClient } from "./client";
import { NatsNotifications } from "./nats-notifications";
import { NatsPublisher } from "./nats-publisher";
import { type NatsOptions, resolveNatsOptions } from "./options";
import { SharedNats } from "./shared-nats";
import { Subjects } from "./subjects";

/** For a subscription to be confirmed: longer than any usual way to the server and back. */
const confirmTimeoutMs = 5_000;

/**
 * Sends notifications over NATS: `new PostgresResultBackend(pool, { notifier: nats({ servers }) })`. Results stay in Postgres; only who should read what travels over NATS, so
 * anything that gets lost there costs a sweep and no result. Backends that are given the same object share one connection, which is opened when it is first needed and ends
 * with the last of them. While NATS is away everything goes on, by reading every second.
 *
 * @throws TypeError or RangeError for options that do not fit.
 * @throws `MissingPackageError` of `kojin-postgres`: the package `@nats-io/transport-node` is not installed.
 */
export function nats(options?: NatsOptions): Notifier {
  const resolved = resolveNatsOptions(options);
  const shared = new SharedNats(loadClient(), resolved);
  return {
    name: "NATS",
    open: ({ schema, logger, onUnconfirmed }) => {
      const subjects = new Subjects(resolved.prefix, schema, resolved.shards);
      const publisher = new NatsPublisher({ shared, subjects, logger, onUnconfirmed });
      const source = new NatsNotifications({ shared, subjects, publisher, confirmTimeoutMs, logger });
      shared.attach(source);
      shared.attach(publisher);
      return { source, publisher };
    },
  };
}
