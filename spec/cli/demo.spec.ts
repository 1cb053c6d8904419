import { join } from "node:path";
import { processesNaming } from "../support/processes";
import { startProgram } from "./support/start-program";

describe("the command demo", () => {
  it("shows results of another process on a server of its own, of which nothing is left", async () => {
    const { exit, stdout, stderr } = startProgram(["demo"]);
    expect(await exit).toEqual([0, null]);
    expect(stderr()).toBe("");
    expect(stdout()).toMatch(/^wait\("square"\) +\{"square":144,/m);
    expect(stdout()).toMatch(/^wait\("failing"\) +TaskFailedError: RangeError: /m);
    expect(stdout()).toMatch(/^wait\("forgotten"\) +WaitTimeoutError: /m);
    expect(stdout()).toMatch(/^A group of 5,000 members was done/m);
    const worker = /worker (\d+) stores/.exec(stdout())?.[1] ?? "";
    expect(() => process.kill(Number(worker), 0)).toThrow("ESRCH");
    expect(processesNaming(join("lib", "cli", "commands", "demo-worker"))).toEqual([]);
  });
});
