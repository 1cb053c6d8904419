import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { ownDatabase } from "../support/own-database";
import { itWhere } from "../support/where";

/** The oldest supported version and the current one of each queue, with the Node that it needs. */
const queues: readonly [fixture: string, name: string, node: string][] = [
  ["pg-boss", "pg-boss", "20.0"],
  ["pg-boss", "pg-boss12", "22.12"],
  ["graphile-worker", "graphile-worker", "20.0"],
  ["graphile-worker", "graphile-worker18", "22.18"],
  ["bullmq", "bullmq5", "20.0"],
  ["bullmq", "bullmq", "20.0"],
];
const hasRedis = spawnSync("redis-server", ["--version"]).status === 0;
const isNodeSince = (version: string): boolean =>
  process.versions.node.localeCompare(version, "en", { numeric: true }) >= 0;

describe("a handler of a queue", () => {
  // A worker of graphile-worker ends when another one migrates any schema of the same database, as an example does.
  const url = ownDatabase("queues");

  for (const [fixture, name, node] of queues) {
    const isPossible = isNodeSince(node) && (fixture !== "bullmq" || hasRedis);
    const reason = fixture === "bullmq" ? "BullMQ needs redis-server in the PATH." : `${name} needs Node ${node}.`;
    itWhere(isPossible, reason)(`stores a failure only after the last attempt: ${name}`, async () => {
      const path = join(__dirname, "fixtures", `${fixture}.ts`);
      const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", path, name], {
        env: { ...process.env, DATABASE_URL: url },
        timeout: 55_000,
        killSignal: "SIGKILL",
      });
      expect(JSON.parse(stdout)).toEqual({
        storedBefore: { succeeds: ["nothing", "nothing"], fails: ["nothing", "nothing"] },
        outcomes: [2, "TaskFailedError: Task ID failed: RangeError: attempt 2"],
      });
    });
  }
});
