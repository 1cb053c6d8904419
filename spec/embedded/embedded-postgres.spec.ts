import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";

import { EmbeddedPostgresError, startEmbeddedPostgres } from "../../lib/embedded/index";
import type { EmbeddedPostgres } from "../../lib/embedded/index";
import { isPortTaken } from "../../lib/embedded/server";
import { postmasterOf, processesNaming } from "../support/processes";
import { query } from "./support/query";
import { tempFolder } from "./support/temp-folder";

it("tells a port that this user may not open from one that is taken", async () => {
  expect(await isPortTaken(1)).toBe(false);
});

describe("a running server", () => {
  let server: EmbeddedPostgres;
  beforeAll(async () => {
    server = await startEmbeddedPostgres({ settings: { max_connections: "17", "kojin.note": "it's a = b" } });
  });
  afterAll(() => server.stop());

  it("is Postgres 18", async () => {
    const [row] = await query<{ version: string }>(server.url, "select version()");
    expect(row?.version).toMatch(/^PostgreSQL 18\./);
  });

  it("has the given settings", async () => {
    const [row] = await query(
      server.url,
      "select current_setting('max_connections') max, current_setting('kojin.note') note",
    );
    expect(row).toEqual({ max: "17", note: "it's a = b" });
  });

  it("flushes to disk, stores UTF-8 and checks passwords", async () => {
    const sql = "select current_setting('fsync') fsync, getdatabaseencoding() encoding, current_user::text as user";
    expect(await query(server.url, sql)).toEqual([{ fsync: "on", encoding: "UTF8", user: "postgres" }]);
    const methods = await query(server.url, "select distinct auth_method from pg_hba_file_rules");
    expect(methods).toEqual([{ auth_method: "scram-sha-256" }]);
  });

  it("refuses another password", async () => {
    const url = new URL(server.url);
    url.password = "guess";
    await expect(query(url.href, "select 1")).rejects.toMatchObject({ code: "28P01" });
  });

  it("listens on 127.0.0.1 only", async () => {
    const sql =
      "select current_setting('listen_addresses') addresses, current_setting('unix_socket_directories') sockets";
    expect(await query(server.url, sql)).toEqual([{ addresses: "127.0.0.1", sockets: "" }]);
  });

  it("gets a port of its own beside another server", async () => {
    await using other = await startEmbeddedPostgres();
    expect(other.port).not.toBe(server.port);
    const folder = "select current_setting('data_directory') as folder";
    expect(await query(server.url, folder)).toEqual([{ folder: server.dataDir }]);
    expect(await query(other.url, folder)).toEqual([{ folder: other.dataDir }]);
  });

  it("keeps its port from another server", async () => {
    const failed = startEmbeddedPostgres({ port: server.port });
    await expect(failed).rejects.toMatchObject({ failure: "port-in-use" });
    await expect(failed).rejects.toThrow(`Port ${server.port} of 127.0.0.1 is in use`);
  });
});

describe("stop", () => {
  it.each(["fast", "immediate"] as const)("ends the server and removes its temporary folder (%s)", async (mode) => {
    const server = await startEmbeddedPostgres();
    const folder = dirname(server.logFile);
    expect(processesNaming(folder).length).toBeGreaterThanOrEqual(2); // The server and its watchdog.
    await server.stop(mode);
    expect(processesNaming(folder)).toEqual([]);
    expect(existsSync(folder)).toBe(false);
    await expect(once(connect(server.port, "127.0.0.1"), "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  it("gives every call the same promise", async () => {
    const server = await startEmbeddedPostgres();
    const stopped = server.stop();
    expect(server.stop("immediate")).toBe(stopped);
    await stopped;
    expect(server.stop()).toBe(stopped);
  });

  it("ends a server that does not answer any more", async () => {
    const server = await startEmbeddedPostgres();
    // Frozen, it gets SIGQUIT but cannot act on it. Only SIGKILL works.
    process.kill(postmasterOf(server.dataDir), "SIGSTOP");
    await server.stop("immediate");
    expect(processesNaming(dirname(server.logFile))).toEqual([]);
  });

  it("is called at the end of an await using block", async () => {
    let folder: string;
    {
      await using server = await startEmbeddedPostgres();
      folder = dirname(server.logFile);
      expect(existsSync(folder)).toBe(true);
    }
    expect(existsSync(folder)).toBe(false);
  });

  it("cleans up after a server that ended on its own", async () => {
    const server = await startEmbeddedPostgres();
    process.kill(postmasterOf(server.dataDir), "SIGKILL");
    await server.stop();
    expect(existsSync(dirname(server.logFile))).toBe(false);
  });
});

describe("a start that fails", () => {
  it("reports the end of the server's log and leaves nothing", async () => {
    const dataDir = join(tempFolder(), "data");
    const failed = startEmbeddedPostgres({ dataDir, settings: { no_such_setting: "1" } });
    await expect(failed).rejects.toBeInstanceOf(EmbeddedPostgresError);
    await expect(failed).rejects.toMatchObject({
      name: "EmbeddedPostgresError",
      code: "EMBEDDED_POSTGRES",
      failure: "start-failed",
    });
    await expect(failed).rejects.toThrow('unrecognized configuration parameter "no_such_setting"');
    expect(existsSync(dataDir)).toBe(false);
    expect(processesNaming(dataDir)).toEqual([]);
  });
});
