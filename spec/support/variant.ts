import type { Notifier, PostgresResultBackendOptions } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";

/**
 * The way in which the ordinary specs use the library. All specs have to pass in each. `pgbouncer`: the pool goes
 * through PgBouncer in transaction mode, LISTEN goes directly. `pool-of-one`: each pool has a single connection.
 * `deferred`: announcements come after the commit. `nats`: notifications come over NATS, and no process listens.
 */
export type Variant = "plain" | "pgbouncer" | "pool-of-one" | "deferred" | "nats";

export const variant = (process.env["SPEC_VARIANT"] ?? "plain") as Variant;

/** The address for pools and the options of the current variant. */
export function inVariant(url: string): { poolUrl: string; options: PostgresResultBackendOptions } {
  const changed = new URL(url);
  switch (variant) {
    case "pgbouncer": {
      const pooler = new URL(process.env["SPEC_POOL_URL"] ?? "");
      changed.host = pooler.host;
      // PgBouncer refuses startup options, such as those in the embedded server's address.
      changed.searchParams.delete("options");
      return { poolUrl: changed.href, options: { listen: { connection: url } } };
    }
    case "pool-of-one":
      changed.searchParams.set("max", "1");
      return { poolUrl: changed.href, options: {} };
    case "deferred":
      return { poolUrl: url, options: { notify: "deferred" } };
    case "nats":
      return { poolUrl: url, options: { notifier: natsOfSpecs() } };
    case "plain":
      return { poolUrl: url, options: {} };
  }
}

let notifier: Notifier | undefined;

/** The notifier of all backends of a spec file in the variant `nats`. */
export function natsOfSpecs(): Notifier {
  return (notifier ??= nats({ servers: process.env["SPEC_NATS_URL"] ?? "" }));
}
