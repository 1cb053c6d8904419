// Without the NATS client, the error says what to install.
import assert from "node:assert/strict";

import { MissingPackageError } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";

assert.throws(
  () => nats({ servers: "nats://127.0.0.1:4222" }),
  (error) => error instanceof MissingPackageError && error.message.includes("npm install @nats-io/transport-node"),
);
