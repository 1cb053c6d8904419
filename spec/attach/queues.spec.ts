import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { ownDatabase } from "../support/own-database";
import { itWhere } from "../support/where";

const isNodeSince = (version: string): boolean =>
  process.versions.node.localeCompare(version, "en", { numeric: true }) >= 0;

describe("an attached queue", () => {
  const url = ownDatabase("attached_queues");
  const run = async (fixture: string, ...args: readonly string[]): Promise<unknown> => {
    const path = join(__dirname, "fixtures", `${fixture}.ts`);
    const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", path, ...args], {
      env: { ...process.env, DATABASE_URL: url },
      timeout: 55_000,
      killSignal: "SIGKILL",
    });
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  };

  for (const [name, node] of [
    ["pg-boss", "20.0"],
    ["pg-boss12", "22.12"],
  ] as const) {
    itWhere(isNodeSince(node), `${name} needs Node ${node}.`)(
      `ends waits, whatever its workers know: ${name}`,
      async () => {
        expect(await run("pg-boss", name)).toEqual({
          copied: 1,
          earlier: { is: "earlier" },
          object: { pages: [1, 2] },
          number: { value: 5 },
          retried: { attempt: 2 },
          failed: { name: "RangeError", message: "attempt 2", code: "E_TASK", details: { limit: 5 } },
          later: { is: "later" },
          cancelled: { name: "JobCancelledError", message: "The job was cancelled." },
          detached: null,
          attached: ["pg-boss job"],
          wasDetached: true,
        });
      },
    );
  }

  it("ends waits, whatever its workflows know: DBOS Transact", async () => {
    expect(await run("dbos")).toEqual({
      copied: 1,
      earlier: { is: "earlier" },
      object: { pages: [1, 2] },
      number: 5,
      date: "1970-01-01T00:00:00.000Z",
      nothing: null,
      failed: { name: "RangeError", message: "no such page", code: "E_PAGE" },
      cancelled: { name: "WorkflowCancelledError", message: "The workflow was cancelled." },
    });
  });
});
