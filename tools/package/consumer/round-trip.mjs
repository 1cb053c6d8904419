// Finds its SQL files, stores, and wakes a waiter, even if telemetry is enabled without its package. Afterwards nothing
// keeps the process alive.
import assert from "node:assert/strict";
import { PostgresResultBackend } from "kojin-postgres";

const backend = await PostgresResultBackend.connect(process.env.DATABASE_URL, { telemetry: true });
await backend.migrate();
const waiting = backend.wait("greeting", 10_000);
await backend.store("greeting", { hello: "world" });
assert.deepEqual(await waiting, { hello: "world" });
await backend.close();
