import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { startEmbeddedPostgres } from "../../lib/embedded/index";
import { query } from "./support/query";
import { tempFolder } from "./support/temp-folder";

describe("a persistent data folder", () => {
  it.each(["fast", "immediate"] as const)("keeps its rows and its password over a restart (%s stop)", async (mode) => {
    const dataDir = join(tempFolder(), "data");
    const first = await startEmbeddedPostgres({ dataDir, persistent: true });
    await query(first.url, "create table kept as select 42 as answer");
    await first.stop(mode);
    await using second = await startEmbeddedPostgres({ dataDir, persistent: true });
    expect(await query(second.url, "select answer from kept")).toEqual([{ answer: 42 }]);
    expect(new URL(second.url).password).toBe(new URL(first.url).password);
  });

  it("can be started again on the same port, as after an outage", async () => {
    const dataDir = join(tempFolder(), "data");
    const first = await startEmbeddedPostgres({ dataDir, persistent: true });
    await first.stop();
    await using second = await startEmbeddedPostgres({ dataDir, persistent: true, port: first.port });
    expect(second.url).toBe(first.url);
  });

  it("keeps its password in a file for its owner alone", async () => {
    const dataDir = join(tempFolder(), "data");
    await using server = await startEmbeddedPostgres({ dataDir, persistent: true });
    expect(statSync(join(dataDir, "kojin-postgres.password")).mode & 0o777).toBe(0o600);
    expect(statSync(dataDir).mode & 0o777).toBe(0o700);
    expect(server.dataDir).toBe(dataDir);
  });

  it("serves one server at a time", async () => {
    const dataDir = join(tempFolder(), "data");
    await using server = await startEmbeddedPostgres({ dataDir, persistent: true });
    const failed = startEmbeddedPostgres({ dataDir, persistent: true });
    await expect(failed).rejects.toMatchObject({ failure: "start-failed" });
    await expect(failed).rejects.toThrow("postmaster.pid");
    expect(await query(server.url, "select 1 as one")).toEqual([{ one: 1 }]);
  });

  it("is refused if its password is gone", async () => {
    const dataDir = join(tempFolder(), "data");
    await (await startEmbeddedPostgres({ dataDir, persistent: true })).stop();
    rmSync(join(dataDir, "kojin-postgres.password"));
    const failed = startEmbeddedPostgres({ dataDir });
    await expect(failed).rejects.toMatchObject({ failure: "data-folder" });
    await expect(failed).rejects.toThrow("was not made by startEmbeddedPostgres");
    expect(existsSync(join(dataDir, "PG_VERSION"))).toBe(true);
  });
});

describe("a data folder that is not persistent", () => {
  it("is removed at stop if the start created it", async () => {
    const parent = tempFolder();
    const server = await startEmbeddedPostgres({ dataDir: join(parent, "data") });
    expect(readdirSync(parent)).toEqual(["data"]);
    await server.stop();
    expect(readdirSync(parent)).toEqual([]);
  });

  it("is kept if it existed before", async () => {
    const dataDir = join(tempFolder(), "data");
    mkdirSync(dataDir);
    const server = await startEmbeddedPostgres({ dataDir });
    await server.stop();
    expect(existsSync(join(dataDir, "PG_VERSION"))).toBe(true);
  });

  it("is refused and left alone if it holds foreign files", async () => {
    const dataDir = tempFolder();
    writeFileSync(join(dataDir, "thesis.txt"), "years of work");
    const owner = statSync(dataDir).uid;
    const failed = startEmbeddedPostgres({ dataDir });
    await expect(failed).rejects.toMatchObject({ failure: "data-folder" });
    await expect(failed).rejects.toThrow("thesis.txt");
    expect(readdirSync(dataDir)).toEqual(["thesis.txt"]);
    expect(statSync(dataDir).uid).toBe(owner);
  });
});
