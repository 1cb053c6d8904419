import type { PoolConfig } from "pg";
import { OwnPool } from "../../lib/database/own-pool";
import { PgBouncer } from "../support/pgbouncer";
import { specDatabase, withParameter } from "../support/spec-database";
import { TcpProxy, errorResponse } from "../support/tcp-proxy";
import { describeWithPgBouncer } from "../support/where";

const limitOf = async (own: OwnPool): Promise<string | undefined> =>
  (await own.pool.query<{ statement_timeout: string }>("show statement_timeout")).rows[0]?.statement_timeout;

describe("the statement_timeout of the pool of connect()", () => {
  const database = specDatabase("own pool", { migrated: false });

  const { url } = database;
  const option = "-c statement_timeout=7s";
  const cases: readonly [string, string, string | PoolConfig][] = [
    ["is 10 minutes", "10min", url],
    ["is 10 minutes with a configuration", "10min", { connectionString: url }],
    ["may be given in a configuration", "5s", { connectionString: url, statement_timeout: 5_000 }],
    ["may be none", "0", { connectionString: url, statement_timeout: false }],
    ["may be given in an address", "6s", withParameter(url, "statement_timeout", "6000")],
    [
      "may be given in the address of a configuration",
      "6s",
      { connectionString: withParameter(url, "statement_timeout", "6000") },
    ],
    ["may be given in the options of an address", "7s", withParameter(url, "options", option)],
    ["may be given in the options of a configuration", "7s", { ...entriesOf(url), options: option }],
  ];
  it.each(cases)("%s", async (_title, expected, connection) => {
    const own = new OwnPool(connection);
    expect(await limitOf(own)).toBe(expected);
    await own.end();
  });

  it("may be given in the environment", async () => {
    const before = process.env;
    process.env = { ...before, PGOPTIONS: option };
    const own = new OwnPool(entriesOf(url));
    try {
      expect(await limitOf(own)).toBe("7s");
    } finally {
      process.env = before;
    }
    await own.end();
  });

  it("is kept where connections were refused for something else", async () => {
    const proxy = await TcpProxy.start(url);
    const own = new OwnPool(proxy.route(url));
    proxy.mode = "refuse";
    proxy.refusal = errorResponse("FATAL", "08P01", "server login failed");
    await expect(own.pool.connect()).rejects.toMatchObject({ code: "08P01" });
    proxy.mode = "pass";
    expect(await limitOf(own)).toBe("10min");
    await own.end();
    await proxy.stop();
  });

  describeWithPgBouncer()("through PgBouncer", () => {
    it("is left out, and each connection is made", async () => {
      const pooler = await PgBouncer.start(url, "transaction");
      const own = new OwnPool(pooler.url);
      try {
        const clients = await Promise.all([1, 2, 3, 4, 5].map(async () => own.pool.connect()));
        for (const client of clients) client.release();
        expect(await limitOf(own)).toBe("0");
      } finally {
        await own.end();
        await pooler.stop();
      }
    });
  });
});

function entriesOf(address: string): PoolConfig {
  const { hostname, port, username, password, pathname } = new URL(address);
  const [user, secret] = [decodeURIComponent(username), decodeURIComponent(password)];
  return { host: hostname, port: Number(port), user, password: secret, database: pathname.slice(1) };
}
