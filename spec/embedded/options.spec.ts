import { resolve } from "node:path";

import { checkOptions, EmbeddedPostgresError, type EmbeddedPostgresOptions } from "../../lib/embedded/options";

it("makes the data folder absolute", () => {
  expect(checkOptions({ dataDir: "some/data" }).dataDir).toBe(resolve("some/data"));
});

it.each<[string, EmbeddedPostgresOptions]>([
  ["expected dataDir together with persistent: true", { persistent: true }],
  ["expected dataDir to name a folder", { dataDir: "" }],
  ["expected port to be an integer from 1 to 65535, got 0", { port: 0 }],
  ["expected port to be an integer from 1 to 65535, got 65536", { port: 65_536 }],
  ["expected port to be an integer from 1 to 65535, got 1.5", { port: 1.5 }],
  ['expected the name of a server setting, got "fsync=off -c x"', { settings: { "fsync=off -c x": "1" } }],
  ["the setting port is chosen by startEmbeddedPostgres", { settings: { port: "5432" } }],
  ["the setting Listen_Addresses is chosen", { settings: { Listen_Addresses: "*" } }],
  ["presistent: unknown option. The most similar one is persistent.", { presistent: true } as object],
  ["options: expected an object, got null", null as never],
])("throws %s", (message, options) => {
  expect(() => checkOptions(options)).toThrow(message);
  expect(() => checkOptions(options)).toThrow(EmbeddedPostgresError);
});
