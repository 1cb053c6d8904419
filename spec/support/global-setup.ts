import { startEmbeddedPostgres } from "../../lib/embedded/index";
import type { EmbeddedPostgres } from "../../lib/embedded/index";

declare global {
  // The teardown is another module, and all that Jest lets the two share is the global object.
  var embeddedPostgresOfSpecs: EmbeddedPostgres | undefined;
}

/** Gives all specs one Postgres server: that of DATABASE_URL, or an embedded one. */
export default async function globalSetup(): Promise<void> {
  if (process.env["DATABASE_URL"]) return;
  const server = await startEmbeddedPostgres({ settings: { max_connections: "200", track_commit_timestamp: "on" } });
  globalThis.embeddedPostgresOfSpecs = server;
  process.env["DATABASE_URL"] = server.url;
}
