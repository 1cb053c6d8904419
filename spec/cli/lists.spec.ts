import { specDatabase } from "../support/spec-database";
import { cliOf, jsonLines } from "./support/run-cli";

describe("list and groups", () => {
  const database = specDatabase("cli lists");
  const cli = cliOf(database);
  const results = `"${database.schema}".kojin_results`;
  const ids = (stdout: string): string[] => jsonLines<{ taskId: string }>(stdout).map(({ taskId }) => taskId);
  const list = async (...args: string[]): Promise<string[]> => ids((await cli.run(["list", "--json", ...args])).stdout);

  beforeAll(async () => {
    const backend = await database.open();
    for (const taskId of ["report:1", "report:2", "mail:1"]) await backend.store(taskId, { taskId });
    await backend.fail("mail:2", new RangeError("no such\naddress"));
    await database.sql(`update ${results} set stored_at = now() - interval '2 hours' where task_id = 'report:2'`);
    // As an earlier version has stored it.
    await database.sql(`insert into ${results} (task_id, result, stored_at) values ('old', '1', '2020-01-01')`);
    await database.sql(`update ${results} set stored_xid = null where task_id = 'old'`);
    await backend.initGroup("open", 2);
    await backend.failGroupMember("open", "a", new Error("torn"));
    await backend.initGroup("unclaimed", 1);
    await backend.completeGroupMember("unclaimed", "a", 1);
    await backend.initGroup("claimed", 1);
    await backend.completeGroupMember("claimed", "a", 1);
    await backend.claimGroup("claimed");
  });

  it("lists the latest results first, and selects by prefix, state and age", async () => {
    // By their transactions; those without one come last.
    expect(await list()).toEqual(["mail:2", "mail:1", "report:2", "report:1", "old"]);
    expect(await list("--prefix", "mail:")).toEqual(["mail:2", "mail:1"]);
    expect(await list("--prefix", "ma%")).toEqual([]);
    expect(await list("--state", "failed")).toEqual(["mail:2"]);
    expect(await list("--state", "succeeded", "--older-than", "1h")).toEqual(["report:2", "old"]);
    expect(await list("--newer-than", "1h", "--limit", "2")).toEqual(["mail:2", "mail:1"]);
  });

  it("describes a result, on one line and without its value", async () => {
    const [failed, succeeded] = (await cli.run(["list", "--prefix", "mail:"])).stdout.split("\n");
    expect(failed).toMatch(/^failed {5}\d+m?s {2}\d+ bytes {2}mail:2 {2}RangeError: no such\\u000aaddress$/);
    expect(succeeded).toMatch(/^succeeded {2}\d+m?s {2}\d+ bytes +mail:1$/);
    const [object] = jsonLines<object>((await cli.run(["list", "--state", "failed", "--json"])).stdout);
    expect(object).toEqual({
      taskId: "mail:2",
      state: "failed",
      storedAt: expect.stringMatching(/^\d{4}-.*Z$/) as string,
      expiresAt: expect.stringMatching(/^\d{4}-.*Z$/) as string,
      bytes: expect.any(Number) as number,
      error: "RangeError: no such\naddress",
    });
  });

  it("says that there are more, and that there are none", async () => {
    expect((await cli.run(["list", "--limit", "1"])).stderr).toBe("There are more than 1: --limit shows more.\n");
    expect(await cli.run(["list", "--prefix", "nothing"])).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: "There are no such results.\n",
    });
    expect(await cli.run(["list", "--state", "lost"])).toMatchObject({ exitCode: 2 });
  });

  it("lists groups by state", async () => {
    const { stdout } = await cli.run(["groups"]);
    expect(stdout).toMatch(
      /^claimed .* 1 of 1 completed {11,}claimed\nunclaimed .*unclaimed\nopen .* 0 of 2 completed, 1 failed {2}open\n$/,
    );
    const idsOf = async (state: string): Promise<unknown[]> =>
      jsonLines<{ groupId: string }>((await cli.run(["groups", "--state", state, "--json"])).stdout).map(
        ({ groupId }) => groupId,
      );
    expect(await idsOf("open")).toEqual(["open"]);
    expect(await idsOf("done")).toEqual(["claimed", "unclaimed"]);
    expect(await idsOf("unclaimed")).toEqual(["unclaimed"]);
    expect(await cli.run(["groups", "--older-than", "1h"])).toMatchObject({ exitCode: 0, stdout: "" });
  });
});
