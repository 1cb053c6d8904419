import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedPostgres } from "../../lib/embedded/index";
import type { EmbeddedPostgres } from "../../lib/embedded/index";
import { NatsServer } from "./nats-server";
import { PgBouncer } from "./pgbouncer";
import { installedPostgres } from "./postgres-version";

declare global {
  // The teardown is another module, and Jest lets the two share only the global object.
  var embeddedPostgresOfSpecs: EmbeddedPostgres | undefined;
  var pgBouncerOfSpecs: PgBouncer | undefined;
  var natsServerOfSpecs: NatsServer | undefined;
}

/**
 * Starts one Postgres server for all specs, or uses that of DATABASE_URL. SPEC_VARIANT adds a PgBouncer before it or a
 * NATS server beside it.
 */
export default async function globalSetup(): Promise<void> {
  if (!process.env["DATABASE_URL"]) {
    // No machine loses power while specs run, and on a busy disk a commit that must reach it can take ten seconds.
    const settings = { max_connections: "200", track_commit_timestamp: "on", fsync: "off" };
    const server = await startEmbeddedPostgres({ settings, ...installedPostgres() });
    globalThis.embeddedPostgresOfSpecs = server;
    process.env["DATABASE_URL"] = server.url;
  }
  process.env["SPEC_EMPTY_CLUSTER"] = join(tmpdir(), `spec-empty-cluster-${process.pid}`);
  if (process.env["SPEC_VARIANT"] === "pgbouncer") {
    globalThis.pgBouncerOfSpecs = await PgBouncer.start(process.env["DATABASE_URL"], "transaction", 8);
    process.env["SPEC_POOL_URL"] = globalThis.pgBouncerOfSpecs.url;
  }
  if (process.env["SPEC_VARIANT"]?.startsWith("nats") === true) {
    globalThis.natsServerOfSpecs = await NatsServer.start();
    process.env["SPEC_NATS_URL"] = globalThis.natsServerOfSpecs.url;
  }
}
