import { parseServers } from "../../lib/cli/nats-notifier";

describe("addresses of NATS", () => {
  it.each([
    ["one", { servers: ["nats://one"] }, []],
    ["nats://one:4222, two:4223", { servers: ["nats://one:4222", "nats://two:4223"] }, []],
    ["nats://[::1]:4222", { servers: ["nats://[::1]:4222"] }, []],
    [
      "nats://app:p%40ss@one,two",
      { servers: ["nats://one", "nats://two"], user: "app", pass: "p@ss" },
      ["p%40ss", "p@ss"],
    ],
    ["one,nats://t0ken@two", { servers: ["nats://one", "nats://two"], token: "t0ken" }, ["t0ken"]],
    // Encryption that was asked for is required.
    ["tls://one", { servers: ["tls://one"], tls: {} }, []],
  ])("%s", (text, options, secrets) => {
    const access = parseServers(text);
    expect(access.options).toEqual(options);
    expect(access.secrets.filter((secret) => secret !== "")).toEqual(expect.arrayContaining(secrets));
  });

  it.each(["", ",", "nats://", "nats://u:hunter22@", "one,", "http://[x"])(
    "are expected, and not repeated, for %j",
    (text) => {
      expect(() => parseServers(text)).toThrow(
        "NATS: expected addresses such as nats://host:4222, separated by commas.",
      );
    },
  );
});
