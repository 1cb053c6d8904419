import fc from "fast-check";

import { channelOf, heartbeatChannel } from "../../lib/notifications/channel";

/** PostgreSQL docs, "Identifiers and Key Words": NAMEDATALEN - 1. */
const maxIdentifierBytes = 63;

describe("the channel of a schema", () => {
  it.each([
    ["public", "kojin_efa1f375d76194fa"],
    ['My "Quoted" Schémà', "kojin_8fda778378de9e65"],
  ])("is the start of the SHA-256 of its name, as the trigger computes it: %s", (schema, channel) => {
    expect(channelOf(schema)).toBe(channel);
  });

  it("needs no quotes and fits an identifier, whatever the schema is called", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (schema) => {
        expect(channelOf(schema)).toMatch(/^[a-z_][a-z0-9_]*$/);
        expect(channelOf(schema).length).toBeLessThanOrEqual(maxIdentifierBytes);
      }),
    );
  });

  it("differs for schemas that differ only in case, or in their last character", () => {
    const schemas = ["app", "App", "APP", "app ", "x".repeat(63), `${"x".repeat(62)}y`];
    expect(new Set(schemas.map(channelOf)).size).toBe(schemas.length);
  });
});

describe("a heartbeat channel", () => {
  it("is one of its own each time", () => {
    const channels = Array.from({ length: 1_000 }, heartbeatChannel);
    expect(new Set(channels).size).toBe(1_000);
  });

  it("needs no quotes, and is no channel of a schema", () => {
    expect(heartbeatChannel()).toMatch(/^kojin_hb_[0-9a-f]{16}$/);
    expect(heartbeatChannel().length).not.toBe(channelOf("public").length);
  });
});
